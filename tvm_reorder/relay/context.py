"""What the decisions on a function depend on besides the function."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relay
from tvm.target import Target

from ..certify.targets import current_target, find_loose_arithmetic, name_target
from ..core.config import ReorderConfig
from ..core.licence import ANY_DROP
from ..core.refusal import Reason, Refusal
from .certified import CertificateSource
from .kernels import Kernels, read_kernels
from .zeros import has_readers

_MOST_FUSED = 256  # kMaxFusedOps, src/relay/transforms/fuse_ops.cc


@dataclass(frozen=True)
class Surroundings:
    """Target, certificates, and the rest of the module.

    Parameters
    ----------
    target : str
        Kind and architecture of the target.
    certified : CertificateSource
        Where certificates come from.
    kernels : Kernels
        What is known of the kernels.
    obstacle : Refusal or None
        What keeps every site as it is.
    others_divide : bool
        True if another function of the module may tell +0 from -0.
    links_constants : bool
        True if constants may be compiled into the kernels.
    """

    target: str
    certified: CertificateSource
    kernels: Kernels
    obstacle: Refusal | None = None
    others_divide: bool = False
    links_constants: bool = False


def read_surroundings(
    mod: tvm.IRModule,
    variable: relay.GlobalVar,
    context: tvm.transform.PassContext,
    config: ReorderConfig,
    in_build: bool = False,
    any_target: bool = False,
) -> Surroundings:
    """The surroundings of one function of a module, in a build with this context."""
    others = [other for name, other in mod.functions.items() if not name.same_as(variable)]
    fast_math, apart = _has_fast_math(context), are_apart(context)
    return Surroundings(
        name_target(current_target()),
        CertificateSource(config.certify, fast_math, apart),
        read_kernels(context, apart, in_build, any_target, fast_math),
        _find_fusion_limit(context) or _find_unknown_arithmetic(config, in_build),
        any(isinstance(other, relay.Function) and has_readers(other) for other in others),
        not in_build or _links_constants(mod, context),
    )


def are_apart(context: tvm.transform.PassContext) -> bool:
    """True if FuseOps will leave each operator a kernel of its own."""
    return context.opt_level == 0 or _read_fusion_limit(context) == 1


def _links_constants(mod: tvm.IRModule, context: tvm.transform.PassContext) -> bool:
    """True for AOT, and where the executor or FuseOps is told to.

    As ``src/relay/transforms/fuse_ops.cc`` decides it, but that an executor that links links them
    all (``src/target/llvm/codegen_params.cc``), whatever FuseOps is told.
    """
    executor = (mod.attrs or {}).get("executor")
    is_told = executor is not None and bool((executor.attrs or {}).get("link-params", False))
    return is_told or bool((context.config or {}).get("relay.FuseOps.link_params", False))


def _read_fusion_limit(context) -> int | None:
    depth = (context.config or {}).get("relay.FuseOps.max_depth")
    return None if depth is None else int(depth)


def _find_fusion_limit(context) -> Refusal | None:
    """Set if it depends on how many operators there are which of them share a kernel."""
    depth = _read_fusion_limit(context)
    if depth is None or depth == 1 or depth >= _MOST_FUSED:
        return None
    return Refusal(
        Reason.CONTRACTION,
        "relay.FuseOps.max_depth",
        str(depth),
        f"1, or {_MOST_FUSED} or more",
        "which products and sums are contracted depends on this setting of the PassContext",
    )


def _find_unknown_arithmetic(config: ReorderConfig, in_build: bool) -> Refusal | None:
    """Set if LLVM may round as it likes, in each kernel otherwise, or if nobody says."""
    loose = find_loose_arithmetic(current_target())
    if in_build and Target.current(allow_none=True) is None:
        loose = "unknown in a build for several targets"
    if config.licence.ulp == ANY_DROP or not loose:
        return None
    return Refusal(
        Reason.UNPROVEN,
        "the target's arithmetic",
        loose,
        "rounded operation by operation",
        "the licence ulp:any takes it as it is",
    )


def _has_fast_math(context) -> bool:
    """True if TVM's FastMath pass, opt_level 4, will run in this context."""
    if "FastMath" in context.disabled_pass:
        return False
    return context.opt_level >= 4 or "FastMath" in context.required_pass
