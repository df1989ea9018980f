"""Directions of two maps of the same x that a sum, a maximum or a minimum joins.

Identity
    {x : max(f, g)(x) <= t} is the intersection of {f <= t} and {g <= t}.  A map that rises, falls,
    stays or is a valley is one whose sublevel sets {f <= t} are intervals, so the largest of such
    maps is a valley, whatever their turning points.  Of two maps that move the same way it moves
    that way, and so do the smallest and the sum.  A constant beside a map changes nothing of that:
    max(., c), min(., c) and c + . rise.

=============  ===============  =================  ================  ==================
operator       same way         with a constant    rising, falling   with a valley
=============  ===============  =================  ================  ==================
maximum        that way         the other's        valley            valley
minimum        that way         the other's        other (a hill)    other
sum            that way         the other's        other             other
=============  ===============  =================  ================  ==================

    A difference is the sum with the right map turned around: falling for rising, a hill for a
    valley.  Products and quotients are OTHER.

Two sides of 0
    The same holds for the maps from 0 downwards and from 0 upwards, where they may be simpler:
    f rises and f(-inf) = f(0) makes f constant up to 0.  A map that falls up to 0 and rises from
    there is a valley, and so on; so relu(x) + a relu(-x) is a valley for a >= 0 and rises for
    a <= 0, which is PReLU written out.

Why it holds as computed
    Only the order of values is used, and max and min compute nothing.  A sum is rounded, or
    contracted with the products in it; either way it is a monotone function of both summands.

Of maps that stray from their direction by some ulp
    max and min give one of their operands: with f at most p places below its running maximum and
    g at most q, max(f, g) and min(f, g) are at most max(p, q) places below theirs, and so for what
    a valley strays.  Of a sum nothing is known then: it may cancel.
"""

from __future__ import annotations

import numpy as np

from .enclosure import enclose
from .intervals import apply, everything
from .monotone import ANY_RANK, Direction, MonotoneMap, collapse, pair_channels

RISING, FALLING = Direction.RISING, Direction.FALLING
CONSTANT, VALLEY, OTHER = Direction.CONSTANT, Direction.VALLEY, Direction.OTHER

JOINS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
_SELECTS = frozenset(["maximum", "minimum"])
_ORDERED = frozenset(["add", "subtract", *_SELECTS])
_TURNED = {RISING: FALLING, FALLING: RISING, CONSTANT: CONSTANT}


def join_directions(name: str, left: Direction, right: Direction) -> Direction:
    """Direction of an operator of two maps of the same x; the table in this module's docstring."""
    if left is right is CONSTANT:
        return CONSTANT
    if name not in _ORDERED:
        return OTHER
    if name == "subtract":
        right = _TURNED.get(right, OTHER)
    if CONSTANT in (left, right):
        return right if left is CONSTANT else left
    if OTHER in (left, right):
        return OTHER
    if left is right and left is not VALLEY:
        return left
    return VALLEY if name == "maximum" else OTHER


def glue_directions(below: Direction, above: Direction) -> Direction:
    """Direction of a map that moves one way up to some point and another way from there on."""
    if CONSTANT in (below, above) or below is above is not VALLEY:
        return above if below is CONSTANT else below
    rises = above is RISING and below in (FALLING, VALLEY)
    falls = below is FALLING and above in (RISING, VALLEY)
    return VALLEY if rises or falls else OTHER


def join_maps(
    name: str,
    left: MonotoneMap,
    right: MonotoneMap,
    dtype: str,
    plane_shape: tuple[int, ...] = ANY_RANK,
) -> MonotoneMap:
    """The map of a two-argument operator whose operands both vary with x.

    Parameters
    ----------
    name : str
        The operator.
    left, right : MonotoneMap
        Its operands as maps of x.
    dtype : str
        Dtype of x.
    plane_shape : tuple of int
        The tensor's shape with 1 along the window; one element for each entry of the maps'
        directions, where these differ by channel.
    """
    sides = zip(_by_side(left, dtype, plane_shape), _by_side(right, dtype, plane_shape))
    below, above = (_join_channels(name, *side) for side in sides)
    glued = tuple(glue_directions(*pair) for pair in pair_channels(below, above))
    whole = _join_channels(name, left.directions, right.directions)
    pairs = pair_channels(whole, glued)
    directions = tuple(by_side if plain is OTHER else plain for plain, by_side in pairs)
    function, evaluate = JOINS.get(name), None
    if function and left.evaluate and right.evaluate:
        evaluate = lambda x: function(left.evaluate(x), right.evaluate(x))  # noqa: E731
    return MonotoneMap(name, collapse(directions), _join_ulp(name, left, right), evaluate)


def _join_channels(name: str, left, right) -> tuple[Direction, ...]:
    return tuple(join_directions(name, *pair) for pair in pair_channels(left, right))


def _join_ulp(name: str, left: MonotoneMap, right: MonotoneMap) -> int | None:
    known = (left.worst_ulp, right.worst_ulp)
    if None in known:
        return None
    return max(known) if name in _SELECTS or not any(known) else None


def _by_side(step: MonotoneMap, dtype: str, plane_shape):
    """Directions of a map up to 0 and from 0 on."""
    if step.worst_ulp != 0 or not {RISING, FALLING} & set(step.directions):
        return step.directions, step.directions
    least, greatest = everything(dtype)
    found = [_evaluate(step, number, dtype, plane_shape) for number in (least, 0, greatest)]
    if any(x is None for x in found):
        return step.directions, step.directions
    low, middle, high = found
    return _settle(step, low == middle), _settle(step, middle == high)


def _evaluate(step: MonotoneMap, number: float, dtype: str, plane_shape) -> np.ndarray | None:
    """The map's certain values at one number, for each channel; NaN where they are not certain."""
    try:
        value = apply(step, enclose(np.full(plane_shape, number, object), dtype))
    except TypeError:
        return None
    if value is None:
        return None
    value = value.stored()
    return np.where(value.is_certain, np.asarray(value.low, np.float64), np.nan).ravel()


def _settle(step: MonotoneMap, stays: np.ndarray) -> tuple[Direction, ...]:
    """The directions, constant where the map stays the same and goes one way."""
    count = max(stays.size, len(step.directions))
    if not stays.any() or stays.size not in (1, count) or len(step.directions) not in (1, count):
        return step.directions
    directions = step.directions * (count // len(step.directions))
    pairs = zip(np.resize(stays, count), directions)
    return tuple(CONSTANT if same and d in _TURNED else d for same, d in pairs)
