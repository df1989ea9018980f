"""Steps of quantised networks: QNN's operators, and what they and ``relay.quantize`` become."""

from __future__ import annotations

from random import Random

import numpy as np
from tvm import relay

from ..value import Value, is_integer
from .constants import repeat
from .kind import Kind, Maker

_SCALES = (0.1, 1 / 3, 0.7, 1.0, 0.05, 0.5, 1.9)
_NARROW = ("int8", "uint8")


def _numbers(values, dtype: str) -> relay.Expr:
    return relay.const(np.asarray(values, dtype), dtype)


def _per_channel(value: Value, given, dtype: str) -> relay.Expr:
    """One number as a scalar, several as one for each channel."""
    if not isinstance(given, list):
        return _numbers(given, dtype)
    return _numbers(repeat(given, value.shape[value.channel]), dtype)


def _build_quantize(maker: Maker, value: Value, parameters: dict) -> Value:
    scale = _per_channel(value, parameters.get("scale", 0.1), "float32")
    zero = _numbers(parameters.get("zero", 0), "int32")
    dtype = parameters.get("dtype", "int8")
    quantize = relay.qnn.op.quantize
    return value.to(quantize(value.expr, scale, zero, axis=value.channel, out_dtype=dtype))


def _build_dequantize(maker: Maker, value: Value, parameters: dict) -> Value:
    scale = _per_channel(value, parameters.get("scale", 0.1), "float32")
    zero = _numbers(parameters.get("zero", 0), "int32")
    return value.to(relay.qnn.op.dequantize(value.expr, scale, zero, axis=value.channel))


def _build_requantize(maker: Maker, value: Value, parameters: dict) -> Value:
    return value.to(
        relay.qnn.op.requantize(
            value.expr,
            _per_channel(value, parameters.get("scale", 0.1), "float32"),
            _numbers(parameters.get("zero", 0), "int32"),
            _numbers(parameters.get("scale_out", 0.5), "float32"),
            _numbers(parameters.get("zero_out", 0), "int32"),
            axis=value.channel,
            rounding=parameters.get("rounding", "UPWARD"),
            out_dtype=parameters.get("dtype", "int8"),
        )
    )


def _build_table(maker: Maker, value: Value, parameters: dict) -> Value:
    """An activation on quantised values, which TVM makes a table of 256 values."""
    function = getattr(relay.qnn.op, parameters.get("name", "sigmoid"))
    zero = _numbers(parameters.get("zero", 0), "int32")
    scale = _numbers(parameters.get("scale", 0.1), "float32")
    return value.to(function(value.expr, scale, zero, _numbers(1 / 128, "float32"), zero))


def _build_fixed_point(maker: Maker, value: Value, parameters: dict) -> Value:
    multiplier, shift = parameters.get("multiplier", 1 << 30), parameters.get("shift", 0)
    return value.to(relay.fixed_point_multiply(value.expr, multiplier, shift))


def _build_fixed_point_per_axis(maker: Maker, value: Value, parameters: dict) -> Value:
    axis = parameters.get("axis", value.channel) % len(value.axes)
    count, is_left = value.shape[axis], parameters.get("left", False)
    multipliers = repeat(parameters.get("multiplier", 1 << 30), count)
    shifts = repeat(parameters.get("shift", 0), count)
    left = [max(shift, 0) * is_left for shift in shifts]
    right = [max(-shift, 0) for shift in shifts]
    operands = (_numbers(each, "int32") for each in (multipliers, left, right))
    multiply = relay.op._make.fixed_point_multiply_per_axis
    return value.to(multiply(value.expr, *operands, is_left, True, [axis]))


def _build_relay_quantize(maker: Maker, value: Value, parameters: dict) -> Value:
    """What ``relay.quantize`` writes behind a convolution."""
    wide = relay.cast(value.expr, "int64")
    product = _build_fixed_point(maker, value.to(wide), parameters).expr
    return value.to(relay.cast(relay.clip(product, -127, 127), "int8"))


def _build_signed_rounding(maker: Maker, value: Value, parameters: dict) -> Value:
    """A right shift that rounds to nearest, halves away from 0."""
    shift = parameters.get("shift", 1) % 7 + 1
    half, dtype = 1 << (shift - 1), value.dtype
    upper, lower = (_numbers(number, dtype) for number in (half, half - 1))
    choice = relay.where(relay.greater_equal(value.expr, _numbers(0, dtype)), upper, lower)
    rounded = relay.add(value.expr, choice)
    return value.to(relay.right_shift(rounded, _numbers(shift, dtype)))


def _draw_scales(random: Random):
    if random.random() < 0.4:
        return [random.choice(_SCALES) for _ in range(4)]
    return random.choice(_SCALES)


def _draw_quantize(random: Random, dtype: str) -> dict:
    target = random.choice(_NARROW)
    zero = random.randint(0, 9) if target == "uint8" else random.randint(-9, 9)
    return {"scale": _draw_scales(random), "zero": zero, "dtype": target}


def _draw_dequantize(random: Random, dtype: str) -> dict:
    return {"scale": _draw_scales(random), "zero": random.randint(0, 9)}


def _draw_requantize(random: Random, dtype: str) -> dict:
    target, zero = random.choice((*_NARROW, "int32")), random.randint(0, 9)
    rounding = random.choice(("UPWARD", "TONEAREST"))
    scales = {"scale": _draw_scales(random), "scale_out": random.choice(_SCALES)}
    return {**scales, "zero_out": zero, "rounding": rounding, "dtype": target}


def _draw_table(random: Random, dtype: str) -> dict:
    names = ("sigmoid", "tanh", "exp", "erf", "sqrt", "rsqrt", "hardswish")
    return {"name": random.choice(names), "scale": random.choice(_SCALES)}


def _draw_multiplier(random: Random) -> int:
    return random.choice((1 << 30, random.randint(1 << 30, (1 << 31) - 1), 1412330000))


def _draw_fixed_point(random: Random, dtype: str) -> dict:
    sign = -1 if random.random() < 0.1 else 1
    return {"multiplier": sign * _draw_multiplier(random), "shift": random.randint(-6, 2)}


def _draw_fixed_point_per_axis(random: Random, dtype: str) -> dict:
    signs = random.choices((1, -1), (9, 1), k=4)
    return {
        "multiplier": [sign * _draw_multiplier(random) for sign in signs],
        "shift": [random.randint(-6, 2) for _ in range(4)],
        "left": random.random() < 0.5,
        **({"axis": random.randint(0, 4)} if random.random() < 0.1 else {}),
    }


def _is(*dtypes: str):
    return lambda dtype: dtype in dtypes


def _target(plain: str):
    return lambda parameters, dtype: parameters.get("dtype", plain)


QUANTISED: dict[str, Kind] = {
    "qnn.quantize": Kind(_build_quantize, _draw_quantize, _is("float32"), _target("int8"), 8),
    "qnn.dequantize": Kind(
        _build_dequantize, _draw_dequantize, _is("int8", "uint8", "int32"), _target("float32"), 4
    ),
    "qnn.requantize": Kind(
        _build_requantize, _draw_requantize, _is("int8", "uint8", "int32"), _target("int8"), 6
    ),
    "qnn.table": Kind(_build_table, _draw_table, _is(*_NARROW), weight=2),
    "fixed_point_multiply": Kind(_build_fixed_point, _draw_fixed_point, _is("int32"), weight=4),
    "fixed_point_multiply_per_axis": Kind(
        _build_fixed_point_per_axis, _draw_fixed_point_per_axis, _is("int32"), weight=4
    ),
    "relay_quantize": Kind(
        _build_relay_quantize, _draw_fixed_point, _is("int32"), _target("int8"), 4
    ),
    "signed_rounding": Kind(
        _build_signed_rounding,
        lambda random, dtype: {"shift": random.randint(0, 6)},
        lambda dtype: is_integer(dtype) and dtype.startswith("int"),
    ),
}
