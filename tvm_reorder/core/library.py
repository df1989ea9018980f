"""Library functions as TVM computes them, of NumPy arrays and of enclosures.

What is known
    * A function of the C library is as near to its value as `_SLACK` says, and exact at the points
      named here, which every library has: exp(0) = 1, log(1) = 0, and where a result saturates.
    * tanh, sigmoid, sinh, cosh and rsqrt are formulas of exp and sqrt in TVM (``intrin_rule.cc``,
      ``intrin_rule_llvm.cc``): near 0 tanh and sinh are off by 6e-8, not by some ulp.
    * FastMath's polynomials are off by `_FAST`: fast_erf of float16 gives 1.04 for 1.  fast_exp is
      infinite from 88.38 on, where exp is 2.4e38.

``tests/core/test_arithmetic.py`` holds each against compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .enclosure import FLOATS, Enclosure, at_ends, choose, round_to

_SLACK = {"float16": 2.0**-7, "float32": 2.0**-12, "float64": 2.0**-12}
_FAST = 2.0**-4
_FAR = 1000.0  # exp over- or underflows from here on, in float64 too
_FLAT = 2.0**70  # atan is pi / 2, rounded, from here on
_INF = np.inf

Point = tuple[float, float, float]  # from where, to where, what the function gives there


@dataclass(frozen=True)
class Library:
    """A function that goes one way on its domain.

    Parameters
    ----------
    function : callable
        Its values as NumPy computes them.
    points : tuple of Point
        Where its value is certain.
    low, high : float
        Between which all results lie.
    domain : pair of float
        Outside it there is no number.
    falls : bool
        True if it falls.
    slack : float or None
        By which share of its value, and of 1 if it is given, a result may be off.
    """

    function: Callable[[np.ndarray], np.ndarray]
    points: tuple[Point, ...] = ()
    low: float = -_INF
    high: float = _INF
    domain: tuple[float, float] = (-_INF, _INF)
    falls: bool = False
    slack: float | None = None

    def __call__(self, x):
        """The function of an array or an enclosure."""
        if not isinstance(x, Enclosure):
            return self.function(x)
        if x.dtype not in FLOATS:
            raise TypeError(f"{x.dtype} is not followed")
        first, last = self.domain
        outside = (x.low < first) | (x.high > last)
        nowhere = (x.high < first) | (x.low > last) | np.isnan(x.low)
        ends = [self._bound(np.clip(end, first, last), x.dtype) for end in (x.low, x.high)]
        (low, _), (_, high) = reversed(ends) if self.falls else ends
        low, high = (np.where(nowhere, np.nan, end) for end in (low, high))
        return Enclosure(low, high, x.dtype, x.nan | outside)

    def _bound(self, x: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest that may come of one argument."""
        with np.errstate(all="ignore"):
            value = np.asarray(self.function(x), np.float64)
            tiny, top = (float(getattr(np.finfo(dtype), name)) for name in ("tiny", "max"))
            room = np.abs(value) * (self.slack or _SLACK[dtype]) + (self.slack or tiny)
            room = np.where(np.isinf(value), 0, room)
            low, high = value - room, value + room
        # Beyond the largest number it has overflowed, or just not yet; at infinity it is infinite.
        over, under = np.isfinite(x) & (low > top), np.isfinite(x) & (high < -top)
        low, high = np.where(over, top, low), np.where(under, -top, high)
        low, high = np.where(low < -top, -_INF, low), np.where(high > top, _INF, high)
        low, high = np.clip(low, self.low, self.high), np.clip(high, self.low, self.high)
        for start, stop, known in self.points:
            before, behind = (x >= start, x <= stop) if self.falls else (x <= stop, x >= start)
            low, high = (
                np.where(behind, np.maximum(low, known), low),
                np.where(before, np.minimum(high, known), high),
            )
        return np.minimum(low, round_to(low, dtype)), np.maximum(high, round_to(high, dtype))


def _at(x: float, value: float) -> Point:
    return x, x, value


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


_LOG_POINTS = (_at(0, -_INF), _at(1, 0), _at(_INF, _INF))
_ROOT_POINTS = (_at(0, 0), _at(1, 1), _at(_INF, _INF))
_UP_TO, _FROM = (-_INF, -_FAR), (_FAR, _INF)
_POSITIVE, _UNIT = (0.0, _INF), (-1.0, 1.0)

exp = Library(np.exp, ((*_UP_TO, 0), _at(0, 1), (*_FROM, _INF)), low=0)
log = Library(np.log, _LOG_POINTS, domain=_POSITIVE)
log2 = Library(np.log2, _LOG_POINTS, domain=_POSITIVE)
log10 = Library(np.log10, _LOG_POINTS, domain=_POSITIVE)
sqrt = Library(np.sqrt, _ROOT_POINTS, low=0, domain=_POSITIVE)
erf = Library(_erf, ((*_UP_TO, -1), _at(0, 0), (*_FROM, 1)), -1, 1)
atan = Library(np.arctan, ((-_INF, -_FLAT, -np.pi / 2), _at(0, 0), (_FLAT, _INF, np.pi / 2)))
asinh = Library(np.arcsinh, (_at(0, 0), _at(-_INF, -_INF), _at(_INF, _INF)))
asin = Library(np.arcsin, (_at(0, 0),), domain=_UNIT)
acos = Library(np.arccos, (_at(1, 0),), low=0, domain=_UNIT, falls=True)
acosh = Library(np.arccosh, (_at(1, 0), _at(_INF, _INF)), low=0, domain=(1.0, _INF))
atanh = Library(np.arctanh, (_at(0, 0), _at(-1, -_INF), _at(1, _INF)), domain=_UNIT)

fast_exp = Library(np.exp, low=0, slack=1.0)
fast_tanh = Library(np.tanh, slack=_FAST)
fast_erf = Library(_erf, slack=_FAST)


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1 / (1 + exp(-x))


def rsqrt(x):
    """1 / sqrt(x)."""
    return 1 / sqrt(x)


def tanh(x):
    """(1 - e) / (1 + e) with e = exp(-2x) from 0 upwards, and the same with exp(2x) below."""
    if not isinstance(x, Enclosure):
        return np.tanh(x)
    low, high = (_tanh_at(replace(x, low=end, high=end)) for end in (x.low, x.high))
    return Enclosure(np.maximum(low.low, -1), np.minimum(high.high, 1), x.dtype, x.nan)


def _tanh_at(x: Enclosure) -> Enclosure:
    e = exp(-2 * np.absolute(x))
    size = (1 - e) / (1 + e)
    return choose(x >= 0, size, -size)


def sinh(x):
    """(exp(x) - exp(-x)) / 2."""
    return (exp(x) - exp(-x)) / 2


def cosh(x):
    """(exp(x) + exp(-x)) / 2."""
    size = np.absolute(x)
    return (exp(size) + exp(-size)) / 2


def _wave(function: np.ufunc) -> Callable:
    """A sine or cosine: anything from -1 to 1."""

    def evaluate(x):
        if not isinstance(x, Enclosure):
            return function(x)
        size = np.ones(x.low.shape)
        return Enclosure(-size, size, x.dtype, x.nan | ~np.isfinite(x.low) | ~np.isfinite(x.high))

    return evaluate


sin, cos = _wave(np.sin), _wave(np.cos)


def tan(x):
    """sin(x) / cos(x)."""
    return sin(x) / cos(x) if isinstance(x, Enclosure) else np.tan(x)


def power(x, exponent: np.ndarray):
    """x to a constant power; of enclosures what follows from the ends from 0 upwards."""
    if not isinstance(x, Enclosure):
        return np.power(x, exponent)
    exponent = np.asarray(exponent, np.float64)
    rises = Library(lambda v: np.power(v, exponent), (_at(0, 0), _at(1, 1)), 0, domain=_POSITIVE)
    if not np.all(exponent > 0):
        raise TypeError("a power that does not rise from 0 upwards is not followed")
    size = rises(np.absolute(x))
    if np.all(exponent % 2 == 0):
        return size
    below = -size if np.all(exponent % 2 == 1) else replace(size, nan=np.array(True))
    return choose(x >= 0, rises(np.maximum(x, 0)), below)


def _round(x: np.ndarray) -> np.ndarray:
    whole = np.trunc(x)
    return whole + np.copysign(np.abs(x - whole) >= 0.5, x)


round_half_away = at_ends(_round)


def approximate(function: Callable, is_monotone: bool) -> Callable:
    """A function of which only NumPy's values are known, not what TVM computes."""
    library = Library(function)

    def evaluate(x):
        if not isinstance(x, Enclosure):
            return function(x)
        if not is_monotone and not np.array_equal(x.low, x.high):
            raise TypeError("a function that turns is not followed over an interval")
        ends = [library._bound(end, x.dtype) for end in (x.low, x.high)]
        low, high = np.minimum(*(e[0] for e in ends)), np.maximum(*(e[1] for e in ends))
        return Enclosure(low, high, x.dtype, x.nan | np.isnan(low) | np.isnan(high))

    return evaluate
