"""Operators with parameters, read as maps of their data operand.

Identity
    An operand that is constant along the window (one value per batch item and channel) turns a
    two-argument operator into one map per channel: x + b rises, x * s rises, stays or falls with
    the sign of s, clip and max and min rise.

Side conditions
    * The operand does not vary inside the window; a full-size constant that happens not to is
      shrunk, because it has to broadcast over the pooled tensor.
    * A constant is finite.  An unknown addend is fine, an unknown factor is not: its sign decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from tvm import relay

from ..core.intervals import is_integer
from ..core.monotone import (
    Direction,
    MonotoneMap,
    collapse,
    directions_from_signs,
    guess_direction,
)
from ..core.refusal import Reason, Refusal, non_finite, unknown_sign, varies
from .activations import ACTIVATIONS
from .certified import NO_CERTIFICATES, CertificateSource
from .facts import PoolFacts, read_constant, read_dtype, read_shape
from .quantised import (
    describe_fixed_point_multiply,
    describe_left_shift,
    describe_right_shift,
    truncate,
)
from .sites import op_name

_RISING = (Direction.RISING,)
_COMMUTE_WITH_ROUNDING = frozenset(["nn.relu"])


@dataclass(frozen=True)
class Scene:
    """What reading an operator depends on besides the operator.

    Parameters
    ----------
    pool : PoolFacts
        The pool the chain leads to.
    target : str
        TVM target kind and architecture the module is compiled for.
    fast_math : bool
        True if FastMath will replace exp, tanh and erf.
    certified : CertificateSource
        Where certificates come from.
    """

    pool: PoolFacts
    target: str
    fast_math: bool
    certified: CertificateSource = NO_CERTIFICATES

    def over(self, value: relay.Expr) -> Scene:
        """The scene of a branch joined to what the pool reads: it has channels of its own."""
        return replace(self, pool=replace(self.pool, shape=read_shape(value.checked_type)))


@dataclass(frozen=True)
class Reading:
    """One call as a map of one of its operands.

    Parameters
    ----------
    map : MonotoneMap
        The map.
    data : int
        Which argument is the data.
    replace : dict
        Arguments to be exchanged for smaller ones after the pool, by position.
    """

    map: MonotoneMap
    data: int = 0
    replace: dict[int, relay.Expr] = field(default_factory=dict)


@dataclass(frozen=True)
class Operand:
    """The other argument of a two-argument operator.

    Parameters
    ----------
    values : numpy.ndarray or None
        Its value, broadcasting over the tensor, or None if unknown at compile time.
    replacement : relay.Expr or None
        A smaller constant to use after the pool, if this one has the full spatial size.
    """

    values: np.ndarray | None
    replacement: relay.Expr | None = None


def is_full_size(expr: relay.Expr, pool: PoolFacts) -> bool:
    """True if the expression has more than one element along some window axis."""
    shape = read_shape(expr.checked_type)
    offset = len(pool.shape) - len(shape)
    return any(axis >= offset and shape[axis - offset] != 1 for axis in pool.window_axes)


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
        return Reading(ACTIVATIONS[name].as_map(name, dtype, scene.certified, scene.fast_math))
    if name in _PARAMETERISED:
        return _PARAMETERISED[name](call, scene)
    if name in _TWO_ARGUMENTS:
        return _read_two_arguments(call, scene)
    return Refusal(
        Reason.UNKNOWN_OPERATOR, f"{name} on the way to the pool", "unknown", "a known activation"
    )


def _read_clip(call, scene):
    low, high = float(call.attrs.a_min), float(call.attrs.a_max)
    if np.isnan(low) or np.isnan(high):
        return non_finite("a bound of clip")
    if is_integer(read_dtype(call)):
        low, high = int(max(low, -(2**63))), int(min(high, 2**63 - 1))
    return Reading(MonotoneMap("clip", _RISING, 0, lambda x: np.clip(x, low, high)))


def _read_leaky_relu(call, scene):
    alpha = float(call.attrs.alpha)
    return Reading(make_leaky("nn.leaky_relu", np.asarray(alpha), scene.pool))


def _read_prelu(call, scene):
    axis = int(call.attrs.axis)
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
        spread = _spread(slopes, pool)
        directions = (Direction.OTHER,) if spread is None else _valleys(spread)
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
    # TVM 0.19 calls __truncdfhf2 for this one and takes its result from the wrong register: what it
    # gives is no rounding of its argument (found by fuzzing).
    worst = None if (source, target) == ("float64", "float16") else 0
    return Reading(MonotoneMap(f"cast to {target}", _RISING, worst, convert))


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
    return _finite_or(values, "the bias of nn.bias_add") or Reading(_shift("nn.bias_add", values))


def _shift(name: str, values: np.ndarray | None) -> MonotoneMap:
    return MonotoneMap(name, _RISING, 0, None if values is None else lambda x: x + values)


def _read_two_arguments(call: relay.Call, scene: Scene) -> Reading | Refusal:
    name = op_name(call)
    full = [position for position in (0, 1) if is_full_size(call.args[position], scene.pool)]
    constants = [p for p in full if isinstance(call.args[p], relay.Constant)]
    if len(full) == 2 and len(constants) == 1:
        full.remove(constants[0])
    if not full:  # nothing varies along the window; the constant is the operand then
        full = [1 if isinstance(call.args[0], relay.Constant) else 0]
    if len(full) != 1:
        return varies(f"the other operand of {name}")
    data = full[0]
    operand = _read_operand(call.args[1 - data], scene, name)
    if isinstance(operand, Refusal):
        return operand
    described = _TWO_ARGUMENTS[name](name, operand.values, data, scene.pool)
    if isinstance(described, Refusal):
        return described
    smaller = {} if operand.replacement is None else {1 - data: operand.replacement}
    return Reading(described, data, smaller)


def _read_operand(expr: relay.Expr, scene: Scene, name: str) -> Operand | Refusal:
    if len(read_shape(expr.checked_type)) > len(scene.pool.shape):
        return varies(f"the other operand of {name}")
    values = read_constant(expr)
    refusal = _finite_or(values, f"the other operand of {name}")
    if refusal:
        return refusal
    if not is_full_size(expr, scene.pool):
        return Operand(_unbounded(values))
    shrunk = None if values is None else shrink(values, scene.pool)
    if shrunk is None:
        return varies(f"the other operand of {name}")
    return Operand(_unbounded(shrunk), relay.const(shrunk, read_dtype(expr)))


def _unbounded(values: np.ndarray | None) -> np.ndarray | None:
    """Integers as Python integers, so that evaluating an interval's end cannot wrap."""
    if values is None or values.dtype.kind not in "iu":
        return values
    return values.astype(object)


def _spread(values: np.ndarray, pool: PoolFacts) -> np.ndarray | None:
    """One value per (batch, channel) pair, in the tensor's order.

    An open extent counts as 1; None if the values vary along it.
    """
    try:
        return np.broadcast_to(values, pool.plane_shape).ravel()
    except ValueError:
        return None


def shrink(values: np.ndarray, pool: PoolFacts) -> np.ndarray | None:
    """The array with one element along each window axis, None if it varies along one."""
    offset = len(pool.shape) - values.ndim
    for axis in pool.window_axes:
        if axis < offset:
            continue
        first = np.take(values, [0], axis=axis - offset)
        if not np.array_equal(values, np.broadcast_to(first, values.shape)):
            return None
        values = first
    return np.ascontiguousarray(values)


def _describe_add(name, values, data, pool):
    return _shift(name, values)


def _describe_subtract(name, values, data, pool):
    if data == 0:
        return MonotoneMap(name, _RISING, 0, None if values is None else lambda x: x - values)
    evaluate = None if values is None else lambda x: values - x
    return MonotoneMap(name, (Direction.FALLING,), 0, evaluate)


def _describe_multiply(name, values, data, pool):
    if values is None:
        return unknown_sign(f"the scale of {name}")
    return _scale(name, values, pool, lambda x: x * values)


def _describe_divide(name, values, data, pool):
    if data == 1:
        detail = "a quotient that jumps where its divisor passes 0"
        return MonotoneMap(name, (Direction.OTHER,), 0, None, Reason.NOT_MONOTONE, detail)
    if values is None:
        return unknown_sign(f"the divisor of {name}")
    if not np.all(values):
        return Refusal(Reason.NON_FINITE_CONSTANT, f"the divisor of {name}", "0", "non-zero")
    return _scale(name, values, pool, lambda x: x / values)


def _scale(name, values, pool, evaluate):
    lowest = values.min(initial=np.inf)
    directions = _RISING
    if lowest < 0:
        spread = _spread(values, pool)
        directions = (Direction.OTHER,) if spread is None else directions_from_signs(spread)
    why = Reason.NEGATIVE_SCALE if lowest < 0 else None
    return MonotoneMap(name, directions, 0, evaluate, why, f"{lowest:g}" if why else "")


def _describe_maximum(name, values, data, pool):
    return MonotoneMap(
        name, _RISING, 0, None if values is None else lambda x: np.maximum(x, values)
    )


def _describe_minimum(name, values, data, pool):
    return MonotoneMap(
        name, _RISING, 0, None if values is None else lambda x: np.minimum(x, values)
    )


def _describe_power(name, values, data, pool):
    detail = "a power whose direction depends on its operands"
    if data == 1 or values is None:
        return MonotoneMap(name, (Direction.OTHER,), None, None, Reason.NOT_MONOTONE, detail)
    evaluate = lambda x: np.power(x, values)  # noqa: E731
    return MonotoneMap(
        name, (guess_direction(evaluate),), None, evaluate, Reason.NOT_MONOTONE, detail
    )


def _finite_or(values: np.ndarray | None, subject: str) -> Refusal | None:
    if values is None or np.isfinite(values.astype(np.float64)).all():
        return None
    return non_finite(subject)


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

# name, operand values (or None), position of the data -> map
_TWO_ARGUMENTS: dict[str, Callable] = {
    "add": _describe_add,
    "subtract": _describe_subtract,
    "multiply": _describe_multiply,
    "divide": _describe_divide,
    "maximum": _describe_maximum,
    "minimum": _describe_minimum,
    "power": _describe_power,
    "left_shift": describe_left_shift,
    "right_shift": describe_right_shift,
}

TWO_ARGUMENTS = frozenset(_TWO_ARGUMENTS)
