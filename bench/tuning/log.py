"""What AutoTVM's, auto_scheduler's and MetaSchedule's logs have in common: lines of JSON.

Beside a log LOG lies ``LOG.machine.json``: the machine that made it, and the tasks whose spaces
have no more trials to give than the log has, so that a second run need not search them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tvm_reorder.cli.errors import UsageError
from tvm_reorder.core.files import written_beside

from ..machine import describe_machine, is_same_machine, name_machine
from .tracker import Tracker


def drop_cut_line(path: str | Path) -> None:
    """Cut off a last line that a kill has left unfinished: TVM could not read the log."""
    path = Path(path)
    if not path.exists():
        return
    text = path.read_bytes()
    if text and not text.endswith(b"\n"):
        path.write_bytes(text[: text.rfind(b"\n") + 1])


def check_lines(path: Path) -> None:
    """Check that a log is lines of JSON and, as AutoTVM allows, comments.

    Raises
    ------
    UsageError
        If a line is not.
    """
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip() and not line.startswith(b"#") and not _is_json(line):
            raise UsageError(f"line {number} of {path} is no JSON but must be a tuning record")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:  # UnicodeDecodeError is one too
        return False
    return True


def describe_foreign(log: Path, targets: Iterable[str], wanted: str) -> list[str]:
    """A line on the records that are for other targets and are left out; none if all are for ours.

    Parameters
    ----------
    log : Path
        The log.
    targets : iterable of str
        The target of each record.
    wanted : str
        Ours.
    """
    targets = list(targets)
    foreign = [target for target in targets if target != wanted]
    if not foreign:
        return []
    names = " and ".join(f"'{target}'" for target in sorted(set(foreign)))
    return [
        f"{len(foreign)} of {len(targets)} records of {log} are for {names} but must be for "
        f"'{wanted}'; they are skipped"
    ]


class Sidecar:
    """``LOG.machine.json``.

    Parameters
    ----------
    log : Path
        The log.
    tracker : Tracker, optional
        The machines that measure, if not this one.
    """

    def __init__(self, log: Path, tracker: Tracker | None = None):
        self.path = log.with_name(log.name + ".machine.json")
        self._log, self._key = log, tracker.key if tracker else None
        self._known = self._read()

    def describe_mismatch(self) -> list[str]:
        """A line if the log was measured elsewhere; none if it was not, or nobody knows."""
        machine = self._known.get("machine")
        if machine is None:
            return []
        here = describe_machine()
        key = self._known.get("key")
        if key == self._key and (key is not None or is_same_machine(machine, here)):
            return []
        then, now = (
            name_machine(machine) if key is None else f"machines with the key {key!r}",
            name_machine(here) if self._key is None else f"machines with the key {self._key!r}",
        )
        return [f"{self._log} was measured on {then}, not on {now}; it is used all the same"]

    def write_machine(self) -> None:
        """Describe this machine, unless the log has a description already."""
        if "machine" not in self._known:
            self._known |= {"machine": describe_machine(), "key": self._key}
            self._write()

    def is_exhausted(self, workload: str) -> bool:
        """True if a task's space has no more trials to give."""
        return workload in self._known.get("exhausted", [])

    def add_exhausted(self, workload: str) -> None:
        """Remember that it has none."""
        self._known["exhausted"] = [*self._known.get("exhausted", []), workload]
        self._write()

    def _read(self) -> dict:
        if not self.path.exists():
            return {}
        try:
            return dict(json.loads(self.path.read_text()))
        except ValueError as error:
            raise UsageError(
                f"{self.path} is no whole JSON but must describe a machine, or not be there"
            ) from error

    def _write(self) -> None:
        with written_beside(self.path) as draft:
            draft.write_text(json.dumps(self._known, indent=1) + "\n")
