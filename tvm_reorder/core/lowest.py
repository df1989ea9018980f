"""The lowest finite value, from which TVM's max starts and with which it pads.

Identity
    With L that value, TVM's max answers L where every element of a window is -inf.  With m the
    window's maximum the original network gives max(f(m), L_out), the exchanged one f(max(m, L_in)).

Side conditions
    * For a finite m these agree if f(m) >= L_out.  Where f may send a finite value below that (log
      at 0, an overflowing scale), the exchange *clamps*: max(f(.), L_out) behind the pool.
    * For m = -inf they agree if max(f(-inf), L_out) = f(L_in) or its clamp; the licence ``strict``
      asks for that, ``equal`` leaves it open.
    * Where f falls the same goes for windows of nothing but +inf and the highest finite value.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from .ends import Ends
from .intervals import is_integer
from .monotone import ANY_RANK, MonotoneMap, compose
from .refusal import Reason, Refusal

if TYPE_CHECKING:
    from .chain import Chain, Link


def lowest_value(dtype: str) -> np.generic | None:
    """Lowest finite value of a dtype, where TVM's max starts; None if it has none here.

    numpy lacks bfloat16: its value is given as float32, which holds it exactly.
    """
    if dtype == "bfloat16":
        return -np.float32(2.0**127) * np.float32(2 - 2.0**-7)
    try:
        kind = np.dtype(dtype)
    except TypeError:
        return None
    if kind.kind not in "fiu":
        return None
    info = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    return kind.type(info.min)


def may_fall_below_lowest(total: MonotoneMap, ends: Ends, chain: Chain, index: int) -> bool:
    """True if f may send a finite value below the lowest finite value of its dtype."""
    dtype_out, dtype_in = chain.base_dtypes[0], chain.base_dtypes[index + 1]
    lowest_out, lowest_in = lowest_value(dtype_out), lowest_value(dtype_in)
    if is_integer(dtype_out):
        return False
    if lowest_out is None or lowest_in is None:
        return True
    # An unknown bias, say, or a valley's bottom; what follows it may bound it, as relu does.
    if total.evaluate is None or ends.is_both:
        return not _is_bounded_below(chain.links[: index + 1], lowest_out)
    extremes = (lowest_in,) if ends.is_maximum else (lowest_in, -lowest_in)
    return not all(np.all(_value_at(total, value) >= lowest_out) for value in extremes)


def _is_bounded_below(links: Sequence[Link], lowest_out: np.generic) -> bool:
    """True if the links nearest to the pool stay above `lowest_out` whatever comes in."""
    for total in accumulate((link.map for link in links), compose):
        if total.evaluate is None or not total.is_non_decreasing:
            return False
        if np.all(_value_at(total, lowest_out.dtype.type(-np.inf)) >= lowest_out):
            return True
    return False


def find_infinity_objection(
    total: MonotoneMap, ends: Ends, chain: Chain, index: int
) -> Refusal | None:
    """Set if a window of nothing but -inf, or but +inf where f falls, would give another result.

    Not for both ends of a valley: one of the two is the infinity itself, and f is higher there.
    """
    dtype_out, dtype_in = chain.base_dtypes[0], chain.base_dtypes[index + 1]
    lowest_out, lowest_in = lowest_value(dtype_out), lowest_value(dtype_in)
    if is_integer(dtype_in) or ends.is_both:
        return None  # integers have no infinity
    infinity, actual = "-inf" if ends.is_maximum else "-inf or +inf", "not known"
    if lowest_out is not None and lowest_in is not None and total.evaluate is not None:
        signs = np.asarray(ends.signs or (1,), lowest_in.dtype)
        at_infinity = _value_at_signed(total, signs, -np.inf)
        stock = np.maximum(at_infinity, lowest_out)
        ours = np.maximum(_value_at_signed(total, signs, lowest_in), lowest_out)
        if np.all((stock == ours) | np.isnan(at_infinity)):
            return None
        wrong = np.flatnonzero((stock != ours).ravel())[0]
        actual = f"{ours.ravel()[wrong]:g} after the exchange, {stock.ravel()[wrong]:g} before"
    return Refusal(
        Reason.NEGATIVE_INFINITY,
        f"the result of {chain.links[index].map.name} for a window of nothing but {infinity}",
        actual,
        "the same",
        "the licence strict asks for it",
    )


def _value_at_signed(total: MonotoneMap, signs: np.ndarray, value: float) -> np.ndarray:
    """The map at sign * value of each channel."""
    upper, lower = (_value_at(total, signs.dtype.type(sign * value)).ravel() for sign in (1, -1))
    size = max(upper.size, signs.size)
    return np.where(np.resize(signs, size) > 0, np.resize(upper, size), np.resize(lower, size))


def _value_at(total: MonotoneMap, value: np.generic) -> np.ndarray:
    """The map at one value, for every channel; float64 holds all narrower floats exactly."""
    exact = value if value.dtype.kind == "f" else int(value)
    dtype = value.dtype if value.dtype.kind == "f" else object
    with np.errstate(all="ignore"):
        return np.asarray(total.evaluate(np.full(ANY_RANK, exact, dtype)), np.float64)
