"""Intervals that hold whatever a graph may compute, in any order of rounding that TVM may choose.

Identity
    If x lies in [a, b] then f(x) lies in [f(a), f(b)] for a rising f, and what is computed of it
    lies in that interval widened by f's rounding.  Inputs are known exactly, so the intervals are
    as narrow as the roundings on the way make them: the tolerance is derived, not given.

Side conditions
    * Fused multiply-adds, wider intermediate results and other orders of a sum all lie between the
      exact result and the bound, because each step is widened about its exact image.
    * What may be NaN, has overflowed as an integer or has no definition here is *open*: the
      interval from -inf to inf, which holds NaN too.  Open in, open out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Half a unit in the last place, relative; the smallest subnormal; the largest finite number.
_PRECISION = {
    "float16": (2.0**-11, 2.0**-24, 65504.0),
    "bfloat16": (2.0**-8, 2.0**-133, (2 - 2.0**-7) * 2.0**127),
    "float32": (2.0**-24, 2.0**-149, (2 - 2.0**-23) * 2.0**127),
    # It is computed in float64 here too, with roundings of its own.
    "float64": (4 * 2.0**-53, 2.0**-1074, float(np.finfo("float64").max)),
}
LIBRARY = 4  # units in the last place that a function of the C library may be off


@dataclass(frozen=True)
class Bounds:
    """Every value of a tensor between two float64 numbers.

    Parameters
    ----------
    low, high : numpy.ndarray
        The ends, themselves possible.
    """

    low: np.ndarray
    high: np.ndarray

    @property
    def is_open(self) -> np.ndarray:
        """Where anything may stand, NaN too."""
        return (self.low == -np.inf) & (self.high == np.inf)

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's."""
        return self.low.shape

    def moved(self, move: Callable[[np.ndarray], np.ndarray]) -> Bounds:
        """The same values in other places."""
        return Bounds(move(self.low), move(self.high))

    def opened(self, where) -> Bounds:
        """Open where a mask says, too."""
        return Bounds(np.where(where, -np.inf, self.low), np.where(where, np.inf, self.high))

    def find_outside(self, values: np.ndarray, ulps: float = 0) -> np.ndarray:
        """Where values lie outside by more than some units in the last place."""
        numbers, allowed = values.astype(np.float64), self
        if ulps and values.dtype.kind == "f":
            allowed = settle(self.low, self.high, str(values.dtype), ulps)
        inside = (allowed.low <= numbers) & (numbers <= allowed.high)
        return ~inside & ~self.is_open


def exact(values: np.ndarray) -> Bounds:
    """Known values; a NaN is open."""
    numbers = np.asarray(values).astype(np.float64)
    if np.asarray(values).dtype.kind in "iu":
        return Bounds(numbers - _slack(numbers), numbers + _slack(numbers))
    return Bounds(numbers, numbers).opened(np.isnan(numbers))


def _slack(numbers: np.ndarray) -> np.ndarray:
    """How far whole numbers are off, at most, that float64 cannot hold: those beyond 2^53."""
    return np.where(np.abs(numbers) > 2.0**53, np.abs(numbers) * 2.0**-51, 0.0)


def anything(shape: tuple[int, ...]) -> Bounds:
    """Open everywhere."""
    return Bounds(np.full(shape, -np.inf), np.full(shape, np.inf))


def hull(first: Bounds, *others: Bounds) -> Bounds:
    """What lies in any of them."""
    low, high = first.low, first.high
    for other in others:
        low, high = np.minimum(low, other.low), np.maximum(high, other.high)
    return Bounds(low, high)


def lowest(dtype: str) -> float:
    """The lowest finite number of a dtype."""
    if dtype in _PRECISION:
        return -_PRECISION[dtype][2]
    return 0.0 if dtype == "bool" else float(np.iinfo(dtype).min)


def largest(dtype: str) -> float:
    """The largest finite number of a dtype."""
    if dtype in _PRECISION:
        return _PRECISION[dtype][2]
    return 1.0 if dtype == "bool" else float(np.iinfo(dtype).max)


def error_of(dtype: str) -> tuple[float, float]:
    """Relative and absolute error of one rounding; none for whole numbers."""
    return _PRECISION[dtype][:2] if dtype in _PRECISION else (0.0, 0.0)


def settle(low, high, dtype: str, ulps: float = 0.5, absolute: float = 0.0) -> Bounds:
    """The results [low, high] as a dtype holds them, computed to some units in the last place.

    A float that overflows may be infinite or, if it did not pass through the dtype, finite; an
    integer that overflows is undefined.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    unclear = np.isnan(low) | np.isnan(high)
    if dtype not in _PRECISION:
        overflow = (low < lowest(dtype)) | (high > largest(dtype))
        return Bounds(low - _slack(low), high + _slack(high)).opened(unclear | overflow)
    relative, tiny = error_of(dtype)
    most, relative, absolute = largest(dtype), 2 * ulps * relative, absolute + 2 * ulps * tiny
    with np.errstate(all="ignore"):
        low = np.where(np.isinf(low), low, low - np.abs(low) * relative - absolute)
        high = np.where(np.isinf(high), high, high + np.abs(high) * relative + absolute)
    # To the infinity beyond the largest number, and short of it; what is infinite stays so.
    below, above = (np.isfinite(end) & (np.abs(end) > most) for end in (low, high))
    low = np.where(below, np.where(low < 0, -np.inf, most), low)
    high = np.where(above, np.where(high > 0, np.inf, -most), high)
    return Bounds(low, high).opened(unclear)


def corners(function, *operands: Bounds) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest of a function that moves one way in each operand: it is so at a corner."""
    with np.errstate(all="ignore"):
        left, right = operands
        values = [function(a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
    return np.minimum.reduce(values), np.maximum.reduce(values)


def join_open(result: Bounds, *operands: Bounds) -> Bounds:
    """Open wherever an operand is."""
    for operand in operands:
        result = result.opened(operand.is_open)
    return result
