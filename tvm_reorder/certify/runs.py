"""The accounting of a sweep: summaries of runs of results, joined in any grouping.

Identity
    With M(A) the largest and m(A) the smallest result of a run A, the worst drop below the running
    maximum of A followed by B is max(drop(A), drop(B), M(A) - m(B)); mirrored for a climb.  Both
    are maxima of f_i - f_j over pairs i < j, so the joining is associative.
    Of a valley the smallest result divides: left of its first place only climbs are wrong, right of
    it only drops.  A `Summary` carries both parts; the side with the smaller result keeps its
    dividing place, a tie keeps the left one.

Results are keys (``floats.py``), NaN is left out and counted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Extent(NamedTuple):
    """One run of results: where it begins, ends and peaks, and how it moves both ways.

    ``falls`` and ``rises`` count neighbours, ``drop`` and ``climb`` compare any two results in
    order; each is 0 if there is none, and ``*_from`` and ``*_to`` are the places of the worst.
    """

    first: int
    last: int
    low: int
    high: int
    low_at: int
    high_at: int
    falls: int = 0
    worst_fall: int = 0
    drop: int = 0
    drop_from: int = -1
    drop_to: int = -1
    rises: int = 0
    worst_rise: int = 0
    climb: int = 0
    climb_from: int = -1
    climb_to: int = -1


def point(key: int, place: int) -> Extent:
    """The run of one result."""
    return Extent(key, key, key, key, place, place)


def measure(keys: np.ndarray, places: np.ndarray | range) -> Extent:
    """The run of some results, at least one; `keys` must be able to hold their differences."""
    low, high = int(keys.argmin()), int(keys.argmax())
    steps = np.diff(keys)
    drop = np.maximum.accumulate(keys)
    drop -= keys
    climb = np.minimum.accumulate(keys)
    np.subtract(keys, climb, out=climb)
    drop_to, climb_to = int(drop.argmax()), int(climb.argmax())
    drop_from = int(keys[: drop_to + 1].argmax())
    climb_from = int(keys[: climb_to + 1].argmin())
    return Extent(
        first=int(keys[0]),
        last=int(keys[-1]),
        low=int(keys[low]),
        high=int(keys[high]),
        low_at=int(places[low]),
        high_at=int(places[high]),
        falls=int(np.count_nonzero(steps < 0)),
        worst_fall=max(0, -int(steps.min(initial=0))),
        drop=int(drop[drop_to]),
        drop_from=int(places[drop_from]) if drop[drop_to] else -1,
        drop_to=int(places[drop_to]) if drop[drop_to] else -1,
        rises=int(np.count_nonzero(steps > 0)),
        worst_rise=max(0, int(steps.max(initial=0))),
        climb=int(climb[climb_to]),
        climb_from=int(places[climb_from]) if climb[climb_to] else -1,
        climb_to=int(places[climb_to]) if climb[climb_to] else -1,
    )


def join(left: Extent | None, right: Extent | None) -> Extent | None:
    """The run of `left` followed by `right`; None is the empty run."""
    if left is None or right is None:
        return left or right
    step = right.first - left.last
    low, high = (
        (left if left.low <= right.low else right),
        (left if left.high >= right.high else right),
    )
    drop = max(
        (left.drop, left.drop_from, left.drop_to),
        (right.drop, right.drop_from, right.drop_to),
        (left.high - right.low, left.high_at, right.low_at),
        key=_first,
    )
    climb = max(
        (left.climb, left.climb_from, left.climb_to),
        (right.climb, right.climb_from, right.climb_to),
        (right.high - left.low, left.low_at, right.high_at),
        key=_first,
    )
    return Extent(
        left.first,
        right.last,
        low.low,
        high.high,
        low.low_at,
        high.high_at,
        left.falls + right.falls + (step < 0),
        max(left.worst_fall, right.worst_fall, -step),
        *drop,
        left.rises + right.rises + (step > 0),
        max(left.worst_rise, right.worst_rise, step),
        *climb,
    )


def _first(values):
    return values[0]


class Summary(NamedTuple):
    """What is known of a stretch of places.

    ``left`` ends and ``right`` begins at the first smallest result; all three are None if every
    result was NaN.
    """

    whole: Extent | None = None
    left: Extent | None = None
    right: Extent | None = None
    values: int = 0
    nan: int = 0
    mismatches: int = 0
    worst_mismatch: int = 0
    mismatch_at: int = -1

    def __add__(self, other: Summary) -> Summary:
        """This stretch followed by another."""
        worse = other if other.worst_mismatch > self.worst_mismatch else self
        counts = (
            self.values + other.values,
            self.nan + other.nan,
            self.mismatches + other.mismatches,
            worse.worst_mismatch,
            worse.mismatch_at,
        )
        if self.whole is None or other.whole is None:
            known = self if other.whole is None else other
            return Summary(known.whole, known.left, known.right, *counts)
        whole = join(self.whole, other.whole)
        if self.whole.low <= other.whole.low:
            return Summary(whole, self.left, join(self.right, other.whole), *counts)
        return Summary(whole, join(self.whole, other.left), other.right, *counts)


def summarise(keys: np.ndarray, is_nan: np.ndarray, start: int) -> Summary:
    """A stretch of results from place `start` on, by direct computation; keys are int64."""
    values, places = keys.size, range(start, start + keys.size)
    nan = int(np.count_nonzero(is_nan))
    if nan:
        places = start + np.flatnonzero(~is_nan)
        keys = keys[~is_nan]
    if not keys.size:
        return Summary(values=values, nan=nan)
    low = int(keys.argmin())
    if int(keys.max()) - int(keys[low]) < 1 << 31:
        keys = keys.astype(np.int32)  # half the memory to go over, eight times
    if low == 0:
        whole = right = measure(keys, places)
        left = point(whole.first, whole.low_at)
    elif low == keys.size - 1:
        whole = left = measure(keys, places)
        right = point(whole.last, whole.low_at)
    else:
        left = measure(keys[: low + 1], places[: low + 1])
        right = measure(keys[low:], places[low:])
        whole = join(left, right)
    return Summary(whole, left, right, values, nan)


def rising(first: int, last: int, start: int, stop: int, rises: int, worst: int) -> Summary:
    """Places `start` to `stop` - 1, whose results never fall.

    Parameters
    ----------
    first, last : int
        Keys of the first and the last result.
    start, stop : int
        The places.
    rises, worst : int
        How many neighbours rise, and the largest rise in ulp.
    """
    climb = (last - first, start, stop - 1) if last > first else (0, -1, -1)
    ends = (first, last, first, last, start, stop - 1)
    whole = Extent(*ends, 0, 0, 0, -1, -1, rises, worst, *climb)
    return Summary(whole, point(first, start), whole, values=stop - start)


def falling(
    first: int, last: int, start: int, low_at: int, stop: int, falls: int, worst: int
) -> Summary:
    """As `rising`, for results that never rise and are smallest from place `low_at` on."""
    drop = (first - last, start, low_at) if last < first else (0, -1, -1)
    whole = Extent(first, last, last, first, low_at, start, falls, worst, *drop)
    return Summary(whole, whole, point(last, low_at), values=stop - start)
