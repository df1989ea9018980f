"""Which step of a chain may leave the range of its integer dtype.

Identity
    The values of a chain lie between the ends of the interval that its input can reach, sent up
    the chain; see ``enclosure.py``.

Why an integer step has to stay in its range
    Integer arithmetic wraps and a cast from float is undefined outside the range: neither is
    monotone there.

Side conditions
    * An unknown integer has the range of its dtype, an unknown float every value, the infinities
      included.  NaN is left open by every licence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .enclosure import Enclosure, enclose, is_integer
from .monotone import ANY_RANK, MonotoneMap

_EVERY_FLOAT = (-np.inf, np.inf)

Interval = tuple[float, float]


def apply(step: MonotoneMap, x: Enclosure | None) -> Enclosure | None:
    """What a step gives, None if that cannot be told."""
    if step.evaluate is None or x is None:
        return None
    try:
        with np.errstate(all="ignore"):
            result = step.evaluate(x)
    except (TypeError, ValueError, OverflowError):
        return None  # it has no meaning on enclosures: a function of the user's own, say
    return result if isinstance(result, Enclosure) else None


def apply_all(maps: Sequence[MonotoneMap], x: Enclosure | None) -> Enclosure | None:
    """What steps give one after the other, from the pool upwards; None if it cannot be told."""
    for step in reversed(maps):
        x = apply(step, x)
    return x


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
        interval = _image(maps[index], interval, source)
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
    return _is_within(_image(part, interval, source), dtype_range(dtype))


def _is_within(interval: Interval | None, limits: Interval) -> bool:
    return interval is not None and limits[0] <= interval[0] and interval[1] <= limits[1]


def dtype_range(dtype: str) -> tuple[int, int]:
    """Lowest and highest value of an integer dtype."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def everything(dtype: str) -> Interval:
    """All values of a dtype, the infinities included."""
    return dtype_range(dtype) if is_integer(dtype) else _EVERY_FLOAT


def _known_or_all(interval: Interval | None, dtype: str) -> Interval:
    """The interval as far as the dtype can hold it: what wrapped before the chain is anywhere."""
    limits = everything(dtype)
    return interval if _is_within(interval, limits) else limits


def between(interval: Interval, dtype: str) -> Enclosure | None:
    """The enclosure of an interval; None for a dtype that is not followed."""
    try:
        low, high = (np.full(ANY_RANK, end, object) for end in interval)
        return enclose(low, dtype, high)
    except TypeError:
        return None


def _image(step: MonotoneMap, interval: Interval, source: str) -> Interval | None:
    """Interval of a step's results, None if it cannot be told."""
    found = apply(step, between(interval, source))
    if found is None or np.any(found.nan):
        return None
    return np.min(found.low), np.max(found.high)
