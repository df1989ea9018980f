"""What stands behind a pool: operators that tell the two zeros apart, or forget which it was."""

from __future__ import annotations

from functools import partial
from random import Random

import numpy as np
from tvm import relay

from ..value import Value
from .constants import make_constant
from .kind import Kind, Maker, elementwise

_DIVISIONS = ("floor_divide", "trunc_divide")
_COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
_OVER_SEVERAL = ("sum", "mean", "min")
_REDUCTIONS = (*_OVER_SEVERAL, "argmax", "argmin")


def _build_division(name: str, maker: Maker, value: Value, parameters: dict) -> Value:
    """1 divided by the value, which has a sign at 0."""
    divide = getattr(relay, name)
    return value.to(divide(make_constant(maker, value, 1.0), value.expr))


def _build_comparison(name: str, maker: Maker, value: Value, parameters: dict) -> Value:
    compare = getattr(relay, name)
    constant = make_constant(maker, value, parameters.get("constant", 0.0))
    return value.to(relay.cast(compare(value.expr, constant), value.dtype))


def _build_reduction(name: str, maker: Maker, value: Value, parameters: dict) -> Value:
    rank = max(1, len(value.axes))
    axis = parameters.get("axis", 0) % rank
    if parameters.get("further") and name in _OVER_SEVERAL:
        axis = list(range(axis, rank))
    reduce = getattr(relay, name)
    result = reduce(value.expr, axis=axis, keepdims=True)
    return value.to(relay.cast(result, value.dtype))


def _build_reinterpret(maker: Maker, value: Value, parameters: dict) -> Value:
    return value.to(relay.reinterpret(value.expr, "int32"))


def _build_softmax(function, maker: Maker, value: Value, parameters: dict) -> Value:
    return value.to(function(value.expr, axis=value.channel)) if value.axes else value


def _build_matmul(maker: Maker, value: Value, parameters: dict) -> Value:
    shape = (value.shape[0], int(np.prod(value.shape[1:])))
    random = np.random.default_rng(parameters.get("seed", 0))
    weights = random.integers(-3, 4, (shape[1], 4)).astype(value.dtype)
    flat = relay.reshape(value.expr, shape)
    return value.to(relay.nn.matmul(flat, relay.const(weights, value.dtype)), "NC")


def _build_one_hot(maker: Maker, value: Value, parameters: dict) -> Value:
    on, off = relay.const(1.0), relay.const(0.0)
    return value.to(relay.one_hot(value.expr, on, off, 4, -1, "float32"), value.axes + "?")


def _is_wide(dtype: str) -> bool:
    return dtype in ("float32", "float64")


def _is_single(dtype: str) -> bool:
    return dtype == "float32"


def _draw_constant(random: Random, dtype: str) -> dict:
    return {"constant": random.choice((0.0, 1.0, -1.0))}


def _draw_axis(random: Random, dtype: str) -> dict:
    return {"axis": random.randint(0, 4), "further": random.random() < 0.5}


CONSUMING: dict[str, Kind] = {
    **{name: Kind(partial(_build_division, name), takes=_is_wide) for name in _DIVISIONS},
    **{name: Kind(partial(_build_comparison, name), _draw_constant) for name in _COMPARISONS},
    **{
        name: Kind(partial(_build_reduction, name), _draw_axis, _is_wide, weight=3)
        for name in _REDUCTIONS
    },
    "nn.softmax": Kind(partial(_build_softmax, relay.nn.softmax), takes=_is_wide, weight=3),
    "nn.fast_softmax": Kind(
        partial(_build_softmax, relay.nn.fast_softmax), takes=_is_single, weight=3
    ),
    "nn.matmul": Kind(_build_matmul, lambda r, d: {"seed": r.randint(0, 99)}, _is_single),
    "one_hot": Kind(
        _build_one_hot,
        takes=lambda dtype: dtype == "int32",
        gives=lambda parameters, dtype: "float32",
    ),
    "nn.log_softmax": Kind(partial(_build_softmax, relay.nn.log_softmax), takes=_is_wide),
    "reinterpret": Kind(
        _build_reinterpret,
        takes=_is_single,
        gives=lambda parameters, dtype: "int32",
        weight=3,
    ),
    "reciprocal": Kind(
        elementwise(lambda x: relay.divide(relay.const(1.0), x)),
        takes=_is_single,
        weight=6,
    ),
}
