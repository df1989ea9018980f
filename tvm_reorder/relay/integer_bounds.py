"""Which values an integer convolution or dense layer can give.

Identity
    |sum of w_i x_i| <= (sum of |w_i|) * max |x_i|, filter by filter.

A quantised convolution often reads its data behind ``cast(x) - zero point``: there the narrow
dtype says more than the wide one.
"""

from __future__ import annotations

import re

import numpy as np
from tvm import relay

from ..core.intervals import dtype_range, is_integer
from .facts import read_constant, read_dtype
from .patterns import PRODUCERS
from .sites import op_name


def read_integer_bound(producer: relay.Expr) -> tuple[int, int] | None:
    """Interval an integer convolution or dense layer can reach, None if its weights are unknown.

    Where the layout does not name the filters, all weights count together.
    """
    if op_name(producer) == "strided_slice":  # of channels that the target's instructions padded
        return read_integer_bound(producer.args[0])
    if op_name(producer) not in PRODUCERS:
        return None
    data_dtype, weight = read_dtype(producer.args[0]), producer.args[1]
    values = read_constant(weight) if data_dtype and is_integer(data_dtype) else None
    if values is None:
        return None
    weights = np.abs(values.astype(np.int64))
    layout = re.sub("[^A-Za-z]", "", str(getattr(producer.attrs, "kernel_layout", "")))
    if len(layout) == weights.ndim and "O" in layout:
        others = tuple(i for i, axis in enumerate(layout) if axis != "O")
        weights = weights.sum(others).max(initial=0, keepdims=True)
    # Padding with zeros belongs to the convolution.
    largest = max(abs(end) for end in _read_range(producer.args[0]))
    bound = int(weights.sum()) * largest
    return -bound, bound


def _read_range(expr: relay.Expr) -> tuple[int, int]:
    """Interval of an integer value; the dtype's own where nothing is known."""
    everything = dtype_range(read_dtype(expr))
    low, high = _derive_range(expr) or everything
    return (low, high) if everything[0] <= low and high <= everything[1] else everything


def _derive_range(expr: relay.Expr) -> tuple[int, int] | None:
    """Interval by the operator: a cast, a shift by a number, or padding."""
    name = op_name(expr)
    if name == "cast" and is_integer(read_dtype(expr.args[0])):
        return _read_range(expr.args[0])
    if name not in ("add", "subtract", "nn.pad"):
        return None
    number = read_constant(expr.args[1])
    if number is None or number.size != 1:
        return None
    number, (low, high) = int(number.ravel()[0]), _read_range(expr.args[0])
    if name == "nn.pad":
        is_constant = str(expr.attrs.pad_mode) == "constant"
        return (min(low, number), max(high, number)) if is_constant else (low, high)
    number = number if name == "add" else -number
    return low + number, high + number
