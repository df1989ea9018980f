"""Which pools can be computed in one kernel with the convolution they read, and the rewrite.

Identity
    max_pool2d(conv2d(x, w)) = conv2d_max_pool2d(x, w), the same sums in the same order.

Side conditions
    * One 2-D convolution, NCHW, one group, float32, and nobody else wants its value.
    * The pool's padding and an explicit one are one padding of widths that are not negative; see
      ``core/window.py``.
    * The target has a schedule for the operator: llvm on x86.
    * The weights are packed when the model is compiled (AlterOpLayout, opt_level 3), and neither
      auto_scheduler nor MetaSchedule schedules the kernels: they bring schedules of their own.

Measure that falls
    Kernels, by one a site, and the bytes written between them.
"""

from __future__ import annotations

from tvm import relay
from tvm.autotvm.task.dispatcher import ApplyGraphBest, DispatchContext
from tvm.ir.transform import PassContext
from tvm.relay.dataflow_pattern import DFPatternCallback, rewrite

from ..certify.targets import current_target
from ..core.measured import MEASURED_TARGET
from ..core.refusal import Reason, Refusal, require
from .facts import (
    PoolFacts,
    read_dtype,
    read_fused_attributes,
    read_joined_padding,
    read_pool,
    read_shape,
)
from .op.conv2d_max_pool2d import make_call
from .patterns import make_max_pool_pattern
from .rules.rule import mark_span
from .sites import FunctionGraph, op_name

_CONVOLVING_LIBRARY = "dnnl"  # python/tvm/relay/op/strategy/x86.py: conv2d_strategy_cpu
_OTHER_TUNERS = ("auto_scheduler", "meta_schedule")
_NAME = "FuseConvolutionPool"
_ENDS = {"signed": "its minimum on some channel", "both": "both its ends"}


def find_general_obstacle(context: PassContext, target: str) -> Refusal | None:
    """What keeps every site of a build from being fused."""
    if target != MEASURED_TARGET:
        return _refuse("the target", target, MEASURED_TARGET)
    if _CONVOLVING_LIBRARY in current_target().libs:
        return _refuse("what computes the convolution", _CONVOLVING_LIBRARY, "TVM's own schedule")
    if isinstance(DispatchContext.current, ApplyGraphBest):
        # It deals out one record after the other: a convolution that does not ask shifts them all.
        return _refuse("the tuning log", "the graph tuner's", "one by workload")
    for tuner in _OTHER_TUNERS:
        if (context.config or {}).get(f"relay.backend.use_{tuner}"):
            return _refuse("what schedules the kernels", tuner, "TVM's operator strategies")
    return require(
        context.opt_level >= 3,
        Reason.FUSION,
        "opt_level",
        context.opt_level,
        "3 or more (weights are packed at compile time)",
    )


def find_obstacle(
    graph: FunctionGraph,
    pool: relay.Call,
    facts: PoolFacts,
    base: relay.Expr,
    uses: int,
    ends: str = "one",
) -> Refusal | None:
    """What keeps one pool from being fused with `base`, the value below the moved steps.

    Parameters
    ----------
    graph : FunctionGraph
        The function.
    pool : relay.Call
        The pool.
    facts : PoolFacts
        The pool, read.
    base : relay.Expr
        What would be the pool's input after the exchange.
    uses : int
        How often the moved steps, or the pool, use it.
    ends : str
        ``SiteWorkload.ends``: what the moved steps need of each window.
    """
    if op_name(base) != "nn.conv2d":
        return _refuse("what the pool reads", op_name(base), "nn.conv2d")
    if op_name(pool) != "nn.max_pool2d":
        return _refuse("the pool", op_name(pool), "nn.max_pool2d")
    if ends != "one":
        return _refuse("what the moved steps need of a window", _ENDS[ends], "its maximum alone")
    if facts.fills:
        return _refuse("the padding before the pool", "data to it", "with the lowest value")
    if read_joined_padding(pool, facts) is None:
        subject = "the padding of the pool, an explicit one included,"
        return _refuse(subject, "a crop on some side", "of widths that are not negative")
    attrs = base.attrs
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout) or "NCHW")
    dtypes = {read_dtype(each) for each in (base, *base.args)}
    shapes = [extent for each in base.args for extent in read_shape(each.checked_type)]
    return (
        require(
            (*layouts, str(pool.attrs.layout)) == ("NCHW", "OIHW", "NCHW", "NCHW"),
            Reason.FUSION,
            "the convolution's layout",
            "/".join(layouts),
            "NCHW/OIHW (relay.transform.ConvertLayout makes it so)",
        )
        or require(
            int(attrs.groups) == 1,
            Reason.FUSION,
            "the convolution's number of groups",
            attrs.groups,
            "1",
        )
        or require(
            dtypes == {"float32"},
            Reason.FUSION,
            "the convolution's dtype",
            "/".join(sorted(map(str, dtypes))),
            "float32",
        )
        or require(
            None not in shapes, Reason.FUSION, "the convolution's shape", "dynamic", "static"
        )
        or require(
            graph.is_private(base, uses),
            Reason.FUSION,
            "the convolution's value",
            "used elsewhere too",
            "used on the way to the pool alone",
        )
    )


def fuse(graph: FunctionGraph, pools: list[relay.Call]) -> relay.Function:
    """The function with some of its pools fused with the convolutions that they read."""
    return rewrite(_Fuse(graph, pools), graph.function) if pools else graph.function


class _Fuse(DFPatternCallback):
    """Adapter to TVM's rewriter; which pools are fused has been decided."""

    def __init__(self, graph: FunctionGraph, pools: list[relay.Call]):
        super().__init__(require_type=False, rewrite_once=True)
        self.pattern = make_max_pool_pattern()
        self._attributes = {pool: _read(graph, pool) for pool in pools}

    def callback(self, pre, post, node_map):
        if pre not in self._attributes:
            return post
        facts, attributes = self._attributes[pre]
        conv = facts.data_of(post)
        return make_call(*conv.args, attributes, mark_span(post.span, _NAME))


def _read(graph: FunctionGraph, pool: relay.Call):
    facts = read_pool(pool, graph)
    return facts, read_fused_attributes(facts.data_of(pool), pool, facts)


def _refuse(subject: str, actual: str, required: str) -> Refusal:
    return Refusal(Reason.FUSION, subject, actual, required)
