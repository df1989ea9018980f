"""Target classes: targets whose code computes an elementwise function the same way.

On x86 LLVM rounds every operation by itself, whatever the vector width, unless the processor has a
fused multiply-add.  Three classes are told apart all the same: without FMA, with it, and AVX-512.
Elsewhere nothing is merged: the class names the processor.
"""

from __future__ import annotations

import platform
from functools import lru_cache

import tvm
from tvm.target import Target, codegen

from ..core.certificates import CertificateError

_X86 = ("x86_64", "amd64")
_X86_CLASSES = ("sse2", "avx2+fma", "avx512")


def current_target() -> Target:
    """The target in scope; this machine's plain llvm where there is none."""
    return Target.current(allow_none=True) or Target("llvm")


def name_target_class(target: Target | None = None) -> str:
    """The class of a target, the current one by default."""
    return _name_class(str(target or current_target()))


@lru_cache(maxsize=64)
def _name_class(text: str) -> str:
    target = Target(text)
    kind = target.kind.name
    if kind != "llvm":
        return " ".join(filter(None, (kind, str(target.attrs.get("arch", "")))))
    triple = str(target.attrs.get("mtriple", ""))
    architecture = (triple or platform.machine()).partition("-")[0].lower()
    if architecture not in _X86:
        return f"llvm {architecture} {target.attrs.get('mcpu', 'generic')}"
    return f"llvm x86-64 {_X86_CLASSES[_x86_level(target)]}"


def _x86_level(target: Target) -> int:
    if codegen.target_has_features("avx512f", target):
        return 2
    return int(bool(codegen.target_has_features("fma", target)))


def require_runs_here(target: Target) -> None:
    """Check that this machine can run the target's code.

    Raises
    ------
    CertificateError
        If it cannot; a sweep runs what it certifies.
    """
    kind, wanted = target.kind.name, name_target_class(target)
    if kind == "llvm":
        here = Target(f"llvm -mcpu={codegen.llvm_get_system_cpu()}")
        if wanted.startswith("llvm x86-64"):
            is_able = platform.machine().lower() in _X86 and _x86_level(target) <= _x86_level(here)
        else:
            is_able = wanted.split()[1] == platform.machine().lower()
        if is_able:
            return
        raise CertificateError(
            f"the target is of the class {wanted!r} but must be one that this machine "
            f"({name_target_class(here)}) can run"
        )
    if kind != "cuda" or not tvm.cuda(0).exist:
        raise CertificateError(f"the target is {kind!r} but must be one that this machine can run")


def versions() -> tuple[str, str]:
    """Versions of TVM and of the LLVM inside it."""
    return tvm.__version__, str(codegen.llvm_version_major(allow_none=True))
