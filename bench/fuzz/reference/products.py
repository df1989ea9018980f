"""Sums of products with weights: convolutions, dense layers and their like, tap by tap."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from tvm import relay

from .bounds import Bounds, anything, error_of, largest, settle
from .elementwise import dtype_of, shape_of
from .placing import from_plain, primal, to_plain

Linear = Callable[[np.ndarray, np.ndarray], np.ndarray]


def weigh(call: relay.Call, linear: Linear, x: Bounds, weights: Bounds) -> Bounds:
    """A function that is linear in the data and in the weights, on data between bounds.

    Identity
        |sum of w_i x_i - its value at the middle| <= sum of |w_i| * half the width of x_i, and a
        sum of n products in any order is off by at most (n + 2) u * sum of |w_i x_i|.
    """
    dtype = dtype_of(call)
    if np.any(weights.low != weights.high) or not np.isfinite(weights.low).all():
        return anything(shape_of(call))
    known, size = weights.low, np.abs(weights.low)
    unclear = ~(np.isfinite(x.low) & np.isfinite(x.high))
    low, high = (np.where(unclear, 0, end) for end in (x.low, x.high))
    middle, reach = low / 2 + high / 2, high / 2 - low / 2
    with np.errstate(all="ignore"):
        value, spread = linear(middle, known), linear(reach, size)
        total = linear(np.abs(middle), size) + spread
        count = linear(np.ones(x.shape), np.ones(known.shape))
        relative, tiny = error_of(dtype)
        error = spread + (count + 4) * 2 * (total * relative + tiny)
    result = settle(value - error, value + error, dtype)
    touched = linear(unclear.astype(np.float64), np.ones(known.shape)) > 0
    return result.opened(touched | ~(total * 1.001 < largest(dtype)))


def _tuple(values) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _sides(values, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    numbers = _tuple(values)
    numbers = numbers * (2 * rank // len(numbers))
    return numbers[:rank], numbers[rank:]


def _convolve(call: relay.Call, outputs: tuple[int, ...]) -> Linear:
    """The convolution, of data (N, C, ...) and weights (O, I, ...)."""
    attrs, rank = call.attrs, len(outputs)
    before, after = _sides(attrs.padding, rank)
    strides, dilation = _tuple(attrs.strides), _tuple(attrs.dilation)
    groups = int(attrs.groups)

    def linear(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        x = np.pad(x, [(0, 0), (0, 0), *zip(before, after)])
        batch, filters = x.shape[0], weights.shape[0]
        result = np.zeros((batch, groups, filters // groups, *outputs))
        for tap in product(*(range(extent) for extent in weights.shape[2:])):
            places = tuple(
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, dilation, outputs, strides)
            )
            seen = x[(slice(None), slice(None), *places)]
            seen = seen.reshape(batch, groups, -1, *outputs)
            taken = weights[(slice(None), slice(None), *tap)].reshape(groups, filters // groups, -1)
            result += np.einsum("ngi...,goi->ngo...", seen, taken)
        return result.reshape(batch, filters, *outputs)

    return linear


def _convolve_transposed(call: relay.Call, outputs: tuple[int, ...]) -> Linear:
    """Each value of the data, times the weights (I, O, ...), added to where its stride puts it."""
    attrs, rank = call.attrs, len(outputs)
    before, _ = _sides(attrs.padding, rank)
    strides, groups = _tuple(attrs.strides), int(attrs.groups)

    def linear(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        batch, sizes = x.shape[0], x.shape[2:]
        filters, kernel = weights.shape[1] * groups, weights.shape[2:]
        whole = [
            max((n - 1) * s + k, first + wanted)
            for n, s, k, first, wanted in zip(sizes, strides, kernel, before, outputs)
        ]
        result = np.zeros((batch, groups, filters // groups, *whole))
        data = x.reshape(batch, groups, -1, *sizes)
        taken = weights.reshape(groups, -1, *weights.shape[1:])
        for tap in product(*(range(extent) for extent in kernel)):
            places = tuple(slice(t, t + (n - 1) * s + 1, s) for t, n, s in zip(tap, sizes, strides))
            part = np.einsum("ngi...,gio->ngo...", data, taken[(..., *tap)])
            result[(slice(None), slice(None), slice(None), *places)] += part
        kept = tuple(slice(first, first + wanted) for first, wanted in zip(before, outputs))
        return result.reshape(batch, filters, *whole)[(slice(None), slice(None), *kept)]

    return linear


def _convolution(make: Callable, kernel_order: str) -> Callable[..., Bounds]:
    def compute(call: relay.Call, x: Bounds, weights: Bounds, *others: Bounds) -> Bounds:
        layout, kernel = str(call.attrs.data_layout), str(call.attrs.kernel_layout)
        order = "NC" + "".join(a for a in primal(layout) if a not in "NC")
        plain = Bounds(*(to_plain(end, layout, order) for end in (x.low, x.high)))
        axes = kernel_order + order[2:]
        taps = Bounds(*(to_plain(end, kernel, axes) for end in (weights.low, weights.high)))
        out_layout = str(call.attrs.out_layout) or layout
        shape = to_plain(np.empty(shape_of(call)), out_layout, order).shape
        linear, operands = make(call, shape[2:]), (_less(plain, others, 0), _less(taps, others, 1))
        computed = weigh(_Plain(call, shape), linear, *operands)
        return computed.moved(lambda array: from_plain(array, order, out_layout))

    return compute


def _less(bounds: Bounds, zero_points: tuple[Bounds, ...], which: int) -> Bounds:
    """Less the zero point, for quantised convolutions."""
    if not zero_points:
        return bounds
    zero = zero_points[which].low
    return Bounds(bounds.low - zero, bounds.high - zero)


class _Plain:
    """A call as `weigh` sees it: with the dtype of its result, and another shape."""

    def __init__(self, call: relay.Call, shape: tuple[int, ...]):
        self.checked_type = relay.TensorType(shape, dtype_of(call))


def _dense(call: relay.Call, x: Bounds, weights: Bounds) -> Bounds:
    return weigh(call, lambda a, w: a @ w.T, x, weights)


def _batch_matmul(call: relay.Call, x: Bounds, weights: Bounds) -> Bounds:
    attrs = call.attrs

    def linear(a: np.ndarray, w: np.ndarray) -> np.ndarray:
        a = np.swapaxes(a, -1, -2) if attrs.transpose_a else a
        return a @ (np.swapaxes(w, -1, -2) if attrs.transpose_b else w)

    return weigh(call, linear, x, weights)


def _dense_pack(call: relay.Call, x: Bounds, weights: Bounds) -> Bounds:
    """Weights of shape (units / n, inputs, n)."""
    units = weights.moved(lambda w: w.transpose(0, 2, 1).reshape(-1, w.shape[1]))
    return _dense(call, x, units)


_direct = _convolution(_convolve, "OI")
_transposed = _convolution(_convolve_transposed, "IO")
PRODUCTS: dict[str, Callable[..., Bounds]] = {
    **dict.fromkeys([f"nn.conv{rank}d" for rank in (1, 2, 3)], _direct),
    **dict.fromkeys([f"nn.conv{rank}d_transpose" for rank in (1, 2, 3)], _transposed),
    "nn.contrib_conv2d_NCHWc": _direct,
    "nn.contrib_depthwise_conv2d_NCHWc": _direct,
    # Its operands behind the weights: two zero points, and two scales that change nothing.
    "qnn.conv2d": _direct,
    "nn.dense": _dense,
    "nn.contrib_dense_pack": _dense_pack,
    "nn.batch_matmul": _batch_matmul,
}
