"""Measured sites: one line of JSON each, keyed by what their times depend on.

A file grows by one line a site, so a process that is killed loses at most the line under way, and
what does not read as a record loses only itself.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, fields

from .decision import Action
from .workload import OPTIONAL, SiteWorkload

_WORKLOAD_KEYS = frozenset(["convolution", "chain", "planes", "dtype", "source", "window"])
_LONGEST_MS = 1e9
_NAMED_LINES = 3  # a warning names so many bad lines and counts the others


@dataclass(frozen=True)
class Record:
    """Times of one site.

    Parameters
    ----------
    workload : dict
        What ``SiteWorkload.as_dict`` gives.
    target : str
        The target it was built for, as `tvm_reorder.relay.circumstances` writes it.
    threads : int
        Threads that TVM used.
    tvm : str
        Version of TVM.
    processor : str
        What the machine has.
    times_ms : dict of Action to list of float
        Milliseconds, one figure a round; *keep* is always there.
    """

    workload: dict
    target: str
    threads: int
    tvm: str
    processor: str
    times_ms: dict[Action, list[float]]

    @property
    def key(self) -> str:
        """The same as the ``key`` of the workload it was made from."""
        return json.dumps(self.workload, sort_keys=True, separators=(",", ":"))

    def as_line(self) -> str:
        """The record as one line of JSON, without the line's end."""
        times = {str(action): samples for action, samples in self.times_ms.items()}
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps(values | {"times_ms": times}, allow_nan=False)

    @classmethod
    def from_line(cls, line: str | bytes) -> Record:
        """The record that a line of JSON holds.

        Raises
        ------
        ValueError
            If it holds none; the message goes on from the name of the line, "is X but must be Y".
        """
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            shown = line if isinstance(line, str) else line.decode(errors="backslashreplace")
            raise ValueError(f"is {reprlib.repr(shown)} but must be a line of JSON") from None
        if not isinstance(value, dict):
            raise ValueError(f"is {reprlib.repr(value)} but must be a JSON object")
        missing = [field.name for field in fields(cls) if field.name not in value]
        if missing:
            raise ValueError(f"has no {missing[0]!r} but must have one")
        return cls(
            workload=_read_workload(value["workload"]),
            target=_read_text("target", value["target"]),
            threads=_read_threads(value["threads"]),
            tvm=_read_text("tvm", value["tvm"]),
            processor=_read_text("processor", value["processor"]),
            times_ms=_read_times(value["times_ms"]),
        )


class Records:
    """Measured times by workload; of two records of one workload the later one counts.

    Parameters
    ----------
    records : iterable of Record
        Oldest first, all of one target, thread count and version of TVM.
    """

    def __init__(self, records: Iterable[Record] = ()):
        self._times = {record.key: record.times_ms for record in records}

    def times(self, workload: SiteWorkload) -> dict[Action, list[float]] | None:
        """Milliseconds of each round by action, or None where nobody measured."""
        return self._times.get(workload.key)

    def __len__(self) -> int:
        return len(self._times)


def read_records(
    path: str | os.PathLike,
    target: str,
    threads: int,
    tvm_version: str,
    processor: str | None = None,
) -> tuple[Records, list[str]]:
    """Read the records of a file that were measured under the circumstances given.

    Parameters
    ----------
    path : path
        The file.
    target, threads, tvm_version : str, int, str
        What a record must be for.
    processor : str, optional
        What a record must come from; any by default.

    Returns
    -------
    records : Records
        The usable ones.
    problems : list of str
        A line of text for each line of the file that is left out.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    wanted = {"target": target, "threads": threads, "tvm": tvm_version, "processor": processor}
    records, problems = [], []
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = Record.from_line(line.strip())
                _check_circumstances(record, wanted)
            except ValueError as error:
                problems.append(f"{path} line {number} {error}")
                continue
            records.append(record)
    return Records(records), problems


def describe_problems(path: str | os.PathLike, problems: list[str]) -> str:
    """One line for all that `read_records` left out of a file; empty if it left out nothing."""
    if not problems:
        return ""
    named = [problem.removeprefix(f"{path} ") for problem in problems[:_NAMED_LINES]]
    more = len(problems) - len(named)
    rest = f"; and {more} more" if more else ""
    lines = "1 line" if len(problems) == 1 else f"{len(problems)} lines"
    return f"{path}: {lines} skipped: {'; '.join(named)}{rest}"


def append_record(path: str | os.PathLike, record: Record) -> None:
    """Add a record to a file, on the disk when this returns.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    line = record.as_line().encode() + b"\n"
    with open(path, "a+b") as file:
        if _ends_inside_a_line(file):
            line = b"\n" + line  # what a kill has cut off must not take this record with it
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _ends_inside_a_line(file) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _check_circumstances(record: Record, wanted: dict) -> None:
    for name, value in wanted.items():
        own = getattr(record, name)
        if value is not None and own != value:
            raise ValueError(f"is for {_NAMES[name]} {own!r} but must be for {value!r}")


_NAMES = {
    "target": "the target",
    "threads": "a thread count of",
    "tvm": "TVM",
    "processor": "the processor",
}


def _read_workload(value) -> dict:
    if not isinstance(value, dict) or set(value) - set(OPTIONAL) != _WORKLOAD_KEYS:
        keys = ", ".join(sorted(_WORKLOAD_KEYS))
        raise ValueError(f"has the workload {reprlib.repr(value)} but must have one with {keys}")
    return value


def _read_text(name: str, value) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"has the {name} {reprlib.repr(value)} but must have a text")
    return value


def _read_threads(value) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"has the threads {reprlib.repr(value)} but must have 1 or more")
    return value


def _read_times(value) -> dict[Action, list[float]]:
    if not isinstance(value, dict) or "keep" not in value:
        raise ValueError(f"has the times_ms {reprlib.repr(value)} but must have those of 'keep'")
    return {_read_action(name): _read_samples(name, samples) for name, samples in value.items()}


def _read_action(name: str) -> Action:
    try:
        return Action(name)
    except ValueError:
        actions = ", ".join(map(str, Action))
        raise ValueError(
            f"has times of {reprlib.repr(name)} but must have those of {actions}"
        ) from None


def _read_samples(name: str, samples) -> list[float]:
    if not isinstance(samples, list) or not samples or not all(map(_is_duration, samples)):
        raise ValueError(
            f"has the times {reprlib.repr(samples)} of {name!r} but must have positive milliseconds"
        )
    return [float(sample) for sample in samples]


def _is_duration(value) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 < value <= _LONGEST_MS  # also false for NaN
