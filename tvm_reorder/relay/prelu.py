"""PReLU: its direction, and how it is written behind a pool."""

from __future__ import annotations

import numpy as np
from tvm import relay
from tvm.ir import Span

from ..core.enclosure import where_positive
from ..core.monotone import Direction, MonotoneMap, collapse
from ..core.refusal import Reason
from .facts import PoolFacts
from .operands import spread

_RISING = (Direction.RISING,)


def make_leaky(name: str, slopes: np.ndarray, pool: PoolFacts) -> MonotoneMap:
    """x where x > 0, else slope * x: rising for a slope of 0 or more, else a valley."""
    lowest = slopes.astype(np.float64).min(initial=np.inf)  # of integers too
    directions = _RISING
    if lowest < 0:
        planes = spread(slopes, pool)
        directions = (Direction.OTHER,) if planes is None else _valleys(planes)
    return MonotoneMap(
        name,
        directions,
        0,
        lambda x: where_positive(x, lambda above: above, lambda below: below * slopes),
        Reason.NEGATIVE_SLOPE if lowest < 0 else None,
        f"{lowest:g}" if lowest < 0 else "",
    )


def build_prelu(
    data: relay.Expr, span: Span, slopes: np.ndarray, pool: PoolFacts, dtype: str
) -> relay.Expr:
    """PReLU of a pooled tensor.

    Parameters
    ----------
    data : relay.Expr
        What the pool yields.
    span : Span
        Of the new calls.
    slopes : numpy.ndarray
        They broadcast over it.
    pool : PoolFacts
        The pool.
    dtype : str
        Of the data.
    """
    pool = pool.below or pool
    slopes = slopes.reshape((1,) * (len(pool.shape) - slopes.ndim) + slopes.shape)
    axes = [axis for axis in range(slopes.ndim) if not _is_same_along(slopes, axis)]
    if len(axes) > 1:  # TVM's operator takes one axis: as the ONNX importer writes it
        line = np.broadcast_to(slopes, pool.pooled_shape).ravel()
        flat = _mark(relay.reshape(data, [-1]), span)
        bent = _mark(relay.nn.prelu(flat, relay.const(line, dtype), axis=0), span)
        return _mark(relay.reshape(bent, pool.pooled_shape), span)
    others = [axis for axis in range(slopes.ndim) if axis not in pool.window_axes]
    axis = axes[0] if axes else others[-1] if others else 0
    line = np.moveaxis(slopes, axis, 0).reshape(slopes.shape[axis], -1)[:, 0]
    line = np.broadcast_to(line, (pool.pooled_shape[axis],))
    return _mark(relay.nn.prelu(data, relay.const(line, dtype), axis), span)


def _is_same_along(values: np.ndarray, axis: int) -> bool:
    return np.array_equal(values, np.broadcast_to(np.take(values, [0], axis), values.shape))


def _mark(call: relay.Call, span: Span) -> relay.Call:
    return relay.Call(call.op, call.args, call.attrs, [], span)


def _valleys(slopes: np.ndarray) -> tuple[Direction, ...]:
    return collapse(tuple(Direction.VALLEY if slope < 0 else Direction.RISING for slope in slopes))
