"""What to pad with before the moved steps, where they stood below a padding with some value.

Identity
    pad(f(x), v) = f(pad(x, u))   for every u with f(u) = v on every channel.

Why it is sure as computed
    f(u) is evaluated twice, in the dtypes of the steps and in float64.  If both give v, no rounding
    on the way depends on how TVM contracts or orders what it computes.  Library functions are taken
    where their value is beyond doubt: tanh, erf and the like at 0, and exp and sigmoid so far down
    that exp over- or underflows.

Side condition
    Such padding is real data for the pool, so a window of nothing but padding is fine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .intervals import as_float, dtype_range, is_integer
from .monotone import ANY_RANK, MonotoneMap

_FAR_DOWN = -1000.0  # exp(-x) overflows and exp(x) is 0, in float64 too

# Steps whose every value follows from IEEE arithmetic.
_ARITHMETIC = frozenset(
    [
        *("nn.relu", "clip", "maximum", "minimum", "copy", "annotation.stop_fusion"),
        *("add", "subtract", "nn.bias_add", "multiply", "divide", "negative"),
        *("nn.leaky_relu", "nn.prelu", "ceil", "floor", "round", "trunc", "sign"),
        *("left_shift", "right_shift", "fixed_point_multiply", "fixed_point_multiply_per_axis"),
    ]
)


def _keeps_zero(values: np.ndarray) -> np.ndarray | None:
    return values if not np.any(values) else None


def _vanishes_far_down(values: np.ndarray) -> np.ndarray | None:
    is_far = bool(np.all((values <= _FAR_DOWN) & np.isfinite(values)))
    return np.zeros_like(values) if is_far else None


# Value of a library function where it is beyond doubt, None elsewhere.
_CERTAIN: dict[str, Callable[[np.ndarray], np.ndarray | None]] = {
    **dict.fromkeys(["tanh", "erf", "atan", "sinh", "asinh"], _keeps_zero),
    **dict.fromkeys(["exp", "sigmoid"], _vanishes_far_down),
}


def find_padding(
    maps: Sequence[MonotoneMap], dtypes: Sequence[str], value: float, lowest: float | None
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
    """
    candidates = (number for number in (lowest, 0, value) if number is not None)
    return next((u for u in candidates if _gives(maps, dtypes, u, value)), None)


def _gives(maps, dtypes, candidate: float, value: float) -> bool:
    base = dtypes[-1]
    kind = object if is_integer(base) else as_float(base)
    if kind is None or not _holds(base, candidate):
        return False
    number = int(candidate) if kind is object else candidate
    narrow = np.full(ANY_RANK, number, kind)
    wide = narrow if kind is object else narrow.astype(np.float64)
    return _evaluates_to(maps, narrow, value, False) and _evaluates_to(maps, wide, value, True)


def _holds(dtype: str, number: float) -> bool:
    """True if the dtype has the number itself."""
    kind = np.dtype(dtype)
    if is_integer(dtype):
        low, high = dtype_range(dtype)
        return float(number).is_integer() and low <= number <= high
    with np.errstate(over="ignore"):
        return bool(kind.type(number) == number)


def _evaluates_to(maps, values: np.ndarray, expected: float, is_wide: bool) -> bool:
    with np.errstate(all="ignore"):
        for step in reversed(maps):
            values = _evaluate(step, values, is_wide)
            if values is None:
                return False
    return bool(np.all(np.asarray(values == expected, bool)))


def _evaluate(step: MonotoneMap, values: np.ndarray, is_wide: bool) -> np.ndarray | None:
    if step.name in _CERTAIN:
        return _CERTAIN[step.name](values)
    is_cast = step.name.startswith("cast to ")
    if step.evaluate is None or not (is_cast or step.name in _ARITHMETIC):
        return None
    if is_wide and step.name.startswith("cast to float"):
        return values.astype(np.float64)
    try:
        return np.asarray(step.evaluate(values))
    except TypeError:
        return None
