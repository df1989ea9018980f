"""``max`` over some axes: a pool whose only window takes them whole.

Identity
    max over the axes of f(x) = f(max over them of x), for f non-decreasing, axis by axis of what
    is kept.  Like the pools, TVM's reduction starts from the lowest finite value of the dtype
    (``topi/reduction.h``, MaxOp), so a -inf turns into that.

Side conditions
    * There is an axis to reduce, and none of the extents is 0 or, of those reduced, open.
    * Constants of the moved steps do not vary along the reduced axes; along all others they may.
    * Operands that are more than a number broadcast over a tensor of the full rank, so the axes are
      kept for them and taken away behind them.  By a reshape: squeeze, too, would do, but its
      layout inference ends in a crash of AlterOpLayout once blocked channels have been reduced to
      one.  A reshape can be told of one open extent only.  It also ends a blocked layout, which
      the network as it was hands on, and a sum behind it is taken in another order then; so such
      steps stay if there may be one, see ``layouts.py``.
"""

from __future__ import annotations

from tvm import relay
from tvm.ir import Op
from tvm.tir import IntImm

from ..core.monotone import ANY_RANK
from .patterns import MAX_REDUCTION


def is_reduction(call: relay.Expr) -> bool:
    """True for TVM's ``max``, whatever its axes."""
    is_call = isinstance(call, relay.Call) and isinstance(call.op, Op)
    return is_call and call.op.name == MAX_REDUCTION


def has_reduced_axes(call: relay.Call) -> bool:
    """True for a ``max`` over at least one axis, and for one without a type."""
    if not is_reduction(call):
        return False
    if call.args[0]._checked_type_ is None:
        return True
    return _rank(call) <= len(ANY_RANK) and bool(read_reduced_axes(call))


def read_reduced_axes(call: relay.Call) -> tuple[int, ...]:
    """The axes that a ``max`` or its like reduces, in order and counted from the first.

    As ``GetReduceAxes`` in ``src/relay/op/tensor/reduce.cc``: no axis means all of them.
    """
    rank, attrs = _rank(call), call.attrs
    axes = [] if attrs.axis is None else attrs.axis
    named = {int(axis) % rank for axis in (axes if hasattr(axes, "__len__") else [axes])}
    is_excluded = bool(attrs.exclude) and bool(named)
    return tuple(axis for axis in range(rank) if not named or (axis in named) != is_excluded)


def rebuild_pool_call(
    pool: relay.Call, data: relay.Expr, axes: tuple[int, ...], keeps_axes: bool
) -> relay.Call:
    """The pool over other data, not yet marked; a ``max`` keeps its axes if it is to."""
    if keeps_axes and drops_axes(pool):
        return relay.max(data, axis=list(axes), keepdims=True)
    return relay.Call(pool.op, [data], pool.attrs)


def drops_axes(pool: relay.Call) -> bool:
    """True for a ``max`` without the axes that it reduces."""
    return is_reduction(pool) and not pool.attrs.keepdims


def restore_shape(value: relay.Expr, pool: relay.Call, span) -> relay.Expr:
    """The value in the shape of the typed pool's: without the axes that a ``max`` drops."""
    if not drops_axes(pool):
        return value
    extents = pool.checked_type.shape
    shape = [int(extent) if isinstance(extent, IntImm) else -1 for extent in extents]
    restored = relay.reshape(value, shape)
    return relay.Call(restored.op, restored.args, restored.attrs, [], span)


def _rank(call: relay.Call) -> int:
    return len(call.args[0].checked_type.shape)
