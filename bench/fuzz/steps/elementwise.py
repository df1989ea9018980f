"""Steps that treat every value of a tensor alike, or by its channel.

Their names are those of the pass's own tables: what a reader of the pass accepts is drawn here.
"""

from __future__ import annotations

from functools import partial
from random import Random

import numpy as np
from tvm import relay

from tvm_reorder.relay.activations import ACTIVATIONS
from tvm_reorder.relay.two_arguments import TWO_ARGUMENTS

from ..value import DTYPES, Value, is_float, is_integer, is_number, is_signed
from .constants import (
    as_constant,
    draw_constant,
    draw_number,
    draw_scale,
    draw_slopes,
    make_array,
    make_constant,
    make_scalar,
    repeat,
)
from .kind import Kind, Maker, elementwise

# TVM's compiler dies of a float16 that goes to the C library.
_NO_HALF = frozenset(["asin", "acos", "atan", "asinh", "acosh", "atanh"])
_ALSO_WHOLE = frozenset(["nn.relu", "copy", "annotation.stop_fusion"])
_ALSO_SIGNED = frozenset(["sign", "negative", "abs"])
# How often; those that stand in networks come more often.
_WEIGHTS = {
    **dict.fromkeys(("nn.relu", "sigmoid", "tanh", "exp"), 8),
    **dict.fromkeys(("erf", "log", "sqrt", "negative", "abs", "floor", "ceil", "round", "sign"), 3),
}
_TWICE = frozenset(["exp", "tanh", "erf", "sigmoid", "sign", "cosh", "sinh", "tan"])
_FAST = frozenset(["fast_exp", "fast_tanh", "fast_erf"])


def call(name: str, *arguments: relay.Expr) -> relay.Call:
    """A call of an operator without attributes."""
    return relay.Call(relay.op.get(name), list(arguments))


def _takes(name: str, dtype: str) -> bool:
    if is_float(dtype):
        return not (dtype == "float16" and name in _NO_HALF) and name != "bitwise_not"
    if is_integer(dtype):
        return name in _ALSO_WHOLE or name == "bitwise_not" or _takes_signed(name, dtype)
    return name == "copy"


def _takes_signed(name: str, dtype: str) -> bool:
    return name in _ALSO_SIGNED and is_signed(dtype)


ONE_ARGUMENT: dict[str, Kind] = {
    name: Kind(
        elementwise(partial(call, name)),
        takes=partial(_takes, name),
        weight=_WEIGHTS.get(name, 1),
        copies=2 if name in _TWICE | _FAST else 1,
    )
    for name in ACTIVATIONS
}


# --- with parameters -----------------------------------------------------------------------------


def _build_clip(maker: Maker, value: Value, parameters: dict) -> Value:
    """Bounds that the dtype cannot hold are none that TVM compiles."""
    bounds = make_array(parameters.get("bounds", [0, 6]), value.dtype)
    low, high = sorted(float(bound) for bound in bounds)
    return value.to(relay.clip(value.expr, low, high))


def _draw_bounds(random: Random, dtype: str) -> dict:
    return {"bounds": [draw_number(random, dtype) for _ in range(2)]}


def _draw_alpha(random: Random, dtype: str) -> dict:
    return {"alpha": random.choice((0.0, 0.01, 0.1, 1 / 3, 0.5, 1.0, 2.0, -0.1, -1.0))}


def _build_prelu(maker: Maker, value: Value, parameters: dict) -> Value:
    axis = parameters.get("axis", value.channel) % len(value.axes)
    slopes = make_array(repeat(parameters.get("slopes", 0.1), value.shape[axis]), value.dtype)
    return value.to(relay.nn.prelu(value.expr, as_constant(slopes, value.dtype), axis))


def _draw_prelu(random: Random, dtype: str) -> dict:
    elsewhere = {"axis": random.randint(0, 4)} if random.random() < 0.1 else {}
    return {"slopes": draw_slopes(random, dtype), **elsewhere}


def _build_flat_prelu(maker: Maker, value: Value, parameters: dict) -> Value:
    """As the ONNX importer writes it: one axis, a slope for each value, and back.

    Between two reshapes of the model's own the slopes are those of another shape.
    """
    given = {"values": parameters.get("slopes", 0.1), "shape": parameters.get("shape", "short")}
    seen = value
    if parameters.get("reshaped"):
        seen = value.to(relay.reshape(value.expr, (*value.shape[1::-1], *value.shape[2:])))
    slopes = make_constant(maker, seen, given)
    each = relay.reshape(relay.broadcast_to_like(slopes, seen.expr), [-1])
    flat = relay.nn.prelu(relay.reshape(seen.expr, [-1]), each, axis=0)
    return value.to(relay.reshape(relay.reshape(flat, seen.shape), value.shape))


def _draw_flat_prelu(random: Random, dtype: str) -> dict:
    shape = random.choice(("short", "short", "channel", "one", "plane", "full", "varying"))
    reshaped = {"reshaped": True} if random.random() < 0.2 else {}
    return {"slopes": draw_slopes(random, dtype), "shape": shape, **reshaped}


def cast(expr: relay.Expr, source: str, target: str) -> relay.Expr:
    """A cast; TVM 0.19 casts float64 to float16 wrongly, so that one goes by way of float32."""
    if (source, target) == ("float64", "float16"):
        expr = relay.cast(expr, "float32")
    return relay.cast(expr, target)


def _build_cast(maker: Maker, value: Value, parameters: dict) -> Value:
    target = parameters.get("dtype", "float32")
    if parameters.get("like") and (value.dtype, target) != ("float64", "float16"):
        return value.to(relay.cast_like(value.expr, make_scalar(1, target)))
    return value.to(cast(value.expr, value.dtype, target))


def _draw_cast(random: Random, dtype: str) -> dict:
    choices = [each for each in DTYPES if each != dtype]
    common = [each for each in ("float16", "float32", "float64", "int8", "int32") if each != dtype]
    like = {"like": True} if random.random() < 0.15 else {}
    return {"dtype": random.choice(choices + 2 * common), **like}


def cast_target(parameters: dict, dtype: str) -> str:
    """The dtype behind a cast."""
    return parameters.get("dtype", "float32")


def _build_bias_add(maker: Maker, value: Value, parameters: dict) -> Value:
    axis = parameters.get("axis", value.channel) % len(value.axes)
    numbers = repeat(parameters.get("values", 1), value.shape[axis])
    bias = as_constant(make_array(numbers, value.dtype), value.dtype)
    if parameters.get("as") == "input":
        bias = maker.add_input((value.shape[axis],), value.dtype)
    return value.to(relay.nn.bias_add(value.expr, bias, axis))


def _draw_bias_add(random: Random, dtype: str) -> dict:
    drawn = draw_constant(random, dtype)
    elsewhere = {"axis": random.randint(0, 4)} if random.random() < 0.1 else {}
    given = {"as": "input"} if drawn.get("as") == "input" else {}
    return {"values": drawn["values"], **given, **elsewhere}


PARAMETERISED: dict[str, Kind] = {
    "clip": Kind(_build_clip, _draw_bounds, is_number, weight=6),
    "nn.leaky_relu": Kind(
        elementwise(relay.nn.leaky_relu, alpha=0.1), _draw_alpha, weight=6, copies=2
    ),
    "nn.prelu": Kind(_build_prelu, _draw_prelu, weight=6, copies=2),
    "flat_prelu": Kind(_build_flat_prelu, _draw_flat_prelu, weight=3, copies=2),
    "cast": Kind(_build_cast, _draw_cast, lambda dtype: True, cast_target, weight=6),
    "nn.bias_add": Kind(_build_bias_add, _draw_bias_add, is_number, weight=4),
}


# --- with two arguments --------------------------------------------------------------------------

_SHIFTS = frozenset(["left_shift", "right_shift"])
# Operators whose constant may come first.  An integer divided by one that may be 0 ends a process,
# and a shift by a negative number is undefined.
_BOTH_SIDES = frozenset(["add", "subtract", "multiply", "divide", "maximum", "minimum", "power"])


def _without_zero(values: np.ndarray) -> np.ndarray:
    return np.where(values == 0, 1, values)


def _as_shift(values: np.ndarray) -> np.ndarray:
    return np.abs(values) % 7


def _legalise(name: str):
    return {"divide": _without_zero, **dict.fromkeys(_SHIFTS, _as_shift)}.get(name)


def _build_two(name: str, maker: Maker, value: Value, parameters: dict) -> Value:
    is_first = parameters.get("first", False) and (
        name in _BOTH_SIDES and (name != "divide" or is_float(value.dtype))
    )
    legal = None if is_first else _legalise(name)
    constant = make_constant(maker, value, parameters.get("constant", 1), legal)
    pair = (constant, value.expr) if is_first else (value.expr, constant)
    return value.to(call(name, *pair))


def _draw_two(name: str, random: Random, dtype: str) -> dict:
    draw = draw_scale if name in ("multiply", "divide", "power") else draw_constant
    constant = draw(random, dtype)
    if name in (*_SHIFTS, "divide") and is_integer(dtype):
        constant.pop("as", None)  # an input may be 0, or no shift
    share = 0.5 if name == "subtract" else 0.15
    return {"constant": constant, **({"first": True} if random.random() < share else {})}


def _takes_two(name: str, dtype: str) -> bool:
    if name in _SHIFTS:
        return is_integer(dtype)
    if name == "power":
        return is_float(dtype) and dtype != "bfloat16"
    return is_number(dtype)


_TWO_WEIGHTS = {"add": 10, "multiply": 10, "divide": 6, "subtract": 5, "maximum": 4, "minimum": 4}

TWO: dict[str, Kind] = {
    name: Kind(
        partial(_build_two, name),
        partial(_draw_two, name),
        partial(_takes_two, name),
        weight=_TWO_WEIGHTS.get(name, 2),
        copies=2 if name == "power" else 1,
    )
    for name in sorted(TWO_ARGUMENTS)
}
