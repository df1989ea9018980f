"""What TVM may compute: intervals that hold a step's result in every way TVM may compute it.

Identity
    f(x) lies in [low, high], element by element, where x lies in the interval that f was given.

Which ways there are
    * A result may be rounded to its dtype, or not, because the next step is in the same kernel: a
      product goes into a sum unrounded as one fused multiply-add, float16 may be computed in
      float32.
    * x / c is x / c where c is an operand, and x * r with r = 1 / c, rounded, where c is a number.
    * x * 0 is 0 where TVM sees the zero: for infinite x too.
    * A number from an attribute is a double, rounded to the dtype.

Why a bound holds for all of them
    Every step here is monotone in each operand on every side of 0, in every one of these ways, so
    the ends of an interval go to ends.  An end is the outermost of what the ways give, in float64
    moved outwards by one unit where float64 has rounded, and rounding to a dtype is monotone.

What follows
    An interval of one number says what TVM computes, for certain.  A wider one says that it
    depends, and nobody may go by any single number in it.

A map (``MonotoneMap.evaluate``) is an ordinary function of NumPy arrays; called with an
`Enclosure` it gives one.  Integers are Python's own, which do not wrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

FLOATS = frozenset(["float16", "float32", "float64"])


def is_integer(dtype: str) -> bool:
    """True for the signed and unsigned integers."""
    return dtype.startswith(("int", "uint"))


def round_to(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float64 numbers rounded to a dtype, as float64."""
    with np.errstate(all="ignore"):
        return values.astype(dtype).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Enclosure(NDArrayOperatorsMixin):
    """Intervals of the values that a computation may give.

    Parameters
    ----------
    low, high : numpy.ndarray
        Their ends: float64, or Python integers where the dtype is one.  Both NaN where the result
        is NaN for certain.
    dtype : str
        Dtype of the values.
    nan : numpy.ndarray or bool
        True where the result may also be NaN.
    """

    low: np.ndarray
    high: np.ndarray
    dtype: str
    nan: np.ndarray | bool = False

    @property
    def is_certain(self) -> np.ndarray:
        """True where there is one value, and it is a number."""
        return np.asarray((self.low == self.high) & ~np.asarray(self.nan, bool), bool)

    def stored(self) -> Enclosure:
        """The values as memory holds them, rounded to their dtype."""
        if self.dtype not in FLOATS:
            return self
        low, high = (round_to(end, self.dtype) for end in (self.low, self.high))
        return replace(self, low=low, high=high)

    def astype(self, dtype: str) -> Enclosure:
        """A cast; towards zero where it is to an integer."""
        dtype = str(np.dtype(dtype))
        if dtype == "bool":
            return self != 0
        if is_integer(dtype):
            if np.any(self.nan):
                return Enclosure(np.array(-np.inf, object), np.array(np.inf, object), dtype)
            low, high = (truncate(end) for end in (self.low, self.high))
            return Enclosure(low, high, dtype)
        if self.dtype in FLOATS or self.dtype == "bool":
            return _rounded(self.low, self.high, dtype, self.nan)
        return _rounded(*(_as_float(end, side) for end, side in _sides(self)), dtype, self.nan)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        rule = _RULES.get(ufunc)
        if rule is None or method != "__call__" or options:
            return NotImplemented
        with np.errstate(all="ignore"):
            return rule(*map(self._like, inputs))

    def _like(self, value) -> Enclosure:
        """An operand: what is Python's own number is an attribute, rounded to the dtype."""
        if isinstance(value, Enclosure):
            return value
        if type(value) in (int, float) and self.dtype in FLOATS:
            value = round_to(np.float64(value), self.dtype)
        return enclose(value, self.dtype)


def enclose(values, dtype: str, high=None) -> Enclosure:
    """The enclosure of certain values, or of everything between `values` and `high`.

    Raises
    ------
    TypeError
        If the dtype is none that is followed here.
    """
    if not is_integer(dtype) and dtype not in FLOATS:
        raise TypeError(f"{dtype} is not followed")
    kind = object if is_integer(dtype) else np.float64
    low = np.asarray(values).astype(kind)
    high = low if high is None else np.asarray(high).astype(kind)
    nan = False if kind is object else np.isnan(low)
    return Enclosure(low, high, dtype, nan)


def truncate(values: np.ndarray) -> np.ndarray:
    """Numbers as Python integers, towards zero as a cast does; infinities stay."""
    return np.frompyfunc(lambda v: int(v) if np.isfinite(float(v)) else v, 1, 1)(values)


def cast(x, dtype: str):
    """A cast, of arrays and of enclosures."""
    if isinstance(x, Enclosure) or not is_integer(dtype):
        return x.astype(dtype)
    return truncate(x)


def at_ends(function: Callable) -> Callable:
    """A function that gives exact results and goes one way, for enclosures as well."""

    def evaluate(x):
        if not isinstance(x, Enclosure):
            return function(x)
        return span([function(x.low), function(x.high)], x)

    return evaluate


def span(ends: Sequence[np.ndarray], of: Enclosure) -> Enclosure:
    """What lies between the least and the greatest of some ends, or NaN if `of` may be."""
    ends = [np.asarray(end) for end in ends]
    return Enclosure(np.minimum(*ends), np.maximum(*ends), of.dtype, of.nan)


def choose(condition, first, second):
    """``np.where``, for enclosures as well: both where the condition is not certain."""
    if not isinstance(condition, Enclosure):
        if not any(isinstance(side, Enclosure) for side in (first, second)):
            return np.where(condition, first, second)
        truth = np.asarray(condition).astype(object)
        condition = Enclosure(truth, truth, "bool", False)
    known = [side.dtype for side in (first, second) if isinstance(side, Enclosure)]
    dtype = known[0] if known else str(np.result_type(first, second))
    first, second = (
        side if isinstance(side, Enclosure) else enclose(side, dtype) for side in (first, second)
    )
    always, never = condition.low == 1, condition.high == 0
    low = np.where(never, second.low, np.where(always, first.low, _lower(first.low, second.low)))
    high = np.where(
        never, second.high, np.where(always, first.high, _upper(first.high, second.high))
    )
    nan = np.where(never, second.nan, np.where(always, first.nan, first.nan | second.nan))
    return Enclosure(low, high, first.dtype, nan)


def where_positive(x, positive: Callable, negative: Callable):
    """One function above 0 and another from 0 downwards, each of which sees its own side only."""
    if not isinstance(x, Enclosure):
        return np.where(x > 0, positive(x), negative(x))
    return choose(x > 0, positive(np.maximum(x, 0)), negative(np.minimum(x, 0)))


_lower, _upper = np.minimum, np.maximum


def _sides(x: Enclosure):
    return (x.low, -np.inf), (x.high, np.inf)


def _as_float(integers: np.ndarray, side: float) -> np.ndarray:
    """Python integers as float64, moved to the side where that has rounded."""
    values = np.asarray(integers, object).astype(np.float64)
    exact = np.frompyfunc(lambda n, v: not np.isfinite(v) or int(v) == n, 2, 1)(integers, values)
    return np.where(np.asarray(exact, bool), values, np.nextafter(values, side))


def _rounded(low: np.ndarray, high: np.ndarray, dtype: str, nan) -> Enclosure:
    """Results that may be rounded to the dtype, or not."""
    return Enclosure(
        np.minimum(low, round_to(low, dtype)), np.maximum(high, round_to(high, dtype)), dtype, nan
    )


def _corners(operation, is_exact, corners, x: Enclosure, nan, for_nan: float = np.nan) -> Enclosure:
    """The hull of an operation at some pairs of ends; `for_nan` where two numbers give none."""
    lows, highs = [], []
    for left, right in corners:
        value = operation(left, right)
        exact = is_exact(left, right, value) | np.isnan(value)
        nan = nan | np.isnan(value)
        value = np.where(np.isnan(value) & ~np.isnan(left) & ~np.isnan(right), for_nan, value)
        lows.append(np.where(exact, value, np.nextafter(value, -np.inf)))
        highs.append(np.where(exact, value, np.nextafter(value, np.inf)))
    return _rounded(np.fmin.reduce(lows), np.fmax.reduce(highs), x.dtype, nan)


def _has_single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) == values


def _is_trivial(left, right) -> np.ndarray:
    return (left == 0) | ~np.isfinite(left) | ~np.isfinite(right)


def _is_exact_sum(left, right, value) -> np.ndarray:
    part = value - left  # Knuth's two-sum: what float64 has lost
    lost = (left - (value - part)) + (right - part)
    return (lost == 0) | ~np.isfinite(left) | ~np.isfinite(right)


def _is_exact_product(left, right, value) -> np.ndarray:
    """Two numbers of 24 bits have a product of 48; float64 holds 53."""
    short = _has_single(left) & _has_single(right)
    scaled = _is_scaled(left, value) | _is_scaled(right, value)
    return short | scaled | _is_trivial(left, right) | _is_trivial(right, left)


def _is_scaled(factor, value) -> np.ndarray:
    """A power of two changes the exponent alone, short of overflow and underflow."""
    is_normal = np.isfinite(value) & (np.abs(value) >= np.finfo(np.float64).tiny)
    return is_normal & (np.abs(np.frexp(factor)[0]) == 0.5)


def _is_exact_quotient(left, right, value) -> np.ndarray:
    is_short = _has_single(value) & _has_single(right)
    return is_short & (value * right == left) | _is_trivial(left, right)


def _add(x: Enclosure, y: Enclosure) -> Enclosure:
    if is_integer(x.dtype):
        return Enclosure(x.low + y.low, x.high + y.high, x.dtype)
    clash = (x.low == -np.inf) & (y.high == np.inf) | (x.high == np.inf) & (y.low == -np.inf)
    corners = [(x.low, y.low), (x.high, y.high)]
    return _corners(np.add, _is_exact_sum, corners, x, x.nan | y.nan | clash)


def _negative(x: Enclosure) -> Enclosure:
    return replace(x, low=-x.high, high=-x.low)


def _subtract(x: Enclosure, y: Enclosure) -> Enclosure:
    return _add(x, _negative(y))


def _pairs(x: Enclosure, y: Enclosure):
    return [(left, right) for left in (x.low, x.high) for right in (y.low, y.high)]


def _has(x: Enclosure, value: float) -> np.ndarray:
    return (x.low <= value) & (value <= x.high)


def _is_unbounded(x: Enclosure) -> np.ndarray:
    return (x.low == -np.inf) | (x.high == np.inf)


def _multiply(x: Enclosure, y: Enclosure) -> Enclosure:
    if is_integer(x.dtype):
        ends = [left * right for left, right in _pairs(x, y)]
        return Enclosure(np.minimum.reduce(ends), np.maximum.reduce(ends), x.dtype)
    clash = _has(x, 0) & _is_unbounded(y) | _has(y, 0) & _is_unbounded(x)
    nan = x.nan | y.nan | clash
    return _corners(np.multiply, _is_exact_product, _pairs(x, y), x, nan, for_nan=0.0)


def _divide(x: Enclosure, y: Enclosure) -> Enclosure:
    if is_integer(x.dtype):
        return _divide_integers(x, y)
    if np.any(_has(y, 0)):
        everywhere = np.full(np.broadcast_shapes(x.low.shape, y.low.shape), np.inf)
        return Enclosure(-everywhere, everywhere, x.dtype, everywhere > 0)
    nan = x.nan | y.nan | (_is_unbounded(x) & _is_unbounded(y))
    quotient = _corners(np.divide, _is_exact_quotient, _pairs(x, y), x, nan)
    if not np.all(y.low == y.high):
        return quotient
    one = np.ones_like(y.low)
    inverse = _corners(np.divide, _is_exact_quotient, [(one, y.low)], x, y.nan)
    product = _multiply(x, inverse)
    low, high = _lower(quotient.low, product.low), _upper(quotient.high, product.high)
    return Enclosure(low, high, x.dtype, quotient.nan | product.nan)


def _divide_integers(x: Enclosure, y: Enclosure) -> Enclosure:
    """Towards zero."""
    if np.any(_has(y, 0)):
        raise TypeError("a division by zero is not followed")
    ends = [_QUOTIENT(left, right) for left, right in _pairs(x, y)]
    return Enclosure(np.minimum.reduce(ends), np.maximum.reduce(ends), x.dtype)


def _quotient(left, right):
    if not np.isfinite(float(left)):
        return left if right > 0 else -left
    return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)


_QUOTIENT = np.frompyfunc(_quotient, 2, 1)


def _maximum(x: Enclosure, y: Enclosure) -> Enclosure:
    return Enclosure(_upper(x.low, y.low), _upper(x.high, y.high), x.dtype, x.nan | y.nan)


def _minimum(x: Enclosure, y: Enclosure) -> Enclosure:
    return Enclosure(_lower(x.low, y.low), _lower(x.high, y.high), x.dtype, x.nan | y.nan)


def _absolute(x: Enclosure) -> Enclosure:
    low = np.maximum(np.maximum(x.low, -x.high), 0)
    return replace(x, low=low, high=np.maximum(-x.low, x.high))


def _square(x: Enclosure) -> Enclosure:
    size = _absolute(x)
    return _multiply(size, size)


def _truth(low, high, x: Enclosure, y: Enclosure) -> Enclosure:
    """0 for false, 1 for true; either for a NaN."""
    nan = np.asarray(x.nan | y.nan, bool)
    return Enclosure((low & ~nan).astype(float), (high | nan).astype(float), "bool")


def _greater(x: Enclosure, y: Enclosure) -> Enclosure:
    return _truth(x.low > y.high, x.high > y.low, x, y)


def _greater_equal(x: Enclosure, y: Enclosure) -> Enclosure:
    return _truth(x.low >= y.high, x.high >= y.low, x, y)


def _equal(x: Enclosure, y: Enclosure) -> Enclosure:
    alike = (x.low == x.high) & (y.low == y.high) & (x.low == y.low)
    return _truth(alike, (x.low <= y.high) & (y.low <= x.high), x, y)


def _not_equal(x: Enclosure, y: Enclosure) -> Enclosure:
    same = _equal(x, y)
    return Enclosure(1 - same.high, 1 - same.low, "bool")


def _at_ends_of(ufunc: np.ufunc) -> Callable:
    return lambda x, *others: span(
        [ufunc(end, *(other.low for other in others)) for end in (x.low, x.high)], x
    )


_RULES: dict[np.ufunc, Callable[..., Enclosure]] = {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.divide: _divide,
    np.negative: _negative,
    np.absolute: _absolute,
    np.square: _square,
    np.maximum: _maximum,
    np.minimum: _minimum,
    np.greater: _greater,
    np.greater_equal: _greater_equal,
    np.less: lambda x, y: _greater(y, x),
    np.less_equal: lambda x, y: _greater_equal(y, x),
    np.equal: _equal,
    np.not_equal: _not_equal,
    np.logical_and: _minimum,
    np.logical_or: _maximum,
    np.logical_not: lambda x: Enclosure(1 - x.high, 1 - x.low, "bool"),
    **{
        ufunc: _at_ends_of(ufunc)
        for ufunc in (
            np.floor,
            np.ceil,
            np.trunc,
            np.sign,
            np.invert,
            np.left_shift,
            np.right_shift,
        )
    },
}
