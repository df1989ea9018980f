"""Quantised operators, from what they stand for on the real line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from tvm import relay

from .bounds import Bounds, exact, largest, lowest, settle
from .elementwise import ELEMENTWISE, along_axis, dtype_of

_LOSS = 2.0**-20  # of a product in float32 or with a multiplier of 31 bits, relative


def _nearest(low, high, dtype: str, loss: float = _LOSS) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers nearest to what may be off by a loss; halves go either way."""
    with np.errstate(all="ignore"):
        error = loss * np.maximum(np.abs(low), np.abs(high))
        return np.ceil(low - 0.5 - error), np.floor(high + 0.5 + error)


def _saturate(low, high, dtype: str) -> Bounds:
    ends = lowest(dtype), largest(dtype)
    return settle(np.clip(low, *ends), np.clip(high, *ends), dtype)


def _scale_of(call: relay.Call, scale: Bounds, rank: int) -> np.ndarray:
    is_one = scale.low.ndim == 0
    return scale.low if is_one else along_axis(scale.low, rank, int(call.attrs.axis))


def _quantize(call: relay.Call, x: Bounds, scale: Bounds, zero: Bounds) -> Bounds:
    each, dtype = _scale_of(call, scale, x.low.ndim), dtype_of(call)
    low, high = _nearest(x.low / each, x.high / each, dtype)
    return _saturate(low + zero.low, high + zero.low, dtype)


def _dequantize(call: relay.Call, x: Bounds, scale: Bounds, zero: Bounds) -> Bounds:
    each = _scale_of(call, scale, x.low.ndim)
    return settle((x.low - zero.low) * each, (x.high - zero.low) * each, dtype_of(call), 2)


def _requantize(call: relay.Call, x, scale, zero, scale_out, zero_out) -> Bounds:
    each, dtype = _scale_of(call, scale, x.low.ndim) / scale_out.low, dtype_of(call)
    low, high = _nearest((x.low - zero.low) * each, (x.high - zero.low) * each, dtype)
    return _saturate(low + zero_out.low, high + zero_out.low, dtype)


def _table(name: str, call: relay.Call, x, scale, zero, scale_out, zero_out) -> Bounds:
    """An activation of the number that a quantised value stands for."""
    real = ELEMENTWISE[name](_Float(), exact((x.low - zero.low) * scale.low))
    dtype = dtype_of(call)
    low, high = _nearest(real.low / scale_out.low, real.high / scale_out.low, dtype, 1e-5)
    return _saturate(low + zero_out.low, high + zero_out.low, dtype).opened(real.is_open)


class _Float:
    """A call as an activation's definition sees it: it gives float32."""

    checked_type = relay.TensorType((), "float32")
    op = relay.op.get("tanh")


def _multiply(x: Bounds, factor: np.ndarray, left: np.ndarray, dtype: str) -> Bounds:
    """x * factor, rounded half up, in 32 bits."""
    ends = [x.low * factor, x.high * factor]
    low, high = _nearest(np.minimum(*ends), np.maximum(*ends), dtype, 2.0**-50)
    beyond = np.maximum(np.abs(x.low), np.abs(x.high)) * 2.0**left >= 2.0**31
    return settle(low, high, "int32").opened(beyond)


def _fixed_point(call: relay.Call, x: Bounds) -> Bounds:
    multiplier, shift = int(call.attrs.multiplier), int(call.attrs.shift)
    factor = np.asarray(multiplier * 2.0 ** (shift - 31))
    return _multiply(x, factor, np.asarray(max(shift, 0)), dtype_of(call))


def _fixed_point_per_axis(call: relay.Call, x: Bounds, multiplier, left, right) -> Bounds:
    axis, rank = int(call.attrs.axes[0]), x.low.ndim
    shift = left.low * bool(call.attrs.is_lshift_required) - right.low
    factor = along_axis(multiplier.low * 2.0 ** (shift - 31), rank, axis)
    return _multiply(x, factor, along_axis(np.maximum(left.low, 0), rank, axis), dtype_of(call))


QUANTISED: dict[str, Callable[..., Bounds]] = {
    "qnn.quantize": _quantize,
    "qnn.dequantize": _dequantize,
    "qnn.requantize": _requantize,
    "fixed_point_multiply": _fixed_point,
    "fixed_point_multiply_per_axis": _fixed_point_per_axis,
    **{
        f"qnn.{name}": partial(_table, name)
        for name in ("sigmoid", "tanh", "exp", "erf", "sqrt", "rsqrt", "hardswish")
    },
}
