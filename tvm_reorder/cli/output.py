"""Where results go: tables to standard output, progress to a terminal, files all or nothing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..core.files import written_beside
from ..core.report import count_statuses
from .errors import UsageError

_PIPE_WIDTH = 200  # a pipe has no width; rich would cut its tables to 80 columns


def console() -> Console:
    """Standard output, for tables."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say on standard error what is going on; only to a terminal."""
    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        yield
        return
    with terminal.status(what):
        yield


def note(text: str) -> None:
    """A line on standard error that matters even in a pipe."""
    print(f"tvm-reorder: note: {text}", file=sys.stderr)


def note_idle_pass(report, opt_level: int) -> None:
    """Say why a build was not touched by the pass, if it was not."""
    if report.failure:
        note(str(report))
    elif not report.has_run:
        note(f"the pass did not run: --opt-level is {opt_level} but must be 1 or more")


def check_writable(path: str | None, option: str) -> None:
    """Check, before the long work, that a file can be written.

    Raises
    ------
    UsageError
        If it cannot.
    """
    if path is None or path == "-":
        return
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{option} {path}: the folder {str(folder)!r} must exist, and does not")
    if os.path.lexists(path) and not Path(path).is_file():
        kind = "a folder" if Path(path).is_dir() else "a special file"
        raise UsageError(f"{option} {path} is {kind} but must be a regular file or a new one")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: the folder {str(folder)!r} must be writable, and isn't")
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


def print_sites(report: dict) -> None:
    """The table of max pools, and the other pools below it.

    Parameters
    ----------
    report : dict
        What ``Report.as_dict`` gives.
    """
    out = console()
    if report["sites"]:
        out.print(_sites_table(report["sites"]))
    out.print(count_statuses([site["status"] for site in report["sites"]]))
    if report["other_pools"]:
        table = Table("where", "window", "why it stays", title="other pools", title_justify="left")
        for site in report["other_pools"]:
            table.add_row(site["name"], site["window"], site["explanation"])
        out.print(table)


def _sites_table(sites: list[dict]) -> Table:
    columns = ("where", "chain", "window", "verdict", "evaluations", "reason")
    table = Table(*columns, title="max pools", title_justify="left")
    for site in sites:
        before, after = site["evaluations_before"], site["evaluations_after"]
        table.add_row(
            site["name"],
            " > ".join(site["chain"]) or "-",
            site["window"],
            site["status"],
            f"{before:,} -> {after:,}" if before else "-",
            site["explanation"],
        )
    return table
