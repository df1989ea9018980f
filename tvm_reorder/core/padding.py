"""What to pad with before the moved steps, where they stood below a padding with some value.

Identity
    pad(f(x), v) = f(pad(x, u))   for every u with f(u) = v on every channel: each value of the
    result is one of x, at a place that the widths decide, or v.  So widths may have either sign.

Why it is sure as computed
    f(u) is evaluated as an enclosure: in every way in which TVM may round, contract or rewrite what
    it computes (``enclosure.py``).  It has to be v alone.

Side conditions
    * Such padding is real data for the pool, so a window of nothing but padding is fine.
    * u lies outside the values of the chain's input, so what follows from them does not hold for
      it: no integer may wrap on the way from u to v either.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .enclosure import FLOATS, enclose, is_integer
from .intervals import apply_all, dtype_range, follow_interval
from .monotone import ANY_RANK, MonotoneMap


def find_padding(
    maps: Sequence[MonotoneMap],
    dtypes: Sequence[str],
    value: float,
    lowest: float | None,
    inside: Sequence[Sequence[tuple[MonotoneMap, str]]] = (),
) -> float | None:
    """A number u of the base's dtype with f(u) = `value` on every channel, None if none was found.

    Parameters
    ----------
    maps : sequence of MonotoneMap
        The moved steps, from the pool upwards.
    dtypes : sequence of str
        Entry k is the dtype of the result of step k; the last one is the base's.
    value : float
        What the original network pads with.
    lowest : float or None
        Lowest finite value of the base's dtype; tried first, because a max pool pads with it too.
    inside : sequence of sequences of pairs
        As for ``intervals.follow_interval``.
    """
    numbers = (number for number in (lowest, 0, value) if number is not None)
    candidates = [number for number in numbers if _holds(dtypes[-1], number)]
    fitting = (u for u in candidates if _gives(maps, dtypes[-1], u, value))
    return next((u for u in fitting if not _wraps(maps, dtypes, u, inside)), None)


def _wraps(maps, dtypes: Sequence[str], number: float, inside) -> bool:
    return follow_interval(maps, dtypes, (number, number), inside)[1] is not None


def _gives(maps: Sequence[MonotoneMap], base: str, candidate: float, value: float) -> bool:
    number = int(candidate) if is_integer(base) else candidate
    found = apply_all(maps, enclose(np.full(ANY_RANK, number, object), base))
    if found is None:
        return False
    found = found.stored()
    return bool(np.all(found.is_certain & np.asarray(found.low == value, bool)))


def _holds(dtype: str, number: float) -> bool:
    """True if the dtype has the number itself, and is followed here."""
    if is_integer(dtype):
        low, high = dtype_range(dtype)
        return float(number).is_integer() and low <= number <= high
    with np.errstate(over="ignore"):
        # NumPy would round a Python number before it compares.
        return dtype in FLOATS and float(np.dtype(dtype).type(number)) == number
