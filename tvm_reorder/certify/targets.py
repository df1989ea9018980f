"""Target classes: targets whose code computes an elementwise function the same way.

On x86 LLVM rounds every operation by itself, whatever the vector width, unless the processor has a
fused multiply-add.  Three classes are told apart all the same: without FMA, with it, and AVX-512.
Elsewhere nothing is merged: the class names the processor.  With the target's fast-math flags LLVM
may round as it likes; that is a class of its own.
"""

from __future__ import annotations

import platform
from functools import lru_cache

import tvm
from tvm.target import Target, codegen

from ..core.certificates import CertificateError
from ..core.measured import MEASURED_TARGET

X86 = ("x86_64", "amd64")
_X86_32_BIT = ("i386", "i486", "i586", "i686")
_X86_KEY = "cpu"  # what TOPI's strategies for x86 are registered for
_X86_CLASSES = ("sse2", "avx2+fma", "avx512")
_FUSED = ("fma", "fma4")  # both give the same result


def current_target() -> Target:
    """The target in scope; this machine's plain llvm where there is none."""
    return Target.current(allow_none=True) or Target("llvm")


def find_compiled_for(target: Target) -> Target:
    """The target whose processor and flags the kernels are compiled for.

    All llvm kernels of a build are one module, compiled for the host; a target that has none is its
    own.  Schedules are chosen for the target itself (``src/driver/driver_api.cc``).
    """
    host = target.host
    is_shared = host is not None and host.kind.name == target.kind.name == "llvm"
    return host if is_shared else target


def name_target(target: Target) -> str:
    """Kind and architecture of a target, and whose schedules it asks for if not x86's."""
    kind, architecture = target.kind.name, read_architecture(target)
    if kind != "llvm":
        return kind
    if architecture not in X86:
        return f"{kind} {architecture}"
    others = [str(key) for key in target.keys if str(key) != _X86_KEY]
    return f"{MEASURED_TARGET} with schedules for {others[0]}" if others else MEASURED_TARGET


def read_architecture(target: Target) -> str:
    """Of the triple compiled for; this machine's where it has none."""
    triple = str(find_compiled_for(target).attrs.get("mtriple", ""))
    return (triple or platform.machine()).partition("-")[0].lower()


def name_target_class(target: Target | None = None, dtype: str = "float32") -> str:
    """The class of a target, the current one by default, for functions of a dtype.

    Processors that compute in float16 are classes of their own for that.
    """
    target = find_compiled_for(target or current_target())
    name = _name_class(str(target))
    is_half = dtype == "float16" and name.startswith("llvm x86-64")
    return f"{name} fp16" if is_half and _has_halves(target) else name


def _has_halves(target: Target) -> bool:
    """True if the target's processor computes in float16."""
    return bool(codegen.target_has_features("avx512fp16", target))


@lru_cache(maxsize=64)
def _name_class(text: str) -> str:
    target = Target(text)
    kind = target.kind.name
    if kind != "llvm":
        return " ".join(filter(None, (kind, str(target.attrs.get("arch", "")))))
    name = _name_processor(target)
    return f"{name} fast-math" if read_fast_math_flags(target) else name


def read_fast_math_flags(target: Target) -> list[str]:
    """Names of the target's attributes with which LLVM may round as it likes."""
    attributes = find_compiled_for(target).attrs
    return [name for name in attributes.keys() if name.startswith("fast-math") and attributes[name]]


def find_loose_arithmetic(target: Target) -> str:
    """What lets a kernel round otherwise than each operation by itself; empty if nothing does."""
    flags = read_fast_math_flags(target)
    if flags:
        return f"that of -{flags[0]}"
    is_32_bit = target.kind.name == "llvm" and read_architecture(target) in _X86_32_BIT
    if is_32_bit and not codegen.target_has_features("sse2", find_compiled_for(target)):
        return "that of the x87, which rounds where a kernel ends"
    return ""


def _name_processor(target: Target) -> str:
    architecture = read_architecture(target)
    if architecture not in X86:
        return f"llvm {architecture} {target.attrs.get('mcpu', 'generic')}"
    return f"llvm x86-64 {_X86_CLASSES[_x86_level(target)]}"


def may_contract(target: Target, dtype: str) -> bool:
    """True if the target's code may round a product and a sum of a float dtype once.

    LLVM does where the processor has a fused multiply-add for the dtype.  On x86-64 its features
    tell; half precision without AVX512-FP16 is computed in float32 and rounded each time.
    """
    return _has_fma(str(find_compiled_for(target)), dtype == "float16")


@lru_cache(maxsize=64)
def _has_fma(text: str, for_halves: bool) -> bool:
    target = Target(text)
    if target.kind.name != "llvm" or read_architecture(target) not in X86:
        return True
    features = ("avx512fp16",) if for_halves else (*_FUSED, "avx512f")
    return any(codegen.target_has_features(feature, target) for feature in features)


def _x86_level(target: Target) -> int:
    if codegen.target_has_features("avx512f", target):
        return 2
    return int(any(codegen.target_has_features(name, target) for name in _FUSED))


def require_runs_here(target: Target) -> None:
    """Check that this machine can run the target's code.

    Raises
    ------
    CertificateError
        If it cannot; a sweep runs what it certifies.
    """
    target = find_compiled_for(target)
    kind, wanted = target.kind.name, name_target_class(target, "float16")
    if kind == "llvm":
        here = Target(f"llvm -mcpu={codegen.llvm_get_system_cpu()}")
        if wanted.startswith("llvm x86-64"):
            is_x86 = platform.machine().lower() in X86
            is_able = is_x86 and _x86_level(target) <= _x86_level(here)
            is_able = is_able and _has_halves(target) <= _has_halves(here)
        else:
            is_able = wanted.split()[1] == platform.machine().lower()
        if is_able:
            return
        raise CertificateError(
            f"the target is of the class {wanted!r} but must be one that this machine "
            f"({name_target_class(here, 'float16')}) can run"
        )
    if kind != "cuda" or not tvm.cuda(0).exist:
        raise CertificateError(f"the target is {kind!r} but must be one that this machine can run")


def versions() -> tuple[str, str]:
    """Versions of TVM and of the LLVM inside it."""
    return tvm.__version__, str(codegen.llvm_version_major(allow_none=True))
