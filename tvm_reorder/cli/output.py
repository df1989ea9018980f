"""Where results go: tables to standard output, progress to a terminal, files all or nothing.

What is shown holds names, paths and messages of models and users, and rich would take ``[red]`` or
``:smile:`` in them for markup.  So rich is used here and nowhere else, without markup, and all text
goes through `printable`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ..core.files import written_beside
from ..core.printable import printable
from ..core.report import count_statuses
from .errors import UsageError, first_line
from .lines import count, note, say

_PIPE_WIDTH = 200  # a pipe has no width; rich would cut its tables to 80 columns


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output; what is too long for its column goes on in the next line."""
    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(_to_text, row))
    _open_console(sys.stdout, None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say on standard error what is going on; only to a terminal."""
    terminal = _open_console(sys.stderr)
    if not terminal.is_terminal:
        yield
        return
    with terminal.status(_to_text(what)):
        yield


class Bar:
    """A bar with a text in front, on a terminal; a context manager.

    Parameters
    ----------
    total : int
        Steps.
    stream : TextIO
        Where it shows.
    counts : bool
        Show how many steps are done, not their share.

    Attributes
    ----------
    is_shown : bool
        True on a terminal, if there are any steps.
    """

    def __init__(self, total: int, stream: TextIO, counts: bool = False):
        console = _open_console(stream)
        self.is_shown = console.is_terminal and total > 0
        self._stream = stream
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn() if counts else TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not self.is_shown,
        )
        self._task = self._progress.add_task("", total=max(1, total))

    def __enter__(self) -> Bar:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self) -> None:
        """Show it."""
        self._progress.start()

    def stop(self) -> None:
        """Take it away."""
        self._progress.stop()

    def describe(self, text: str) -> None:
        """Put a text in front of the bar."""
        self._progress.update(self._task, description=printable(text))

    def move_to(self, steps: int) -> None:
        """Say how many steps are done."""
        self._progress.update(self._task, completed=steps)

    def advance(self) -> None:
        """Say that one more step is done."""
        self._progress.advance(self._task)

    def refresh(self) -> None:
        """Draw it at once."""
        self._progress.refresh()

    def say(self, text: str) -> None:
        """A line that stays, above the bar if it is shown."""
        if self.is_shown:
            self._progress.console.print(_to_text(text), soft_wrap=True)
        else:
            say(text, self._stream)


def _open_console(stream: TextIO, width: int | None = None) -> Console:
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def _to_text(value: object) -> Text:
    return Text(printable(value))


def note_idle_pass(report, opt_level: int) -> None:
    """Say why a build was not touched by the pass, if it was not."""
    if report.failure:
        failure = first_line(report.failure)
        note(f"the pass failed, the module was compiled as it is: {failure}")
    elif not report.has_run:
        note(f"the pass did not run: --opt-level is {opt_level} but must be 1 or more")


# Options that name files to read, and what messages call those files.
_READ = {"model": "the model", "inputs": "--inputs", "records": "--records"}


def check_outputs(args) -> None:
    """Check, before the long work, that a command can write its files and takes none for another.

    Raises
    ------
    UsageError
        If one cannot be written, or is one that the command reads.
    """
    taken = {getattr(args, name, None): what for name, what in _READ.items()}
    taken.pop(None, None)
    for option in ("output", "json"):
        path = getattr(args, option, None)
        if option == "output" and path == "-":
            raise UsageError("--output is '-' but must be a file")
        if path is None or path == "-":
            continue
        check_writable(path, f"--{option}")
        for other, what in taken.items():
            if os.path.realpath(other) == os.path.realpath(path):
                raise UsageError(f"--{option} {path} is {what}, too, but must be another file")
        if option == "json":
            _check_json(path)
        taken[path] = f"--{option}"


def _check_json(path: str) -> None:
    """A result takes the place of an earlier one, not of anything else."""
    if not os.path.exists(path) or not os.path.getsize(path):
        return
    try:
        json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(
            f"--json {path} exists and is no JSON; it must be, or a new file"
        ) from error


def check_writable(path: str | None, option: str) -> None:
    """Check, before the long work, that a file can be written.

    Raises
    ------
    UsageError
        If it cannot.
    """
    if path is None or path == "-":
        return
    if not path:
        raise UsageError(f"{option} is empty but must be a file's name")
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{option} {path}: the folder {str(folder)!r} must exist, and does not")
    if os.path.lexists(path) and not Path(path).is_file():
        kind = "a folder" if Path(path).is_dir() else "a special file"
        raise UsageError(f"{option} {path} is {kind} but must be a regular file or a new one")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(
            f"{option} {path}: the folder {str(folder)!r} must be writable, and isn't "
            f"({error.strerror})"
        ) from error
    if Path(path).exists() and not os.access(path, os.W_OK):
        raise UsageError(f"{option} {path} is read-only but must be writable")


def write_json(value: dict, path: str | None) -> None:
    """Write JSON to a file or, for ``-``, to standard output; nothing without a path."""
    if path is None:
        return
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    with written_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def say_setup(target: str) -> None:
    """The first line of a result: what was compiled for, and how many threads."""
    import tvm

    say(f"target {target}, {count(tvm.runtime.num_threads(), 'thread')}")


def print_sites(report: dict) -> None:
    """The table of max pools, and the other pools below it.

    Parameters
    ----------
    report : dict
        What ``Report.as_dict`` gives.
    """
    if report["sites"]:
        print_table("max pools", _SITE_COLUMNS, map(_make_row, report["sites"]))
    say(count_statuses([site["status"] for site in report["sites"]]))
    if report["other_pools"]:
        others = (
            (site["name"], site["window"], site["explanation"]) for site in report["other_pools"]
        )
        print_table("other pools", ("where", "window", "why it stays"), others)


_SITE_COLUMNS = ("where", "chain", "window", "verdict", "evaluations", "reason")


def _make_row(site: dict) -> tuple[str, ...]:
    before, after = site["evaluations_before"], site["evaluations_after"]
    return (
        site["name"],
        " > ".join(site["chain"]) or "-",
        site["window"],
        site["status"],
        f"{before:,} -> {after:,}" if before else "-",
        site["explanation"],
    )
