"""Whether it shows in which layout a value is handed on.

Identity
    f(maxpool(x)) comes in the layout in which maxpool(f(x)) came.  AlterOpLayout lays convolutions
    out in blocks of channels (NCHW8c) and hands that on to what follows, as far as operators say
    how they follow (``src/relay/transforms/alter_op_layout.cc``); an elementwise f follows any
    layout or ends it, before the pool and behind it alike.

Side conditions
    Three things end a layout at one place and not at the other: moves that undo one another and
    go, a let that goes, and the reshape behind a ``max`` that drops its axes.  They stay, or what
    needs them does, where the layout shows.

Where it shows
    * A sum is taken in another order, so its last digits differ; ``split`` fails on blocks.
    * A layout_transform between two operators makes two kernels of them, which round a product and
      a sum apart.
    What has one operand that varies, what chooses (max, min) and what takes its data in a layout of
    its own, whatever is handed on, shows nothing.
"""

from __future__ import annotations

from tvm import relay
from tvm.relay.op import OpPattern

from .patterns import MAX_POOLS, MAX_REDUCTION
from .sites import FunctionGraph, climb, depends_on_input, op_name, read_operands, read_pattern

# Altered on x86, ``python/tvm/topi/x86/conv2d_alter_op.py``, and on CUDA.
_ALTERED = frozenset(
    [
        *("nn.conv2d", "nn.contrib_conv2d_NCHWc", "nn.contrib_depthwise_conv2d_NCHWc"),
        *("nn.conv3d", "contrib.conv2d_max_pool2d"),
    ]
)
_CHOOSING = frozenset([*MAX_POOLS, MAX_REDUCTION, "min"])
_OF_ITS_OWN = frozenset(["nn.dense", "nn.batch_flatten", "nn.conv2d", "reshape"])


def may_be_blocked(value: relay.Expr) -> bool:
    """True if a convolution that AlterOpLayout alters is among what a value is computed from."""
    return any(op_name(expr) in _ALTERED for expr in climb(value, read_operands))


def breaks_on_blocks(pool: relay.Call, call: relay.Call) -> bool:
    """True for an operator that AlterOpLayout fails at behind a pool over blocks of channels.

    It takes the layout that the pool names for a new one, and looks for the axes in the old one
    (``FixedPointMultiplyPerAxisInferCorrectLayout`` in ``src/relay/op/tensor/transform.cc``).
    """
    is_blocked = any(letter.islower() for letter in str(getattr(pool.attrs, "layout", "")))
    return is_blocked and op_name(call) == "fixed_point_multiply_per_axis"


def shows_layout(graph: FunctionGraph, value: relay.Expr) -> bool:
    """True if something that a value goes into may depend on the layout in which it is handed on.

    Bound by a let, or given to a function or a branch, it has the layout that its type says.
    """
    users = graph.climb_users(value, lambda call: op_name(call) not in _OF_ITS_OWN)
    return not all(user is value or _follows(user) for user in users)


def _follows(call: relay.Call) -> bool:
    """True for what hands on any layout and gives the same values in each."""
    varying = list(filter(depends_on_input, call.args))
    is_elementwise = read_pattern(call) <= OpPattern.BROADCAST and len(varying) == 1
    return is_elementwise or op_name(call) in _CHOOSING
