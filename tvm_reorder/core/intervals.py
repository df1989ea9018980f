"""Which step of a chain may leave the range of its integer dtype.

Identity
    The values of a chain lie between the images of the ends of the interval that its input can
    reach, because each step followed here is monotone.

Why an integer step has to stay in its range
    Integer arithmetic wraps and a cast from float is undefined outside the range: neither is
    monotone there.

How the interval is followed
    * Integers as Python integers, which do not wrap.
    * Floats in their own dtype.  TVM may contract a product and a sum, and its library functions
      differ from numpy's in the last places, so every step that computes is widened by a few ulp;
      steps that select or round to whole numbers are exact.
    * An unknown integer has the range of its dtype, an unknown float every value, the infinities
      included.  NaN is left open by every licence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .monotone import ANY_RANK, Direction, MonotoneMap

_MONOTONE = (Direction.RISING, Direction.FALLING, Direction.CONSTANT)
_SELECTING = frozenset(
    ["clip", "nn.relu", "maximum", "minimum", "ceil", "floor", "round", "trunc", "sign", "copy"]
)
_SPREAD = 8  # ulp by which a step that computes may differ from numpy's evaluation
_EVERY_FLOAT = (-np.inf, np.inf)

Interval = tuple[float, float]


def follow_interval(
    maps: Sequence[MonotoneMap],
    dtypes: Sequence[str],
    input_range: Interval | None,
    inside: Sequence[Sequence[tuple[MonotoneMap, str]]] = (),
) -> tuple[list[Interval], int | None]:
    """Intervals of a chain's values, and where an integer may leave its dtype's range.

    Parameters
    ----------
    maps : sequence of MonotoneMap
        The steps, from the pool upwards.
    dtypes : sequence of str
        Entry k is the dtype of the result of step k; the last one is that of the chain's input.
    input_range : pair of numbers or None
        Interval of the chain's input, None if it is not known.
    inside : sequence of sequences of pairs
        For each step the maps from its argument to the values inside it, with their dtypes.

    Returns
    -------
    intervals : list of pairs of numbers
        Entry k is that of the value with ``dtypes[k]``.
    wrapping : int or None
        The step nearest to the pool that may overflow.
    """
    wrapping, interval = None, _known_or_all(input_range, dtypes[-1])
    intervals = [interval]
    for index in reversed(range(len(maps))):
        source, result = dtypes[index + 1], dtypes[index]
        parts = inside[index] if inside else ()
        wraps_inside = any(not _fits(part, interval, source, dtype) for part, dtype in parts)
        interval = _image(maps[index], interval, source, result)
        if wraps_inside:
            wrapping, interval = index, None
        if not is_integer(result):
            interval = interval or _EVERY_FLOAT
        elif not _is_within(interval, dtype_range(result)):
            wrapping, interval = index, dtype_range(result)
        intervals.insert(0, interval)
    return intervals, wrapping


def _fits(part: MonotoneMap, interval: Interval, source: str, dtype: str) -> bool:
    """True if a value inside a step stays in the range of its dtype."""
    if not is_integer(dtype):
        return True
    return _is_within(_image(part, interval, source, dtype), dtype_range(dtype))


def _is_within(interval: Interval | None, limits: Interval) -> bool:
    return interval is not None and limits[0] <= interval[0] and interval[1] <= limits[1]


def is_integer(dtype: str) -> bool:
    """True for the signed and unsigned integers."""
    return dtype.startswith(("int", "uint"))


def dtype_range(dtype: str) -> tuple[int, int]:
    """Lowest and highest value of an integer dtype."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def _known_or_all(interval: Interval | None, dtype: str) -> Interval:
    """The interval as far as the dtype can hold it: what wrapped before the chain is anywhere."""
    everything = dtype_range(dtype) if is_integer(dtype) else _EVERY_FLOAT
    if interval is None or interval[0] < everything[0] or interval[1] > everything[1]:
        return everything
    return interval


def _image(step: MonotoneMap, interval: Interval, source: str, result: str) -> Interval | None:
    """Interval of a step's results, None if it cannot be told."""
    if step.evaluate is None or any(direction not in _MONOTONE for direction in step.directions):
        return None
    kind = object if is_integer(source) else as_float(source)
    if kind is None:
        return None
    try:
        with np.errstate(all="ignore"):
            ends = [np.asarray(step.evaluate(np.full(ANY_RANK, e, kind))) for e in interval]
    except TypeError:
        return None  # a function that has no meaning on unbounded integers, such as exp
    low, high = min(np.min(end) for end in ends), max(np.max(end) for end in ends)
    if low != low or high != high:  # NaN, as from 0 times infinity
        return None
    if is_integer(result):
        return low, high
    return _widen(float(low), float(high), step.name, result)


def as_float(dtype: str) -> np.dtype | None:
    """numpy's float dtype; None for bfloat16, which it lacks, and for what is no float."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        return None
    return kind if kind.kind == "f" else None


def _widen(low: float, high: float, name: str, dtype: str) -> Interval | None:
    kind = as_float(dtype)
    if kind is None:
        return None
    if name in _SELECTING:
        return low, high
    info = np.finfo(kind)
    room = [_SPREAD * (abs(end) * float(info.eps) + float(info.tiny)) for end in (low, high)]
    return tuple(_saturate(end, info) for end in (low - room[0], high + room[1]))


def _saturate(value: float, info: np.finfo) -> float:
    """Infinite where the dtype would be."""
    return value if abs(value) <= float(info.max) else float(np.copysign(np.inf, value))
