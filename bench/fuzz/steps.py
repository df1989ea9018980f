"""The steps of a random graph: what a recipe says of each, and what it builds.

A step is JSON: a name, then its numbers.  Constants stand on the channel axis.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
from tvm import relay

CHANNELS = 4
FLOATS = ("float16", "float32", "float64")
_NUMBERS = (0.0, 0.5, 1.0, 2.0, -1.0, -0.5, 0.1, 3.7, 1e-3, 1e3)
_WILD = (-0.0, 1e-40, -1e-40, 3e38, -3e38, 1e-6, 65504.0)


def constant(values, dtype: str, axis: int | None = None, rank: int = 0) -> relay.Constant:
    """A scalar, or one value per channel on `axis` of a tensor of `rank`."""
    with np.errstate(over="ignore"):
        array = np.asarray(values, np.float64)
        if np.dtype(dtype).kind == "f":
            array = np.clip(array, np.finfo(dtype).min, np.finfo(dtype).max)
        array = array.astype(dtype)
    if array.ndim:
        shape = [1] * rank
        shape[axis] = array.size
        array = array.reshape(shape)
    return relay.const(array, dtype)


# name -> how often it is drawn.  Those that are exchanged come more often.
_FLOAT_WEIGHTS = {
    **dict.fromkeys(("relu", "leaky", "prelu", "sigmoid", "tanh", "exp", "bias", "clip"), 6),
    **dict.fromkeys(("scale", "divide", "maximum", "minimum", "elu", "softplus", "cast"), 4),
    **dict.fromkeys(("hard_sigmoid", "selu", "erf", "negative", "subtract_from", "softsign"), 2),
    **dict.fromkeys(("ceil", "floor", "round", "trunc", "sign", "log_relu", "wide"), 2),
    **dict.fromkeys(("silu", "gelu", "gelu_tanh", "mish", "hard_swish", "abs", "square"), 3),
    **dict.fromkeys(("sin", "rsqrt", "sqrt", "identity", "power"), 1),
}
_INTEGER_WEIGHTS = {
    **dict.fromkeys(("relu", "clip", "bias", "maximum", "minimum"), 4),
    **dict.fromkeys(("scale", "negative", "abs", "square", "subtract_from", "wide", "to_float"), 2),
}


# How often a step reads its data: TVM writes the steps of a kernel into one expression, which
# doubles with each step that reads twice (and FastMath's exp, tanh and erf read more than once).
_COPIES = {
    **dict.fromkeys(("silu", "gelu", "hard_swish", "softsign", "square", "elu", "selu"), 2),
    **dict.fromkeys(("exp", "tanh", "erf", "sigmoid", "leaky", "prelu", "sign", "softplus"), 2),
    **{"mish": 4, "gelu_tanh": 8},
}
_MOST_COPIES = 8


def draw_step(random: Random, dtype: str) -> list:
    """A step for values of `dtype`."""
    table = _FLOAT_WEIGHTS if dtype in FLOATS else _INTEGER_WEIGHTS
    (name,) = random.choices(list(table), list(table.values()))
    draw = _DRAWN.get(name)
    return [name] if draw is None else [name, *draw(random, dtype)]


def draw_steps(random: Random, dtype: str, most: int, may_cast: bool = True) -> list[list]:
    """Some steps in a row, at most `most`, that still compile in a moment."""
    steps, size = [], 1
    for _ in range(random.randint(1, most)):
        step = draw_step(random, dtype)
        size *= _COPIES.get(step[0], 1)
        if size > _MOST_COPIES or (dtype_after(step, dtype) != dtype and not may_cast):
            break
        steps.append(step)
        dtype = dtype_after(step, dtype)
    return steps or [["relu"]]


def dtype_after(step: list, dtype: str) -> str:
    """The dtype that a step leaves."""
    return step[1] if step[0] in ("cast", "to_float") else dtype


def apply_step(step: list, x: relay.Expr, dtype: str, axis: int, rank: int) -> relay.Expr:
    """The step on `x`, whose channels are on `axis`."""
    name, *numbers = step
    if name in _UNARY:
        return _UNARY[name](x)
    if name in ("cast", "to_float"):
        return x.astype(numbers[0])
    if name == "clip":
        return relay.clip(x, *sorted(numbers))
    if name == "leaky":
        return relay.nn.leaky_relu(x, numbers[0])
    if name == "prelu":
        values = numbers[0] * CHANNELS if len(numbers[0]) == 1 else numbers[0]
        return relay.nn.prelu(x, constant(values, dtype, 0, 1), axis)
    if name in _WITH_CONSTANT:
        return _WITH_CONSTANT[name](x, constant(numbers[0], dtype, axis, rank))
    one = lambda value: constant(value, dtype)
    return _COMPOSITES[name](x, one)


def _draw_number(random: Random, dtype: str) -> float:
    if dtype not in FLOATS:
        return float(random.randint(-9, 9))
    return random.choice(_WILD) if random.random() < 0.06 else random.choice(_NUMBERS)


def _draw_constant(random: Random, dtype: str) -> list:
    """One number, or one per channel."""
    if random.random() < 0.4:
        return [_draw_number(random, dtype)]
    return [[_draw_number(random, dtype) for _ in range(CHANNELS)]]


def _draw_scale(random: Random, dtype: str) -> list:
    """Mostly of one sign; also of both, and 0."""
    (values,) = _draw_constant(random, dtype)
    if random.random() < 0.3:
        return [values]
    return [abs(values) if not isinstance(values, list) else [abs(value) for value in values]]


def _draw_bound(random: Random, dtype: str) -> float:
    """TVM does not compile a bound that the dtype cannot hold."""
    number = _draw_number(random, dtype)
    if dtype == "uint8":
        return abs(number)
    return max(-65504.0, min(number, 65504.0)) if dtype == "float16" else number


def _draw_divisor(random: Random, dtype: str) -> list:
    (values,) = _draw_scale(random, dtype)
    return [[v or 1.0 for v in values] if isinstance(values, list) else values or 1.0]


def _draw_slopes(random: Random, dtype: str) -> list:
    (values,) = _draw_scale(random, dtype)
    return [values if isinstance(values, list) else [values]]


_DRAWN: dict[str, Callable] = {
    "bias": _draw_constant,
    "subtract_from": _draw_constant,
    "maximum": _draw_constant,
    "minimum": _draw_constant,
    "scale": _draw_scale,
    "divide": _draw_divisor,
    "prelu": _draw_slopes,
    "clip": lambda random, dtype: [_draw_bound(random, dtype) for _ in range(2)],
    "leaky": lambda random, dtype: [random.choice((0.0, 0.01, 0.1, 0.5, 1.0, 2.0, -0.1, -1.0))],
    "cast": lambda random, dtype: [random.choice(FLOATS)],
    "to_float": lambda random, dtype: [random.choice(("float32", "float16"))],
}

_UNARY: dict[str, Callable] = {
    "relu": relay.nn.relu,
    "identity": relay.copy,
    "log_relu": lambda x: relay.log(relay.nn.relu(x)),
    "square": lambda x: x * x,
    "silu": lambda x: x * relay.sigmoid(x),
    **{
        name: getattr(relay, name)
        for name in (
            *("sigmoid", "tanh", "exp", "erf", "ceil", "floor", "round", "trunc", "sign"),
            *("negative", "abs", "sin", "rsqrt", "sqrt"),
        )
    },
}

_WITH_CONSTANT: dict[str, Callable] = {
    "bias": lambda x, c: x + c,
    "subtract_from": lambda x, c: c - x,
    "scale": lambda x, c: x * c,
    "divide": lambda x, c: x / c,
    "maximum": relay.maximum,
    "minimum": lambda x, c: relay.minimum(c, x),
}


def _tanh_gelu(x, one):
    cube = x * x * x * one(0.044715)
    return one(0.5) * x * (one(1.0) + relay.tanh((x + cube) * one(0.7978846)))


def _elu(x, one, alpha=1.3, scale=None):
    bent = one(-alpha) * relay.nn.relu(one(1.0) - relay.exp(x)) + relay.nn.relu(x)
    return bent if scale is None else bent * one(scale)


_COMPOSITES: dict[str, Callable] = {
    "elu": _elu,
    "selu": lambda x, one: _elu(x, one, 1.6733, 1.0507),
    "softplus": lambda x, one: relay.log(one(1.0) + relay.exp(x)),
    "softsign": lambda x, one: x / (one(1.0) + relay.abs(x)),
    "hard_sigmoid": lambda x, one: relay.clip(x * one(0.2) + one(0.5), 0.0, 1.0),
    "gelu": lambda x, one: one(0.5) * x * (one(1.0) + relay.erf(x / one(1.4142135))),
    "gelu_tanh": _tanh_gelu,
    "mish": lambda x, one: x * relay.tanh(relay.log(one(1.0) + relay.exp(x))),
    "hard_swish": lambda x, one: x * relay.clip(x + one(3.0), 0.0, 6.0) / one(6.0),
    "power": lambda x, one: relay.power(x, one(2.0)),
    "wide": lambda x, one: x + one(0.25),  # the graph makes the constant as large as x
}

STEP_NAMES = frozenset({*_FLOAT_WEIGHTS, *_INTEGER_WEIGHTS})
