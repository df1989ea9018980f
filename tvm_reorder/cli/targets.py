"""The compilation target, checked: TVM itself takes some nonsense and falls back in silence."""

from __future__ import annotations

import re

import tvm
from tvm.driver.tvmc import TVMCException
from tvm.driver.tvmc.target import target_from_cli
from tvm.target import codegen

from .errors import UsageError, first_line

# The kinds of target whose code can run in this process, and TVM's names of their devices.
RUNNABLE = {"llvm": "cpu", "cuda": "cuda"}
# What tvmc itself dies of, and what it means.
_NO_MESSAGE = {
    IndexError: "it is empty",
    UnboundLocalError: "this TVM's tvmc cannot read a target from JSON or a file",
}


def read_target(text: str, must_run_here: bool = False) -> tvm.target.Target:
    """The target that a text means.

    Parameters
    ----------
    text : str
        In tvmc's syntax.
    must_run_here : bool
        True if code for it is to run in this process.

    Raises
    ------
    UsageError
        If there is no such target, triple or processor, or it cannot run here; if a CUDA target
        has no architecture and there is no GPU to ask for one.
    """
    _check_triple(text)
    _check_cuda(text, must_run_here)
    try:
        target, partitions = target_from_cli(text)
    except (TVMCException, ValueError, IndexError, UnboundLocalError, tvm.TVMError) as error:
        why = _NO_MESSAGE.get(type(error)) or first_line(error)
        raise UsageError(
            f"--target is {text!r} but must be a TVM target such as 'llvm' or "
            f"'llvm -mcpu=skylake-avx512' ({why})"
        ) from error
    if partitions:
        raise UsageError(
            f"--target is {text!r} but must be one TVM target; composite ones are for tvmc-reorder"
        )
    if must_run_here and target.kind.name not in RUNNABLE:
        raise UsageError(f"--target is {text!r} but must be a cuda or llvm target, to be run here")
    if target.kind.name == "llvm":
        _check_processor(target)
    return target


def check_buildable(target: tvm.target.Target) -> None:
    """Check that this TVM has a code generator for the target.

    Raises
    ------
    UsageError
        If it has none.
    """
    kind = target.kind.name
    if not _has(f"target.build.{kind}"):
        raise UsageError(f"--target is {kind!r} but must be one that this TVM was built with")


def open_device(target: tvm.target.Target) -> tvm.runtime.Device:
    """The device of this machine that code for a target runs on.

    Parameters
    ----------
    target : tvm.target.Target
        One of a kind in `RUNNABLE`.

    Returns
    -------
    tvm.runtime.Device
        The CPU for llvm, the first GPU for cuda.

    Raises
    ------
    UsageError
        If there is none; the message is one line that names what is missing.
    """
    kind = target.kind.name
    if kind == "cuda":
        _require_gpu()
    return tvm.device(RUNNABLE[kind])


def _check_cuda(text: str, must_run_here: bool) -> None:
    """Checked in the text: where TVM finds no GPU to ask, it fills in an old architecture."""
    if not re.match(r"\s*cuda\b", text):
        return
    if must_run_here:
        _require_gpu()
    if "arch=" not in text and not tvm.cuda(0).exist:
        raise UsageError(
            f"--target is {text!r} but must name its architecture, such as "
            "'cuda -arch=sm_90': there is no GPU here to ask"
        )


def _require_gpu() -> None:
    missing = None if tvm.cuda(0).exist else "no driver or no GPU answers (see nvidia-smi)"
    if not _has("target.build.cuda") or not _has("device_api.cuda"):
        missing = "this TVM was built without CUDA; scripts/cuda_env.sh sets up one that has it"
    if missing:
        raise UsageError(
            f"--target is 'cuda' but this machine has no CUDA GPU that TVM can use: {missing}"
        )


def _has(function: str) -> bool:
    return tvm.get_global_func(function, allow_missing=True) is not None


def _check_triple(text: str) -> None:
    """Checked in the text: making a target with an unknown triple can crash the process."""
    match = re.search(r"mtriple[\"']?\s*[=:]\s*[\"']?([\w.]+)", text)
    known = list(codegen.llvm_get_targets())
    if match and not match[1].startswith((*known, "i686", "i586", "amd64", "arm64")):
        raise UsageError(
            f"--target has the triple {match[1]!r} but its architecture must be one of "
            + ", ".join(known)
        )


def _check_processor(target: tvm.target.Target) -> None:
    """LLVM only warns of an unknown processor, and compiles for a generic one."""
    processor = target.attrs.get("mcpu")
    if processor is None or not hasattr(codegen, "llvm_get_cpu_archlist"):
        return
    triple = target.attrs.get("mtriple")
    plain = tvm.target.Target(f"llvm -mtriple={triple}" if triple else "llvm")
    known = sorted(str(name) for name in codegen.llvm_get_cpu_archlist(plain))
    if known and str(processor) not in known:
        raise UsageError(
            f"--target has the processor {str(processor)!r} but must have one that LLVM knows: "
            + ", ".join(known)
        )
