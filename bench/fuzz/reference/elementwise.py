"""Operators that compute each value of its own operands, from their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from tvm import relay

from .bounds import LIBRARY, Bounds, anything, corners, error_of, exact, hull, join_open, settle

Operator = Callable[..., Bounds]
_FAST_ERROR = 1e-5  # what TVM's own tests grant fast_exp, fast_tanh and fast_erf, relative and not
_ERF_ERROR = 1e-7
_FAST_END = 88.0  # beyond it fast_exp stays where it is, or is infinite a little before exp is


def dtype_of(expr: relay.Expr) -> str:
    """Dtype of a typed expression."""
    return str(expr.checked_type.dtype)


def shape_of(expr: relay.Expr) -> tuple[int, ...]:
    """Shape of a typed expression."""
    return tuple(int(extent) for extent in expr.checked_type.shape)


def moving(function, rises: bool = True, ulps: float = LIBRARY) -> Operator:
    """A function of one argument that rises, or falls."""

    def compute(call: relay.Call, x: Bounds) -> Bounds:
        with np.errstate(all="ignore"):
            ends = function(x.low), function(x.high)
        low, high = ends if rises else ends[::-1]
        return settle(low, high, dtype_of(call), ulps)

    return compute


def even(function, ulps: float) -> Operator:
    """A function that falls up to 0 and rises from there."""

    def compute(call: relay.Call, x: Bounds) -> Bounds:
        nearest = np.where((x.low <= 0) & (x.high >= 0), 0, np.minimum(abs(x.low), abs(x.high)))
        with np.errstate(all="ignore"):
            low, high = function(nearest), function(np.maximum(abs(x.low), abs(x.high)))
        return settle(low, high, dtype_of(call), ulps)

    return compute


def waving(function) -> Operator:
    """Sine and cosine, which move by no more than their argument does."""

    def compute(call: relay.Call, x: Bounds) -> Bounds:
        with np.errstate(all="ignore"):
            middle, reach = (x.low + x.high) / 2, (x.high - x.low) / 2
            value = function(middle)
            low, high = np.maximum(value - reach, -1), np.minimum(value + reach, 1)
        return settle(low, high, dtype_of(call), LIBRARY)

    return compute


def fast(function, exact_function: Operator) -> Operator:
    """FastMath's polynomial for float32; other dtypes get the function itself.

    But for erf: in float64 it is the polynomial, too, and in float16 that is off by hundredths and
    left open.
    """

    def compute(call: relay.Call, x: Bounds) -> Bounds:
        dtype, is_erf = dtype_of(call), call.op.name.endswith("erf")
        if dtype == "float16" and is_erf:
            return anything(x.shape)
        if dtype != "float32" and not (dtype == "float64" and is_erf):
            return exact_function(call, x)
        with np.errstate(all="ignore"):
            low, high = (function(np.stack(_as_fast(end))) for end in (x.low, x.high))
            low, high = low.min(axis=0), high.max(axis=0)
            low, high = low - abs(low) * _FAST_ERROR, high + abs(high) * _FAST_ERROR
        return settle(low, high, dtype, LIBRARY, _FAST_ERROR)

    return compute


def _as_fast(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """What a polynomial may take x for: beyond its range it stays or is infinite."""
    return x, np.clip(x, -_FAST_END, _FAST_END), np.where(np.abs(x) > _FAST_END, x * np.inf, x)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _round(x: np.ndarray) -> np.ndarray:
    """Halves away from 0."""
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0)


def _complement(call: relay.Call, x: Bounds) -> Bounds:
    dtype = dtype_of(call)
    top = float(np.iinfo(dtype).max) if dtype.startswith("uint") else -1.0
    return settle(top - x.high, top - x.low, dtype)


# --- arithmetic ----------------------------------------------------------------------------------


def add(dtype: str, x: Bounds, y: Bounds) -> Bounds:
    """x + y."""
    with np.errstate(all="ignore"):
        return settle(x.low + y.low, x.high + y.high, dtype)


def subtract(dtype: str, x: Bounds, y: Bounds) -> Bounds:
    """x - y."""
    return add(dtype, x, Bounds(-y.high, -y.low))


def multiply(dtype: str, x: Bounds, y: Bounds) -> Bounds:
    """x * y."""
    return settle(*corners(np.multiply, x, y), dtype)


def divide(dtype: str, x: Bounds, y: Bounds) -> Bounds:
    """x / y, towards 0 for whole numbers; TVM may multiply by 1 / y instead."""
    with np.errstate(all="ignore"):
        low, high = corners(np.divide, x, y)
    if dtype.startswith(("int", "uint")):
        low, high = np.trunc(low), np.trunc(high)
    return settle(low, high, dtype, 1.5).opened((y.low <= 0) & (y.high >= 0))


def _power(call: relay.Call, x: Bounds, y: Bounds) -> Bounds:
    dtype = dtype_of(call)
    result = settle(*corners(np.power, x, y), dtype, LIBRARY)
    known = np.broadcast_to(y.low, result.shape), np.broadcast_to(y.high, result.shape)
    is_whole = (known[0] == known[1]) & (known[0] == np.trunc(known[0]))
    passes = np.broadcast_to((x.low < 0) & (x.high > 0), result.shape)
    is_even = is_whole & (np.abs(known[0]) % 2 == 0) & (known[0] > 0)
    low = np.where(passes & is_even, 0, result.low)
    unclear = np.broadcast_to(x.low <= 0, result.shape) & ~(is_whole & (known[0] > 0))
    return Bounds(low, result.high).opened(unclear)


def _shift(sign: int, call: relay.Call, x: Bounds, y: Bounds) -> Bounds:
    """x * 2^y, or that rounded down for a shift to the right."""
    low, high = corners(lambda a, s: np.floor(a * 2.0 ** (sign * s)), x, y)
    return settle(low, high, dtype_of(call))


def larger(dtype: str, x: Bounds, y: Bounds) -> Bounds:
    """The larger one."""
    return Bounds(np.maximum(x.low, y.low), np.maximum(x.high, y.high))


def smaller(dtype: str, x: Bounds, y: Bounds) -> Bounds:
    """The smaller one."""
    return Bounds(np.minimum(x.low, y.low), np.minimum(x.high, y.high))


def arithmetic(function: Callable[[str, Bounds, Bounds], Bounds]) -> Operator:
    """An operator of two arguments from its function."""
    return lambda call, x, y: function(dtype_of(call), x, y)


def _clip(call: relay.Call, x: Bounds) -> Bounds:
    """Between its bounds as the dtype holds them; one of the two if they are crossed."""
    dtype, bounds = dtype_of(call), (float(call.attrs.a_min), float(call.attrs.a_max))
    is_exact = dtype.startswith(("int", "uint", "float64"))
    least, most = (exact(b) if is_exact else settle(b, b, dtype) for b in bounds)
    if bounds[0] > bounds[1]:
        return hull(least, most).moved(lambda end: np.broadcast_to(end, x.shape))
    return Bounds(
        np.minimum(np.maximum(x.low, least.low), most.low),
        np.minimum(np.maximum(x.high, least.high), most.high),
    )


def _relu(call: relay.Call, x: Bounds) -> Bounds:
    return Bounds(np.maximum(x.low, 0), np.maximum(x.high, 0))


def bend(dtype: str, x: Bounds, slope: Bounds) -> Bounds:
    """x above 0, and x times the slope from there down."""
    above = Bounds(np.maximum(x.low, 0), np.maximum(x.high, 0))
    below = multiply(dtype, Bounds(np.minimum(x.low, 0), np.minimum(x.high, 0)), slope)
    both = hull(above, below)
    low = np.where(x.low > 0, above.low, np.where(x.high <= 0, below.low, both.low))
    high = np.where(x.low > 0, above.high, np.where(x.high <= 0, below.high, both.high))
    return Bounds(low, high)


def _leaky(call: relay.Call, x: Bounds) -> Bounds:
    dtype = dtype_of(call)
    alpha = float(call.attrs.alpha)
    return bend(dtype, x, settle(alpha, alpha, dtype))


def along_axis(array: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """A list of numbers as numbers along one axis of a tensor."""
    shape = [1] * rank
    shape[axis % rank] = -1
    return array.reshape(shape)


def _prelu(call: relay.Call, x: Bounds, slope: Bounds) -> Bounds:
    rank = len(x.shape)
    return bend(dtype_of(call), x, slope.moved(lambda a: along_axis(a, rank, int(call.attrs.axis))))


def _bias_add(call: relay.Call, x: Bounds, bias: Bounds) -> Bounds:
    rank = len(x.shape)
    spread = bias.moved(lambda a: along_axis(a, rank, int(call.attrs.axis)))
    return join_open(add(dtype_of(call), x, spread), spread)


def _cast(call: relay.Call, x: Bounds) -> Bounds:
    """To whole numbers towards 0; what float16 makes of float64 is undefined in TVM 0.19."""
    source, target = dtype_of(call.args[0]), dtype_of(call)
    if (source, target) == ("float64", "float16"):
        return anything(x.shape)
    if target == "bool":
        touches = (x.low <= 0) & (x.high >= 0)
        return Bounds(np.where(touches, 0, 1), np.where((x.low == 0) & (x.high == 0), 0, 1))
    if not target.startswith(("float", "bfloat")):
        return settle(np.trunc(x.low), np.trunc(x.high), target)
    return settle(x.low, x.high, target)


# --- comparisons ---------------------------------------------------------------------------------


def _compare(surely, possibly) -> Operator:
    def compute(call: relay.Call, x: Bounds, y: Bounds) -> Bounds:
        low = np.asarray(surely(x, y), np.float64)
        high = np.asarray(possibly(x, y), np.float64)
        unclear = x.is_open | y.is_open
        return Bounds(np.where(unclear, 0, low), np.where(unclear, 1, high))

    return compute


def _is_point(x: Bounds, y: Bounds) -> np.ndarray:
    return (x.low == x.high) & (y.low == y.high) & (x.low == y.low)


def _meets(x: Bounds, y: Bounds) -> np.ndarray:
    return (x.low <= y.high) & (y.low <= x.high)


def _flip(bounds: Bounds) -> Bounds:
    return Bounds(1 - bounds.high, 1 - bounds.low)


def _test(is_so) -> Operator:
    """A test of one value; of values that overflow it may be true or not."""

    def compute(call: relay.Call, x: Bounds) -> Bounds:
        ends = np.asarray(is_so(x.low), np.float64), np.asarray(is_so(x.high), np.float64)
        return Bounds(
            np.where(x.is_open, 0, np.minimum(*ends)), np.where(x.is_open, 1, np.maximum(*ends))
        )

    return compute


def _where(call: relay.Call, condition: Bounds, yes: Bounds, no: Bounds) -> Bounds:
    both = hull(yes, no)
    low = np.where(condition.low > 0, yes.low, np.where(condition.high > 0, both.low, no.low))
    high = np.where(condition.low > 0, yes.high, np.where(condition.high > 0, both.high, no.high))
    return Bounds(low, high)


def _logical(function) -> Operator:
    return lambda call, x, y: Bounds(function(x.low, y.low), function(x.high, y.high))


def _tan(call: relay.Call, x: Bounds) -> Bounds:
    """As TVM computes it, from sine and cosine."""
    return divide(dtype_of(call), waving(np.sin)(call, x), waving(np.cos)(call, x))


def _hyperbolic(join, call: relay.Call, x: Bounds) -> Bounds:
    """(e^x + e^-x) / 2, or with a minus, as TVM computes it: near 0 all digits may be lost."""
    dtype = dtype_of(call)
    up, down = (moving(np.exp)(call, each) for each in (x, Bounds(-x.high, -x.low)))
    return divide(dtype, join(dtype, up, down), exact(np.asarray(2.0)))


def _sigmoid(call: relay.Call, x: Bounds) -> Bounds:
    """1 / (1 + e^-x), as TVM computes it: 0 where e^-x overflows, in float16 from -11.1 down."""
    dtype, one = dtype_of(call), exact(np.asarray(1.0))
    return divide(dtype, one, add(dtype, one, moving(np.exp)(call, Bounds(-x.high, -x.low))))


def _tanh(call: relay.Call, x: Bounds) -> Bounds:
    """(1 - e^-2x) / (1 + e^-2x), as TVM computes it: near 0 the digits of the 1 are lost."""
    dtype = dtype_of(call)
    lost = 8 * error_of(dtype)[0]
    return settle(np.tanh(x.low), np.tanh(x.high), dtype, LIBRARY, lost)


_exp = moving(np.exp)


def _erf_operator(call: relay.Call, x: Bounds) -> Bounds:
    """TVM's own is no more exact for float64 than for float32."""
    dtype = dtype_of(call)
    return settle(_erf(x.low), _erf(x.high), dtype, LIBRARY, _ERF_ERROR * (dtype == "float64"))


def _hard_swish(call: relay.Call, x: Bounds) -> Bounds:
    """x times a gate between 0 and 1, which opens from -3 to 3."""
    dtype = dtype_of(call)
    gate = Bounds(np.clip(x.low + 3, 0, 6) / 6, np.clip(x.high + 3, 0, 6) / 6)
    return multiply(dtype, x, settle(gate.low, gate.high, dtype, LIBRARY))


# What an open operand cannot but leave open is left so by `evaluate`.
ELEMENTWISE: dict[str, Operator] = {
    "nn.relu": _relu,
    **dict.fromkeys(("copy", "annotation.stop_fusion"), lambda call, x: x),
    "ceil": moving(np.ceil, ulps=0),
    "floor": moving(np.floor, ulps=0),
    "round": moving(_round, ulps=0),
    "trunc": moving(np.trunc, ulps=0),
    "sign": moving(np.sign, ulps=0),
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "exp": _exp,
    "log": moving(np.log),
    "log2": moving(np.log2),
    "log10": moving(np.log10),
    "sqrt": moving(np.sqrt),
    "hardswish": _hard_swish,  # a name of QNN's tables alone
    "rsqrt": moving(lambda x: 1 / np.sqrt(x), rises=False),
    "erf": _erf_operator,
    "atan": moving(np.arctan),
    "asin": moving(np.arcsin),
    "acos": moving(np.arccos, rises=False),
    "asinh": moving(np.arcsinh),
    "acosh": moving(np.arccosh),
    "atanh": moving(np.arctanh),
    "sinh": partial(_hyperbolic, subtract),
    "cosh": partial(_hyperbolic, add),
    "sin": waving(np.sin),
    "cos": waving(np.cos),
    "tan": _tan,
    "fast_exp": fast(np.exp, _exp),
    "fast_tanh": fast(np.tanh, _tanh),
    "fast_erf": fast(_erf, _erf_operator),
    "negative": lambda call, x: settle(-x.high, -x.low, dtype_of(call), 0),
    "bitwise_not": _complement,
    "abs": even(np.abs, 0),
    "clip": _clip,
    "nn.leaky_relu": _leaky,
    "nn.prelu": _prelu,
    "nn.bias_add": _bias_add,
    "cast": _cast,
    "cast_like": lambda call, x, like: _cast(call, x),
    "add": arithmetic(add),
    "subtract": arithmetic(subtract),
    "multiply": arithmetic(multiply),
    "divide": arithmetic(divide),
    "maximum": arithmetic(larger),
    "minimum": arithmetic(smaller),
    "power": _power,
    "left_shift": partial(_shift, 1),
    "right_shift": partial(_shift, -1),
    "equal": _compare(_is_point, _meets),
    "not_equal": lambda call, x, y: _flip(ELEMENTWISE["equal"](call, x, y)),
    "less": _compare(lambda x, y: x.high < y.low, lambda x, y: x.low < y.high),
    "less_equal": _compare(lambda x, y: x.high <= y.low, lambda x, y: x.low <= y.high),
    "greater": _compare(lambda x, y: x.low > y.high, lambda x, y: x.high > y.low),
    "greater_equal": _compare(lambda x, y: x.low >= y.high, lambda x, y: x.high >= y.low),
    "isnan": _test(np.isnan),
    "isinf": _test(np.isinf),
    "isfinite": _test(np.isfinite),
    "where": _where,
    "logical_and": _logical(np.minimum),
    "logical_or": _logical(np.maximum),
    "logical_not": lambda call, x: _flip(x),
}
