"""Which kernels compute their elementwise operators in one expression.

Identity
    Two kernels that both compute a product and a sum in one expression round them alike: TVM's
    LowerIntrin writes ``llvm.fmuladd`` for such a pair, which becomes a fused multiply-add on every
    processor that has one, in vector and scalar code.

Why being in one kernel is not enough
    It depends on the schedule.  Those built on ``traverse_inline`` or AutoInlineInjective inline
    every elementwise stage into the last one.  TOPI's generic ones (``default_schedule``) leave
    each stage a loop of its own that stores what it computes, rounded; whether LLVM merges the
    loops depends on their extents.  So do ``concatenate`` and reductions on x86.

How it is known
    The tables name TOPI's x86 schedules that inline, ``tests/relay/test_contraction.py`` builds
    each and finds the fused multiply-add in its code, for AVX2 and AVX-512.  What is not named here
    is not known: other targets, schedules that auto_scheduler and MetaSchedule search for, library
    calls (``-libs``), dynamic shapes.  AutoTVM's templates are the same schedules with any log.

A kernel without a producer
    Where nobody fuses the chain with its producer, because another operator reads that too, or it
    is the function's input, the chain is a kernel of its own, and AutoInlineInjective's.  So is one
    of elementwise operators alone, as of a residual sum of inputs or a squeeze-and-excite product
    (``fused_with.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import relay
from tvm.ir.transform import PassContext
from tvm.target import Target

from ..certify.targets import current_target, may_contract, name_target
from ..core.measured import MEASURED_TARGET
from ..core.refusal import Reason, Refusal
from .facts import read_shape
from .patterns import MAX_POOLS
from .sites import op_name

# Layouts and kinds of convolutions with a schedule on x86 that inlines what follows them.
_INLINING_PRODUCERS = {
    "nn.conv1d": {("NCW", "plain"), ("NWC", "plain")},
    "nn.conv2d": {
        ("NCHW", "plain"),
        ("NHWC", "plain"),
        ("NCHW", "grouped"),
        ("NCHW", "depthwise"),
    },
    "nn.conv3d": {("NCDHW", "plain"), ("NDHWC", "plain")},
    "nn.conv2d_transpose": {("NCHW", "plain")},
}
_INLINING_POOLS = frozenset(
    [*MAX_POOLS, "contrib.conv2d_max_pool2d"]
)  # a `max` leaves each stage behind it a loop
_TUNERS = ("auto_scheduler", "meta_schedule")
_SUBJECT = "how the kernel of {} rounds a product and a sum"
_REQUIRED = "once, as in the kernels of TOPI's x86 schedules that inline"


@dataclass(frozen=True)
class Kernels:
    """What is known of the kernels of one build.

    Parameters
    ----------
    target : tvm.target.Target or None
        What is compiled for; None if nobody says.
    apart : bool
        True if each operator becomes a kernel of its own.
    obstacle : str
        Why no schedule is known; empty if some are.
    fast_math : bool
        True if FastMath will replace exp, tanh and erf.
    in_build : bool
        True at the pass's place in `relay.build`, behind EliminateCommonSubexpr.
    """

    target: Target | None = None
    apart: bool = False
    obstacle: str = ""
    fast_math: bool = False
    in_build: bool = True

    def may_contract(self, dtype: str) -> bool:
        """True if a product and a sum of a dtype may be rounded once."""
        if self.apart or not dtype.startswith(("float", "bfloat")):
            return False
        return self.target is None or may_contract(self.target, dtype)

    def doubt_producer(
        self,
        base: relay.Expr,
        is_joined: bool = False,
        are_moved: bool = False,
        is_plain: bool = False,
    ) -> Refusal | None:
        """Why steps over `base` are not known to be computed in one expression.

        Parameters
        ----------
        base : relay.Expr
            What no step computes.
        is_joined : bool
            True if the kernel of a concatenation may take in the steps.
        are_moved : bool
            True if something between them only moves values.
        is_plain : bool
            True if no producer is in the kernel: elementwise operators alone, or the steps.
        """
        name = op_name(base)
        if self.obstacle:
            return _refuse(name, self.obstacle)
        if is_joined or are_moved:
            return _refuse("what joins or moves values", "not known")
        if is_plain or name in _INLINING_POOLS:
            return None
        if name not in _INLINING_PRODUCERS:
            return _refuse(name, "not known")
        layout, kind = str(base.attrs.data_layout), _name_kind(base)
        if (layout, kind) in _INLINING_PRODUCERS[name]:
            return None
        return _refuse(f"a {kind} {name} in {layout}", "not known")

    def doubt_pool(self, pool: relay.Call) -> Refusal | None:
        """Why what follows a pool is not known to be computed in one expression."""
        if self.obstacle:
            return _refuse(op_name(pool), self.obstacle)
        return None if op_name(pool) in _INLINING_POOLS else _refuse(op_name(pool), "not known")


def read_kernels(
    context: PassContext,
    apart: bool,
    in_build: bool,
    any_target: bool = False,
    fast_math: bool = False,
) -> Kernels:
    """What is known of the kernels of a build with this context, for the target in scope.

    A build for several targets has none in scope; outside a build that means this machine's llvm,
    for a processor that nobody has named; so does `any_target`.
    """
    target = Target.current(allow_none=True)
    compiled_for = target if in_build else current_target()
    obstacle = _find_obstacle(context, compiled_for)
    return Kernels(None if any_target else target, apart, obstacle, fast_math, in_build)


def _find_obstacle(context: PassContext, target: Target | None) -> str:
    for tuner in _TUNERS:
        if (context.config or {}).get(f"relay.backend.use_{tuner}"):
            return f"not known of a schedule by {tuner}"
    if target is None:
        return "not known in a build for several targets"
    name = name_target(target)
    if name != MEASURED_TARGET:
        return f"not known on {name}"
    return "not known of a library's" if target.libs else ""


def _name_kind(call: relay.Call) -> str:
    """How a convolution's channels go together."""
    shapes = [read_shape(argument.checked_type) for argument in call.args[:2]]
    if None in (*shapes[0], *shapes[1]):
        return "dynamic"
    groups = int(call.attrs.groups)
    if groups == 1:
        return "plain"
    axis = str(call.attrs.data_layout).index("C")
    channels = {shapes[0][axis], read_shape(call.checked_type)[axis], groups}
    is_dilated = any(int(extent) != 1 for extent in call.attrs.dilation)
    kind = "depthwise" if len(channels) == 1 else "grouped"
    return f"dilated {kind}" if is_dilated else kind


def _refuse(subject: str, actual: str) -> Refusal:
    return Refusal(Reason.CONTRACTION, _SUBJECT.format(subject), actual, _REQUIRED)
