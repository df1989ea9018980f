"""What every benchmark shares: machine, timing in turns, JSON that grows, a Markdown table."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tvm_reorder.cli.errors import UsageError, first_line
from tvm_reorder.cli.lines import say, say_lines
from tvm_reorder.cli.options import positive, thread_count
from tvm_reorder.core.printable import printable
from tvm_reorder.core.turns import time_in_turns as time_in_turns

from .machine import describe_machine as describe_machine
from .machine import is_same_machine, list_runnable_targets, name_machine
from .machine import read_commit as read_commit

RESULTS = Path("results")  # of this machine; those in the repository are in bench/results
LIGHT = "data/light"
TARGET = list_runnable_targets()[-1]


def light_networks() -> dict[str, Path]:
    """The real topologies inside the onnx package, by name."""
    import onnx.backend.test

    folder = Path(onnx.backend.test.__file__).parent / LIGHT
    return {path.stem: path for path in sorted(folder.glob("light_*.onnx"))}


def use_threads(count: int) -> None:
    """Make TVM use this many threads; to be called before it runs anything in parallel."""
    os.environ["TVM_NUM_THREADS"] = str(count)


def use_results(folder: Path) -> None:
    """Read and write results in this folder from now on."""
    global RESULTS
    RESULTS = folder


def add_results_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--results DIR``; what is parsed goes to `use_results`."""
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help="folder of the results, made if it is not there (default: results)",
    )


def choose_licence(target) -> str:
    """The pass's licence: sigmoid, tanh and others were swept on llvm alone.

    Elsewhere they are refused without ``ulp:any``; whether results stay equal is measured.
    """
    from tvm.target import Target

    return "equal" if Target(target).kind.name == "llvm" else "ulp:any"


def schedules_of(log: str | None) -> AbstractContextManager:
    """A block in which TVM takes its schedules from an AutoTVM log; None for the default ones."""
    from tvm import autotvm

    return nullcontext() if log is None else autotvm.apply_history_best(log)


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what the benchmarks of networks and of sites both take."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks (default: all)")
    parser.add_argument(
        "--threads", type=thread_count, default=2, help="threads of TVM (default: 2)"
    )
    parser.add_argument("--batch", type=positive, default=1, help="batch size (default: 1)")
    parser.add_argument("--repeat", type=positive, default=15, help="rounds (default: 15)")
    parser.add_argument("--tuned-log", metavar="FILE", help="AutoTVM log for every build")
    parser.add_argument("--records", metavar="FILE", help="measured sites to decide by")
    add_results_option(parser)
    return parser


def read_document(name: str, machine: dict | None = None) -> dict:
    """What an earlier run of a benchmark on a machine wrote; empty if there was none.

    Parameters
    ----------
    name : str
        Stem of the file.
    machine : dict, optional
        The machine, as `describe_machine` gives it; this one by default.

    Raises
    ------
    UsageError
        If the file is no result, or one of another machine: a table shows one machine's figures.
    """
    document = read_any_document(name)
    here = machine or describe_machine()
    if document and not is_same_machine(document["machine"], here):
        whose = "this machine" if machine is None else "the machine of what it rests on"
        raise UsageError(
            f"{RESULTS / name}.json is of {name_machine(document['machine'])} but must be of "
            f"{whose}, {name_machine(here)}: give another folder with --results"
        )
    return document


def read_any_document(name: str) -> dict:
    """What an earlier run of a benchmark wrote, on any machine; empty if there was none.

    Raises
    ------
    UsageError
        If the file is no result.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text())
        name_machine(document["machine"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is no whole result ({error}) but must be one, or not be there"
        ) from error
    return document


def read_rows(name: str) -> list[dict]:
    """Rows of an earlier run of a benchmark; none if it never ran.

    Raises
    ------
    UsageError
        As `read_document`.
    """
    return read_document(name).get("rows", [])


def merge_rows(old: Iterable[dict], new: Iterable[dict], key: tuple[str, ...]) -> list[dict]:
    """Old rows and new ones; a new row takes the place of the old one with the same key.

    Parameters
    ----------
    old, new : iterable of dict
        Rows.
    key : tuple of str
        The fields that tell rows apart.
    """
    merged = {tuple(row[field] for field in key): row for row in old}
    merged.update({tuple(row[field] for field in key): row for row in new})
    return list(merged.values())


def write_results(
    name: str,
    results: dict,
    table: list[list[str]],
    peak: float | None = None,
    machine: dict | None = None,
) -> None:
    """Write ``results/NAME.json`` and ``results/NAME.md``, and show the table.

    Parameters
    ----------
    name : str
        Stem of both files.
    results : dict
        All samples; the machine is added.
    table : list of list of str
        Header first.
    peak : float, optional
        float32 GFLOP/s of the machine, measured with the threads in use.
    machine : dict, optional
        Where the figures were measured that the results rest on; this machine by default.
    """
    save_results(name, results, table, peak, machine)
    say_lines((RESULTS / f"{name}.md").read_text())


def save_results(
    name: str,
    results: dict,
    table: list[list[str]],
    peak: float | None = None,
    machine: dict | None = None,
) -> None:
    """As `write_results`, and show nothing."""
    read_document(name, machine)  # what cannot be added to must not be replaced either
    RESULTS.mkdir(parents=True, exist_ok=True)
    command = f"python -m {_read_module()} {' '.join(map(shlex.quote, sys.argv[1:]))}".strip()
    machine = (machine or describe_machine()) | ({} if peak is None else {"peak_gflops": peak})
    document = {"command": command, "machine": machine, **results}
    _replace(RESULTS / f"{name}.json", json.dumps(document, indent=1) + "\n")
    header, *rows = table
    cells = (header, ["---"] * len(header), *rows)
    lines = ["| " + " | ".join(map(_escape, row)) + " |" for row in cells]
    _replace(RESULTS / f"{name}.md", "\n".join([f"Made by `{command}`.", "", *lines, ""]))


def _escape(cell: str) -> str:
    """A cell of a Markdown table whatever its text holds."""
    return printable(cell).replace("|", "\\|")


def _read_module() -> str:
    """The module that was started with ``python -m``."""
    spec = sys.modules["__main__"].__spec__
    return Path(sys.argv[0]).stem if spec is None else spec.name.removesuffix(".__main__")


def run_main(main: Callable[[], int | None]) -> int:
    """Run a script's main; what a user did wrong is said in one line, with status 2."""
    try:
        return main() or 0
    except (UsageError, ValueError) as error:
        say(f"error: {first_line(error)}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("interrupted; what was measured is saved", sys.stderr)
        return 130


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all: a kill must not take the rows of earlier runs with it."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(text)
    draft.replace(path)
