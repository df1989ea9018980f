"""Operators as maps of the operand that varies along the window.

Those of one argument are in ``activations.py``, those of two in ``two_arguments.py``; here are
those with parameters, and which reading counts for which operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tvm import relay

from ..core.intervals import is_integer
from ..core.monotone import Direction, MonotoneMap, collapse
from ..core.refusal import Reason, Refusal, non_finite, unknown_sign, varies
from .activations import ACTIVATIONS
from .facts import PoolFacts, read_constant, read_dtype
from .operands import finite_or, spread
from .quantised import describe_fixed_point_multiply, truncate
from .scene import Reading, Scene
from .sites import op_name
from .two_arguments import TWO_ARGUMENTS, read_two_arguments, shift

_RISING = (Direction.RISING,)
_COMMUTE_WITH_ROUNDING = frozenset(["nn.relu"])


def read_operator(call: relay.Call, scene: Scene) -> Reading | Refusal:
    """Read a call as a map of its data operand.

    Returns
    -------
    Reading or Refusal
        The map, or why the operator is not one along the window.
    """
    reading = _read_by_table(call, scene)
    if isinstance(reading, Refusal) or op_name(call) in _COMMUTE_WITH_ROUNDING:
        return reading
    if "bfloat16" in (read_dtype(call), read_dtype(call.args[reading.data])):
        # TVM computes bfloat16 kernels in float32 and rounds where they end (BF16ComputeLegalize),
        # so a step's value depends on the kernel it stands in.
        return replace(reading, map=replace(reading.map, worst_ulp=None))
    return reading


def _read_by_table(call: relay.Call, scene: Scene) -> Reading | Refusal:
    name = op_name(call)
    if name in ACTIVATIONS:
        dtype = read_dtype(call.args[0])
        return Reading(ACTIVATIONS[name].as_map(name, dtype, scene.certified))
    if name in _PARAMETERISED:
        return _PARAMETERISED[name](call, scene)
    if name in TWO_ARGUMENTS:
        return read_two_arguments(call, scene)
    return Refusal(
        Reason.UNKNOWN_OPERATOR, f"{name} on the way to the pool", "unknown", "a known activation"
    )


def _read_clip(call, scene):
    low, high = float(call.attrs.a_min), float(call.attrs.a_max)
    if np.isnan(low) or np.isnan(high):
        return non_finite("a bound of clip")
    if is_integer(read_dtype(call)):
        low, high = int(max(low, -(2**63))), int(min(high, 2**63 - 1))
    return Reading(MonotoneMap("clip", _RISING, 0, lambda x: np.maximum(np.minimum(x, high), low)))


def _read_leaky_relu(call, scene):
    alpha = float(call.attrs.alpha)
    return Reading(make_leaky("nn.leaky_relu", np.asarray(alpha), scene.pool))


def _read_prelu(call, scene):
    axis = int(call.attrs.axis) % len(scene.pool.shape)
    if axis in scene.pool.window_axes:
        return varies(f"the slope of {op_name(call)}")
    values = read_constant(call.args[1])
    if values is None:
        return unknown_sign("the slope of nn.prelu")
    if not np.isfinite(values.astype(np.float64)).all():
        return non_finite("the slope of nn.prelu")
    shape = [1] * len(scene.pool.shape)
    shape[axis] = -1
    return Reading(make_leaky("nn.prelu", values.reshape(shape), scene.pool))


def make_leaky(name: str, slopes: np.ndarray, pool: PoolFacts) -> MonotoneMap:
    """x where x > 0, else slope * x: rising for a slope of 0 or more, else a valley."""
    lowest = slopes.min(initial=np.inf)
    directions = _RISING
    if lowest < 0:
        planes = spread(slopes, pool)
        directions = (Direction.OTHER,) if planes is None else _valleys(planes)
    return MonotoneMap(
        name,
        directions,
        0,
        lambda x: np.where(x > 0, x, (x * slopes.astype(x.dtype))),
        Reason.NEGATIVE_SLOPE if lowest < 0 else None,
        f"{lowest:g}" if lowest < 0 else "",
    )


def _valleys(slopes: np.ndarray) -> tuple[Direction, ...]:
    return collapse(tuple(Direction.VALLEY if slope < 0 else Direction.RISING for slope in slopes))


def _read_cast(call, scene):
    source, target = read_dtype(call.args[0]), read_dtype(call)
    if "bool" in (source, target):
        return Refusal(
            Reason.UNKNOWN_OPERATOR,
            f"the cast from {source} to {target} on the way to the pool",
            "unknown",
            "a cast between numbers",
        )
    # For integers the interval check needs unbounded values; float casts are correctly rounded.
    convert = truncate if is_integer(target) else _float_cast(target)
    return Reading(MonotoneMap(f"cast to {target}", _RISING, 0, convert))


def _read_fixed_point(call, scene):
    described = describe_fixed_point_multiply(call, scene.pool, scene.target)
    return described if isinstance(described, Refusal) else Reading(described)


def _float_cast(target: str):
    try:
        dtype = np.dtype(target)
    except TypeError:
        return None
    return lambda x: x.astype(dtype)


def _read_bias_add(call, scene):
    axis = int(call.attrs.axis) % len(scene.pool.shape)
    if axis in scene.pool.window_axes:
        return varies("the bias of nn.bias_add")
    values = read_constant(call.args[1])
    if values is not None:
        shape = [1] * len(scene.pool.shape)
        shape[axis] = -1
        values = values.reshape(shape)
    return finite_or(values, "the bias of nn.bias_add") or Reading(shift("nn.bias_add", values))


_Reader = Callable[[relay.Call, Scene], "Reading | Refusal"]

_PARAMETERISED: dict[str, _Reader] = {
    "clip": _read_clip,
    "nn.leaky_relu": _read_leaky_relu,
    "nn.prelu": _read_prelu,
    "cast": _read_cast,
    "nn.bias_add": _read_bias_add,
    "fixed_point_multiply": _read_fixed_point,
    "fixed_point_multiply_per_axis": _read_fixed_point,
}
