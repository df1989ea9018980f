"""Operators with two arguments, read as maps of the one that varies along the window.

Identity
    x + b rises, x * s rises, stays or falls with the sign of s, maximum and minimum rise.

Side conditions
    * An unknown addend is fine, an unknown factor is not: its sign decides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relay

from ..core.library import power
from ..core.monotone import Direction, MonotoneMap, directions_from_signs, guess_direction
from ..core.refusal import Reason, Refusal, unknown_sign, varies
from .facts import is_constant
from .operands import read_operand, spread
from .quantised import describe_left_shift, describe_right_shift
from .scene import Reading, Scene, is_full_size
from .sites import op_name

_RISING = (Direction.RISING,)


def shift(name: str, values: np.ndarray | None) -> MonotoneMap:
    """x + b, with a b that may be unknown."""
    return MonotoneMap(name, _RISING, 0, None if values is None else lambda x: x + values)


def read_two_arguments(call: relay.Call, scene: Scene) -> Reading | Refusal:
    """Read a call of one of `TWO_ARGUMENTS` as a map of the argument that varies."""
    name = op_name(call)
    full = [position for position in (0, 1) if is_full_size(call.args[position], scene.pool)]
    constants = [p for p in full if is_constant(call.args[p])]
    if len(full) == 2 and len(constants) == 1:
        full.remove(constants[0])
    if not full:  # nothing varies along the window; the constant is the operand then
        full = [1 if is_constant(call.args[0]) else 0]
    if len(full) != 1:
        return varies(f"the other operand of {name} ({op_name(call.args[1])})")
    data = full[0]
    operand = read_operand(call.args[1 - data], scene, name)
    if isinstance(operand, Refusal):
        return operand
    described = _TWO_ARGUMENTS[name](name, operand.values, data, scene.pool)
    if isinstance(described, Refusal):
        return described
    smaller = {} if operand.replacement is None else {1 - data: operand.replacement}
    return Reading(described, data, smaller)


def _describe_add(name, values, data, pool):
    return shift(name, values)


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
        planes = spread(values, pool)
        directions = (Direction.OTHER,) if planes is None else directions_from_signs(planes)
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
    evaluate = lambda x: power(x, values)  # noqa: E731
    return MonotoneMap(
        name, (guess_direction(evaluate),), None, evaluate, Reason.NOT_MONOTONE, detail
    )


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
