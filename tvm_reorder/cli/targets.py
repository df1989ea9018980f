"""The compilation target, checked: TVM itself takes some nonsense and falls back in silence."""

from __future__ import annotations

import re

import tvm
from tvm.driver.tvmc import TVMCException
from tvm.driver.tvmc.target import target_from_cli
from tvm.target import codegen

from .errors import UsageError, first_line

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
        If there is no such target, triple or processor, or it cannot run here.
    """
    _check_triple(text)
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
    if must_run_here and target.kind.name != "llvm":
        raise UsageError(f"--target is {text!r} but must be an llvm target, to be run here")
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
    if tvm.get_global_func(f"target.build.{kind}", allow_missing=True) is None:
        raise UsageError(f"--target is {kind!r} but must be one that this TVM was built with")


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
