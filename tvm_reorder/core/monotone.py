"""Directions of scalar maps, and how they compose.

Identity
    max(f(a), f(b), ...) = f(max(a, b, ...))   for every non-decreasing f.

A *direction* says how f moves when its argument grows.  Composition ``outer o inner``:

=========  =======  =======  ======  =====
outer      RISING   FALLING  VALLEY  OTHER   <- inner
=========  =======  =======  ======  =====
RISING     RISING   FALLING  VALLEY  OTHER
FALLING    FALLING  RISING   OTHER   OTHER
VALLEY     VALLEY   VALLEY   OTHER   OTHER
OTHER      OTHER    OTHER    OTHER   OTHER
=========  =======  =======  ======  =====

A CONSTANT on either side gives CONSTANT: it is both rising and falling.

Why it holds in floating point
    A correctly rounded step (add, multiply by a constant, max, min, clip, a float cast) is
    monotone because rounding is.  A library function is monotone only where it was measured; see
    ``certificates.py``.  ``MonotoneMap.worst_ulp`` carries that knowledge: 0 is proof or a full
    sweep without a wrong step, n > 0 how far the worst strays, None nothing known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import repeat

import numpy as np

from .refusal import Reason


class Direction(Enum):
    """How a scalar map moves when its argument grows."""

    CONSTANT = "constant"
    RISING = "rising"
    FALLING = "falling"
    VALLEY = "valley"
    OTHER = "other"

    @property
    def is_non_decreasing(self) -> bool:
        """True where f(max x) = max f(x)."""
        return self in (Direction.CONSTANT, Direction.RISING)


def compose_directions(outer: Direction, inner: Direction) -> Direction:
    """Direction of ``outer(inner(x))``; the table in this module's docstring."""
    if Direction.CONSTANT in (outer, inner):
        return Direction.CONSTANT
    if Direction.OTHER in (outer, inner):
        return Direction.OTHER
    if outer is Direction.RISING:
        return inner
    if inner is Direction.VALLEY:
        return Direction.OTHER
    if outer is Direction.VALLEY:
        return Direction.VALLEY
    return Direction.FALLING if inner is Direction.RISING else Direction.RISING


Evaluate = Callable[[np.ndarray], np.ndarray]
ANY_RANK = (1, 1, 1, 1, 1, 1)  # broadcasts against constants of every pool's rank, and of more


@dataclass(frozen=True)
class MonotoneMap:
    """What is known of one elementwise map along a pooling window.

    Parameters
    ----------
    name : str
        The operator or composite, as shown in reports.
    directions : tuple of Direction
        One entry if every channel agrees, else one per (batch, channel) pair.
    worst_ulp : int or None
        Largest drop of the map as computed, in units in the last place of its output dtype: the
        running maximum minus the value.  0: none, None: unknown.
    evaluate : callable or None
        The map on numpy arrays and on enclosures (``enclosure.py``), broadcasting like the tensor;
        None where it cannot be evaluated.
    why : Reason or None
        Which refusal names a direction that is not rising.
    detail : str
        The fact behind ``why``, such as ``"-0.1"`` for a slope.
    """

    name: str
    directions: tuple[Direction, ...]
    worst_ulp: int | None = 0
    evaluate: Evaluate | None = None
    why: Reason | None = None
    detail: str = ""

    @property
    def is_non_decreasing(self) -> bool:
        """True if every channel is."""
        return all(direction.is_non_decreasing for direction in self.directions)


IDENTITY = MonotoneMap("identity", (Direction.RISING,), 0, lambda values: values)


def compose(outer: MonotoneMap, inner: MonotoneMap) -> MonotoneMap:
    """The map ``outer(inner(x))``, channel by channel.

    ``worst_ulp`` survives only at the outermost place: a later step may amplify an earlier drop, so
    the composition of a drop with anything that follows it is unknown.

    Raises
    ------
    ValueError
        If both maps have directions per channel and the counts differ.
    """
    directions = tuple(
        compose_directions(o, i) for o, i in pair_channels(outer.directions, inner.directions)
    )
    is_inner = outer.is_non_decreasing or Direction.OTHER in inner.directions
    culprit = inner if is_inner else outer
    return MonotoneMap(
        name=f"{outer.name} of {inner.name}",
        directions=collapse(directions),
        worst_ulp=outer.worst_ulp if inner.worst_ulp == 0 else None,
        evaluate=_chain(outer.evaluate, inner.evaluate),
        why=culprit.why,
        detail=culprit.detail,
    )


def directions_from_signs(values: np.ndarray) -> tuple[Direction, ...]:
    """Directions of ``x * value``: rising, falling or constant by the sign of each value."""
    signs = np.sign(np.asarray(values).astype(np.float64)).ravel()
    names = {1.0: Direction.RISING, -1.0: Direction.FALLING, 0.0: Direction.CONSTANT}
    distinct = np.unique(signs)
    if distinct.size == 1:
        return (names[float(distinct[0])],)
    return tuple(names[float(sign)] for sign in signs)


_GUESS_AT = np.unique(np.r_[np.linspace(-12, 12, 1201), np.geomspace(1, 1e4, 60), 0.0])
_GUESS_AT = np.unique(np.r_[_GUESS_AT, -_GUESS_AT])
_GUESS_AT_INTEGERS = np.unique(_GUESS_AT.astype(np.int64)).astype(object)
_GUESS_ROUNDING = 1e-12


def guess_direction(evaluate: Evaluate | None, is_whole: bool = False) -> Direction:
    """The direction that a map seems to have at some points: 2500 of float64, or 111 integers.

    A guess only, to be held against a certificate: a map of this direction has ``worst_ulp`` None.
    """
    if evaluate is None:
        return Direction.OTHER
    at = _GUESS_AT_INTEGERS if is_whole else _GUESS_AT
    with np.errstate(all="ignore"):
        values = np.asarray(evaluate(at.reshape(-1, *ANY_RANK)), np.float64).ravel()
        if values.size != at.size or np.isnan(values).any():
            return Direction.OTHER
        tolerance = _GUESS_ROUNDING * np.maximum(1, np.abs(values))
        turn = int(values.argmin())
        falls = values - np.minimum.accumulate(values) <= tolerance
        rises = np.maximum.accumulate(values) - values <= tolerance
        right = np.maximum.accumulate(values[turn:]) - values[turn:] <= tolerance[turn:]
    if rises.all():
        return Direction.RISING
    if falls.all():
        return Direction.FALLING
    return Direction.VALLEY if falls[: turn + 1].all() and right.all() else Direction.OTHER


def pair_channels(outer: Sequence[Direction], inner: Sequence[Direction]):
    """Pairs of two maps' directions on the same channel; one entry stands for all channels.

    Raises
    ------
    ValueError
        If both have directions per channel and the counts differ.
    """
    if len(outer) == len(inner):
        return zip(outer, inner)
    if len(outer) == 1:
        return zip(repeat(outer[0]), inner)
    if len(inner) == 1:
        return zip(outer, repeat(inner[0]))
    raise ValueError(f"{len(outer)} channels cannot follow {len(inner)} channels")


def collapse(directions: tuple[Direction, ...]) -> tuple[Direction, ...]:
    """One entry where all channels agree."""
    return directions[:1] if len(set(directions)) == 1 else directions


def _chain(outer: Evaluate | None, inner: Evaluate | None) -> Evaluate | None:
    if outer is None or inner is None:
        return None
    return lambda values: outer(inner(values))
