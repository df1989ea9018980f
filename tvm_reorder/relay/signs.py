"""Signs of channels: folded into the filters of a convolution, or multiplied.

Identity
    s * conv(x, w) = conv(x, s * w) for s = +1 or -1 per filter, bit for bit in floating point:
    negation is exact, and rounding to nearest treats both signs alike.

Side conditions
    * The convolution's value is used by the moved steps alone; any other user wants it unsigned.
    * The weights are known, floating point, and have their filters along one axis.
"""

from __future__ import annotations

import numpy as np
from tvm import relay
from tvm.ir import Span

from ..core.enclosure import is_integer
from .facts import PoolFacts, read_constant, read_dtype
from .sites import FunctionGraph, op_name

_CONVOLUTIONS = frozenset(["nn.conv1d", "nn.conv2d", "nn.conv3d"])
_DTYPES = {"float16", "float32", "float64"}  # numpy has no bfloat16; the lowest integer has no -x


def count_filters(graph: FunctionGraph, base: relay.Expr, uses: int, pool: PoolFacts) -> int:
    """Filters of `base` whose weights can take a sign; 0 if they cannot.

    Parameters
    ----------
    graph : FunctionGraph
        The function.
    base : relay.Expr
        What computes the chain's input, typed.
    uses : int
        How often the moved steps use it.
    pool : PoolFacts
        The pool.
    """
    if op_name(base) not in _CONVOLUTIONS or graph.is_output(base) or graph.users(base) != uses:
        return 0
    layout = str(base.attrs.out_layout) or str(base.attrs.data_layout)
    kernel = str(base.attrs.kernel_layout)
    dtypes = {read_dtype(base), *map(read_dtype, base.args)}
    is_plain = layout.isalpha() and layout.isupper() and kernel.count("O") == 1
    if not is_plain or layout.index("C") != pool.channel_axis:
        return 0
    if len(dtypes) != 1 or not dtypes <= _DTYPES or read_constant(base.args[1]) is None:
        return 0
    return int(base.args[1].checked_type.shape[kernel.index("O")])


def fold_signs(
    conv: relay.Call, typed: relay.Call, signs: tuple[int, ...], span: Span
) -> relay.Call:
    """The convolution with its filters multiplied by the signs of their channels.

    Parameters
    ----------
    conv : relay.Call
        The convolution to rebuild.
    typed : relay.Call
        The same before any rewriting, whose weights are known.
    signs : tuple of int
        One, or one per (batch, channel) pair, the same for the whole batch.
    span : Span
        Of the new call.
    """
    weights, axis = read_constant(typed.args[1]), str(typed.attrs.kernel_layout).index("O")
    shape = [1] * weights.ndim
    shape[axis] = -1
    filters = np.resize(np.asarray(signs, weights.dtype), weights.shape[axis])
    # Without a dtype relay.const narrows 64 bits to 32.
    kernel = relay.const(weights * filters.reshape(shape), str(weights.dtype))
    return relay.Call(conv.op, [conv.args[0], kernel], conv.attrs, [], span)


def apply_signs(data: relay.Expr, signs: tuple[int, ...], shape: tuple, dtype: str) -> relay.Call:
    """The data, its order turned around on the channels whose sign is -1; its own inverse.

    Parameters
    ----------
    data : relay.Expr
        Any extents along the window axes.
    signs : tuple of int
        One, or one per element of `shape`.
    shape : tuple of int
        The data's shape with 1 along the window axes.
    dtype : str
        Of the data.  Integers are turned bit by bit, because negation wraps at their lowest value.
    """
    if len(signs) == 1:
        return relay.bitwise_not(data) if is_integer(dtype) else relay.negative(data)
    values = np.asarray(signs).reshape(shape)
    if (values == values[:1]).all():
        values = values[:1]  # the same for the whole batch
    if is_integer(dtype):
        masks = np.where(values < 0, ~np.zeros((), dtype), np.zeros((), dtype))
        return relay.bitwise_xor(data, relay.const(masks.astype(dtype), dtype))
    if dtype == "bfloat16":  # numpy has none
        return relay.multiply(data, relay.const(values.astype("float32")).astype(dtype))
    return relay.multiply(data, relay.const(values.astype(dtype), dtype))
