"""``max`` over the spatial axes: a global max pool by another name.

Identity
    max over all spatial axes of f(x) = f(max over them of x), for f non-decreasing.  Like the
    pools, TVM's reduction starts from the lowest finite value of the dtype
    (``topi/reduction.h``, MaxOp), so a -inf turns into that.

Side conditions
    * The axes are all but the batch and the channels: (2, 3) or (1, 2) of four.  A maximum over
      other axes, the channels too, is no pool.
    * Constants of the moved steps broadcast over a tensor of the full rank, so the axes are kept
      for them and taken away behind them.
"""

from __future__ import annotations

from tvm import relay
from tvm.ir import Op

from .patterns import MAX_REDUCTION

_RANKS = range(3, 6)


def is_reduction(call: relay.Expr) -> bool:
    """True for TVM's ``max``, whatever its axes."""
    is_call = isinstance(call, relay.Call) and isinstance(call.op, Op)
    return is_call and call.op.name == MAX_REDUCTION


def is_spatial_max(call: relay.Call) -> bool:
    """True for a ``max`` over exactly the spatial axes, and for one without a type."""
    if not is_reduction(call):
        return False
    if call.args[0]._checked_type_ is None:
        return True
    rank, axes = _rank(call), read_reduced_axes(call)
    return rank in _RANKS and axes in (tuple(range(2, rank)), tuple(range(1, rank - 1)))


def read_reduced_axes(call: relay.Call) -> tuple[int, ...]:
    """The axes that a ``max`` reduces, in order and counted from the first."""
    rank, attrs = _rank(call), call.attrs
    if attrs.axis is None:
        return tuple(range(rank))
    axes = attrs.axis if hasattr(attrs.axis, "__len__") else [attrs.axis]
    named = {int(axis) % rank for axis in axes}
    return tuple(axis for axis in range(rank) if (axis in named) != bool(attrs.exclude))


def rebuild_pool_call(pool: relay.Call, data: relay.Expr, axes: tuple[int, ...]) -> relay.Call:
    """The pool over other data, not yet marked; a ``max`` keeps its axes."""
    if is_reduction(pool):
        return relay.max(data, axis=list(axes), keepdims=True)
    return relay.Call(pool.op, [data], pool.attrs)


def restore_shape(value: relay.Expr, pool: relay.Call, axes: tuple[int, ...], span) -> relay.Expr:
    """The value in the shape of the original pool's: without the axes that a ``max`` drops."""
    if not is_reduction(pool) or pool.attrs.keepdims:
        return value
    squeezed = relay.squeeze(value, axis=list(axes))
    return relay.Call(squeezed.op, squeezed.args, squeezed.attrs, [], span)


def _rank(call: relay.Call) -> int:
    return len(call.args[0].checked_type.shape)
