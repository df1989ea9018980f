"""The lowest finite value, from which TVM's max starts and with which it pads.

Identity
    With L that value and H = -L the highest, TVM's max over a window is max(L, max_i x_i), and the
    pool of the negated input, negated, is min(H, min_i x_i).  So the original network gives
    max(L_out, max_i f(x_i)), and the exchanged one f at one or both of

        hi = max(L, max_i x_i)      lo = min(H, min_i x_i),

    the larger result of the two; see ``ends.py``.

Side conditions
    * hi is the largest element unless all of them are -inf, and lo the smallest unless all of them
      are +inf.  In every other window f is taken at the right ones, so both networks agree up to
      L_out: where f may send a finite value below that (log at 0, an overflowing scale), the
      exchange *clamps*: max(., L_out) behind the moved steps.
    * In the two windows left, f is taken at

        ==============  ==========  ==========  =============
        window          at hi       at lo       at both ends
        ==============  ==========  ==========  =============
        -inf alone      f(L)        f(-inf)     f(L), f(-inf)
        +inf alone      f(+inf)     f(H)        f(+inf), f(H)
        ==============  ==========  ==========  =============

      The licence ``strict`` asks, on every channel, that the larger of them is max(f(-inf), L_out)
      or max(f(+inf), L_out), which is what the original network gives; ``equal`` leaves it open.
    * Both are to hold in every way in which TVM may compute f, see ``enclosure.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .enclosure import Enclosure, enclose, is_integer
from .ends import Ends
from .intervals import apply, apply_all, between, everything
from .refusal import Reason, Refusal

if TYPE_CHECKING:
    from .chain import Chain


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


def may_fall_below_lowest(ends: Ends, chain: Chain, index: int) -> bool:
    """True if f may send a finite value below the lowest finite value of its dtype.

    A rising f is lowest at the lowest value, a falling one at the highest; of any f the values are
    followed step by step.
    """
    dtype_out, dtype_in = chain.base_dtypes[0], _followed(chain.base_dtypes[index + 1])
    lowest_out, lowest_in = lowest_value(dtype_out), lowest_value(chain.base_dtypes[index + 1])
    if _is_whole(dtype_out):
        return False
    if lowest_out is None or lowest_in is None:
        return True
    bottom = _find_bottom(_follow(chain, index, lowest_in, dtype_in))
    if bottom >= lowest_out or ends.is_both:
        return not bottom >= lowest_out
    maps = [link.map for link in chain.links[: index + 1]]
    corners = (lowest_in,) if ends.is_maximum else (lowest_in, _highest(dtype_in, lowest_in))
    found = [apply_all(maps, _point(corner, chain, dtype_in)) for corner in corners]
    if any(x is None or np.any(x.nan) for x in found):
        return True  # no number there: its domain ends between
    return not all(_find_bottom(x) >= lowest_out for x in found)


def _is_whole(dtype: str) -> bool:
    """True for the dtypes that have no infinity, and nothing below their lowest value."""
    return is_integer(dtype) or dtype == "bool"


def _followed(dtype: str) -> str:
    """The dtype that stands for one: bfloat16 is computed in float32."""
    return "float32" if dtype == "bfloat16" else dtype


def _highest(dtype: str, lowest: np.generic):
    return everything(dtype)[1] if is_integer(dtype) else -lowest


def _point(value, chain: Chain, dtype: str) -> Enclosure:
    number = int(value) if is_integer(dtype) else float(value)
    return enclose(np.full(chain.plane_shape, number, object), dtype)


def _follow(chain: Chain, index: int, lowest_in: np.generic, dtype_in: str) -> Enclosure:
    """What the steps up to `index` make of all finite values."""
    x = between((lowest_in, _highest(dtype_in, lowest_in)), dtype_in)
    for k in reversed(range(index + 1)):
        dtype = _followed(chain.base_dtypes[k])
        found = apply(chain.links[k].map, x)
        x = between(everything(dtype), dtype) if found is None else found
    return x


def _find_bottom(x: Enclosure) -> float:
    """The lowest number that an enclosure holds."""
    low = np.asarray(x.stored().low, np.float64)
    return float(low[~np.isnan(low)].min(initial=np.inf))


def find_infinity_objection(ends: Ends, chain: Chain, index: int, clamps: bool) -> Refusal | None:
    """Set if a window of nothing but -inf, or of nothing but +inf, may give another result."""
    if _is_whole(chain.base_dtypes[index + 1]):
        return None
    windows = (-np.inf, np.inf)
    found = (_find_difference(window, ends, chain, index, clamps) for window in windows)
    actual = next((difference for difference in found if difference), None)
    if actual is None:
        return None
    infinity = "-inf" if ends.is_maximum else "-inf or +inf"
    return Refusal(
        Reason.NEGATIVE_INFINITY,
        f"the result of {chain.links[index].map.name} for a window of nothing but {infinity}",
        actual,
        "the same",
        "the licence strict asks for it",
    )


def _find_difference(
    window: float, ends: Ends, chain: Chain, index: int, clamps: bool
) -> str | None:
    """What the two networks give for a window of one infinity, in words; None if it is the same."""
    dtype = _followed(chain.base_dtypes[index + 1])
    lowest_in, lowest_out = (lowest_value(chain.base_dtypes[k]) for k in (index + 1, 0))
    if lowest_in is None or lowest_out is None:
        return "not known"
    arguments = _find_arguments(window, ends, lowest_in, chain.plane_shape)
    moved = [argument != window for argument in arguments]
    if not np.any(moved):
        return None
    maps = [link.map for link in chain.links[: index + 1]]
    before = apply_all(maps, _point(window, chain, dtype))
    after = [apply_all(maps, enclose(argument, dtype)) for argument in arguments]
    if any(x is None for x in (before, *after)):
        return "not known"
    bottom = float(lowest_out) if clamps else -np.inf
    stock = _clamp(before, float(lowest_out))
    ours = [_clamp(x, bottom) for x in after]
    known = np.isnan(np.asarray(before.low, np.float64)) | _is_same(stock, ours, moved)
    if np.all(known):
        return None
    return _say_difference(stock, ours, known)


def _find_arguments(window: float, ends: Ends, lowest, shape) -> list[np.ndarray]:
    """What the exchanged network evaluates f at, for each (batch, channel) pair."""
    largest = np.full(shape, max(window, float(lowest)))
    smallest = np.full(shape, min(window, -float(lowest)))
    if ends.is_both:
        return [largest, smallest]
    signs = np.asarray(ends.signs or (1,))
    signs = signs.reshape(shape if signs.size == largest.size else -1)
    return [np.where(signs > 0, largest, smallest)]


def _clamp(x: Enclosure, bottom: float) -> Enclosure:
    x = x.stored()
    return replace(x, low=np.maximum(x.low, bottom), high=np.maximum(x.high, bottom))


def _is_same(stock: Enclosure, ours: list[Enclosure], moved: list[np.ndarray]) -> np.ndarray:
    """Where the larger of our values is the original one.

    At one end f was taken at the infinity itself or both values are certain.  At both ends the one
    is f at the infinity, and the other must not exceed it.
    """
    if len(ours) == 2:
        return np.all([~m | (x.high <= stock.low) & ~x.nan for m, x in zip(moved, ours)], axis=0)
    (value,), (is_moved,) = ours, moved
    is_known = (stock.low == stock.high) & (value.low == value.high) & ~np.asarray(value.nan, bool)
    return ~is_moved | is_known & (stock.low == value.low)


def _say_difference(stock: Enclosure, ours: list[Enclosure], known: np.ndarray) -> str:
    lows = np.broadcast_arrays(known, stock.low, stock.high, *(x.low for x in ours))
    wrong = np.flatnonzero(~lows[0].ravel())[0]
    before, high, *after = (values.ravel()[wrong] for values in lows[1:])
    if before != high:
        return "not known"
    return f"{_say_number(max(after))} after the exchange, {_say_number(before)} before"


def _say_number(number: int | float) -> str:
    try:
        return f"{float(number):g}"
    except OverflowError:  # an integer beyond float64
        return "inf" if number > 0 else "-inf"
