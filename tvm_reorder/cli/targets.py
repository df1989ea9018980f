"""The compilation target, checked: TVM itself takes some nonsense and falls back in silence."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import tvm
from tvm.driver.tvmc import TVMCException
from tvm.driver.tvmc.target import target_from_cli
from tvm.target import codegen

from ..certify.targets import X86
from .errors import UsageError, first_line
from .lines import note

# The kinds of target whose code can run in this process, and TVM's names of their devices.
RUNNABLE = {"llvm": "cpu", "cuda": "cuda"}
# Levels of the x86-64 architecture that LLVM takes for processors, the best first.
_X86_LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2")
# Instruction sets that compiled code uses: LLVM's names, and Linux' in /proc/cpuinfo.
_X86_FEATURES = {
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "avx": "avx",
    "avx2": "avx2",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "f16c": "f16c",
    "fma": "fma",
    "lzcnt": "abm",
    "avxvnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "amx-tile": "amx_tile",
}
# What tvmc itself dies of, and what it means.
_NO_MESSAGE = {
    IndexError: "it is empty",
    UnboundLocalError: "this TVM's tvmc cannot read a target from JSON or a file",
}


def choose_target(args, must_run_here: bool = False) -> tvm.target.Target:
    """The target of a command line: what ``--target`` says, else this machine's.

    Its text is in ``args.target`` from then on.

    Raises
    ------
    UsageError
        As `read_target`.
    """
    if args.target is None:
        args.target = find_host_target()
    return read_target(args.target, must_run_here)


def find_host_target() -> str:
    """The llvm target whose code runs best on this machine.

    LLVM names the processor by its model, so a virtual machine that hides some of its instructions
    is named like one that has them; and an LLVM older than the processor may not know it.  Then it
    is the highest level of x86-64 that the machine has.
    """
    processor = str(codegen.llvm_get_system_cpu())
    if _runs_here(processor):
        return f"llvm -mcpu={processor}"
    level = next(filter(_runs_here, _X86_LEVELS), None)
    target = "llvm" if level is None else f"llvm -mcpu={level}"
    note(f"this machine's processor {processor!r} is not one LLVM can compile for here: {target}")
    return target


def _runs_here(processor: str) -> bool:
    """True if LLVM knows a processor and this machine has the instructions it takes for granted."""
    if processor not in _list_processors("llvm"):
        return False
    return not _find_missing(tvm.target.Target(f"llvm -mcpu={processor}"))


def _find_missing(target: tvm.target.Target) -> list[str]:
    """Instruction sets that a target's code takes for granted and this machine lacks."""
    flags = _read_flags()
    if flags is None:
        return []
    lacking = (feature for feature, flag in _X86_FEATURES.items() if flag not in flags)
    return [feature for feature in lacking if codegen.target_has_features(feature, target)]


def _check_instructions(text: str, target: tvm.target.Target) -> None:
    """Code with instructions that the processor lacks ends the process."""
    triple = str(target.attrs.get("mtriple", "")).partition("-")[0]
    machine = platform.machine().lower()
    if machine not in X86 or triple not in ("", *X86):
        return
    missing = _find_missing(target)
    if missing:
        raise UsageError(
            f"--target is {text!r} but must be one whose code runs here: this machine lacks "
            + ", ".join(missing)
        )


def _read_flags() -> set[str] | None:
    """Instruction sets of this machine as Linux names them; None if it does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return None if found is None else set(found[1].split())


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
    _check_features(text)
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
        if must_run_here:
            _check_instructions(text, target)
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


def _check_features(text: str) -> None:
    """Checked in the text: LLVM ends the process where a feature has no sign."""
    match = re.search(r"-mattr[=\s]+(\S+)", text)
    for feature in match[1].split(",") if match else ():
        if not re.fullmatch(r"[+-][\w.-]+", feature):
            raise UsageError(
                f"--target has the feature {feature!r} but -mattr must be like '+avx2,-fma'"
            )


def _check_processor(target: tvm.target.Target) -> None:
    """LLVM only warns of an unknown processor, and compiles for a generic one."""
    processor = target.attrs.get("mcpu")
    if processor is None:
        return
    triple = target.attrs.get("mtriple")
    known = _list_processors(f"llvm -mtriple={triple}" if triple else "llvm")
    if known and str(processor) not in known:
        raise UsageError(
            f"--target has the processor {str(processor)!r} but must have one that LLVM knows: "
            + ", ".join(known)
        )


def _list_processors(target: str) -> list[str]:
    """Processors that LLVM knows of a target's architecture; none if this TVM cannot ask it."""
    if not hasattr(codegen, "llvm_get_cpu_archlist"):
        return []
    names = codegen.llvm_get_cpu_archlist(tvm.target.Target(target))
    return sorted(str(name) for name in names)
