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
    valley.  Products and quotients are OTHER; ``pieces.py`` says more of some.

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

from .monotone import Direction, MonotoneMap, collapse, pair_channels

RISING, FALLING = Direction.RISING, Direction.FALLING
CONSTANT, VALLEY, OTHER = Direction.CONSTANT, Direction.VALLEY, Direction.OTHER
TURNED = {RISING: FALLING, FALLING: RISING, CONSTANT: CONSTANT}

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


def join_directions(name: str, left: Direction, right: Direction) -> Direction:
    """Direction of an operator of two maps of the same x; the table in this module's docstring."""
    if left is right is CONSTANT:
        return CONSTANT
    if name not in _ORDERED:
        return OTHER
    if name == "subtract":
        right = TURNED.get(right, OTHER)
    if CONSTANT in (left, right):
        return right if left is CONSTANT else left
    if OTHER in (left, right):
        return OTHER
    if left is right and left is not VALLEY:
        return left
    return VALLEY if name == "maximum" else OTHER


def join_channels(name: str, left, right) -> tuple[Direction, ...]:
    """`join_directions`, channel by channel."""
    return collapse(tuple(join_directions(name, *pair) for pair in pair_channels(left, right)))


def join_maps(name: str, left: MonotoneMap, right: MonotoneMap) -> MonotoneMap:
    """The map of a two-argument operator whose operands both vary with x."""
    function, evaluate = JOINS.get(name), None
    if function and left.evaluate and right.evaluate:
        evaluate = lambda x: function(left.evaluate(x), right.evaluate(x))  # noqa: E731
    directions = join_channels(name, left.directions, right.directions)
    return MonotoneMap(name, directions, _join_ulp(name, left, right), evaluate)


def _join_ulp(name: str, left: MonotoneMap, right: MonotoneMap) -> int | None:
    known = (left.worst_ulp, right.worst_ulp)
    if None in known:
        return None
    return max(known) if name in _SELECTS or not any(known) else None
