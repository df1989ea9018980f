"""Constants of the steps: which numbers, of which shape, and known or not when compiling.

``{"values": [...], "shape": "channel", "as": "constant"}``; alone, a list of values or a number
will do.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
from tvm import relay

from ..value import Value, is_float, is_integer
from .kind import Maker

# Primes, thirds and tenths: products, quotients and sums of them are rounded.
NUMBERS = (0.0, 0.5, 1.0, 2.0, -1.0, -0.5, 0.1, 1 / 3, 0.7, 1.3, 3.7, 7.0, 13.0, 41.0, 1 / 41)
NUMBERS += (-1 / 3, -7.0, 0.2, 0.6, 1e-3, 1e3)
# At the ends of dtypes: subnormals, overflow, a zero with a sign.
WILD = (-0.0, 1e-40, -1e-40, 1e-45, 5e-324, 1e-6, 65504.0, 3e38, -3e38, 1e300)
_MOST_BFLOAT16 = (2 - 2.0**-7) * 2.0**127
WHOLE_WILD = (127, -128, 255, -32768, 65535, 2**31 - 1, -(2**31))

# shape -> the letters of the axes along which the constant has the tensor's extents; None for no
# axes at all.
SHAPES: dict[str, str | None] = {
    "scalar": None,
    "one": "",
    "channel": "Cc",
    "short": "Cc",  # as "channel", but without the axes of extent 1 before it, as in [C, 1, 1]
    "batch": "N",
    "plane": "NCc",
    "full": "NCcDHW",  # of the tensor's size, but the same all along a window
    "varying": "NCcDHW",
    "row": "W",
    "column": "H",
}
_SHAPE_WEIGHTS = {"scalar": 9, "one": 2, "channel": 8, "short": 2, "batch": 1, "plane": 2}
_SHAPE_WEIGHTS |= {"full": 2, "varying": 1, "row": 1, "column": 1}
# How it is given: see `_give`.
FORMS = {
    "constant": 12,
    "input": 1,
    "unfolded": 1,
    "filled": 1,
    "computed": 1,
    "shared": 1,
    "squared": 1,
}


def draw_number(random: Random, dtype: str) -> float:
    """A number for values of a dtype."""
    if is_integer(dtype):
        return random.choice(WHOLE_WILD) if random.random() < 0.03 else random.randint(-9, 9)
    if random.random() < 0.2:
        return round(random.gauss(0, 2), 6)
    return random.choice(WILD if random.random() < 0.06 else NUMBERS)


def draw_constant(random: Random, dtype: str) -> dict:
    """A constant with numbers of any sign."""
    (shape,) = random.choices(list(_SHAPE_WEIGHTS), list(_SHAPE_WEIGHTS.values()))
    (form,) = random.choices(list(FORMS), list(FORMS.values()))
    count = 1 if shape in ("scalar", "one") else random.choice((1, 2, 4, 4, 4, 8))
    drawn = {"values": [draw_number(random, dtype) for _ in range(count)]}
    drawn |= {} if shape == "scalar" else {"shape": shape}
    return drawn | ({} if form == "constant" else {"as": form})


def draw_scale(random: Random, dtype: str) -> dict:
    """A constant with numbers mostly of one sign; now and then of both, and 0."""
    drawn = draw_constant(random, dtype)
    if random.random() < 0.3:
        return drawn
    return drawn | {"values": [abs(value) for value in drawn["values"]]}


def draw_slopes(random: Random, dtype: str) -> list[float]:
    """One slope, or one for each channel."""
    values = draw_scale(random, dtype)["values"]
    mixed = [value * random.choice((1, 1, -1)) for value in values]
    return mixed if random.random() < 0.4 else values


def make_array(
    values, dtype: str, legal: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """Numbers in a dtype: those that it cannot hold become its largest and lowest."""
    array = np.atleast_1d(np.asarray(values, np.float64))
    if dtype == "bool":
        return array != 0
    kind = np.dtype("float32" if dtype == "bfloat16" else dtype)
    if is_integer(dtype):
        limits = np.iinfo(kind)
        numbers = [min(max(int(each), limits.min), limits.max) for each in array.ravel()]
        array = np.array(numbers, kind).reshape(array.shape)
    else:
        most = _MOST_BFLOAT16 if dtype == "bfloat16" else np.finfo(kind).max
        array = np.clip(array, -most, most).astype(kind)
    return array if legal is None else legal(array)


def make_scalar(number: float, dtype: str) -> relay.Expr:
    """A constant without axes."""
    return as_constant(make_array(number, dtype)[0], dtype)


def as_constant(array: np.ndarray, dtype: str) -> relay.Expr:
    """An array as a constant; numpy has no bfloat16."""
    if dtype == "bfloat16":
        return relay.const(array, "float32").astype(dtype)
    return relay.const(array, dtype)


def make_constant(
    maker: Maker,
    value: Value,
    given: dict | list | float,
    legal: Callable[[np.ndarray], np.ndarray] | None = None,
) -> relay.Expr:
    """What a step's constant is next to the value that the step takes.

    Parameters
    ----------
    maker : Maker
        For the input that it may be.
    value : Value
        What the step takes.
    given : dict, list or float
        The constant.
    legal : callable, optional
        Makes an operator's forbidden numbers, such as a divisor of 0, others.
    """
    given = given if isinstance(given, dict) else {"values": given}
    name = given.get("shape", "scalar")
    array = make_array(given["values"], value.dtype, legal)
    if SHAPES[name] is None:
        return _give(maker, array.ravel()[:1].reshape(()), given, value.dtype)
    pairs = list(zip(value.axes, value.shape))
    # As long as the constant repeats along an axis of its own it is constant along the others.
    own = [extent if letter in "NCc" else 1 for letter, extent in pairs]
    if name in ("varying", "row", "column"):
        own = [extent for _, extent in pairs]
    own = [extent if letter in SHAPES[name] else 1 for letter, extent in zip(value.axes, own)]
    array = np.resize(array, own)
    if name == "full":
        array = np.broadcast_to(array, value.shape)
    if name == "short":
        first = next((n for n, extent in enumerate(own) if extent > 1), len(own) - 1)
        array = array.reshape(own[first:])
    return _give(maker, np.ascontiguousarray(array), given, value.dtype)


def _give(maker: Maker, array: np.ndarray, given: dict, dtype: str) -> relay.Expr:
    """The constant as such, as one that other steps have too, or as what is computed.

    That is an input of the graph, a product and a sum of two, the square of an integer, which may
    wrap, or a call that nobody has folded yet.
    """
    form = given.get("as", "constant")
    if form == "input":
        return maker.add_input(array.shape, dtype)
    if form == "computed" and is_float(dtype):
        factor, addend = (maker.add_input(array.shape, dtype) for _ in range(2))
        return relay.add(relay.multiply(factor, as_constant(array, dtype)), addend)
    if form == "squared" and is_float(dtype):
        whole = maker.add_input(array.shape, "int32")
        return relay.multiply(whole, whole).astype(dtype)
    if form == "shared":
        return maker.share(array, dtype)
    if form == "filled":
        return fill(array, dtype)
    if form == "unfolded" and array.ndim:
        return relay.reshape(as_constant(array.ravel(), dtype), array.shape)
    return as_constant(array, dtype)


def fill(array: np.ndarray, dtype: str) -> relay.Expr:
    """An array of one number all over, its first, as the operator that makes it."""
    first = array.ravel()[0]
    if dtype != "bfloat16" and first in (0, 1):
        return (relay.ones if first else relay.zeros)(array.shape, dtype)
    return relay.full(as_constant(first, dtype), array.shape, dtype)


def repeat(values, count: int) -> list:
    """A list, or one number, as often as need be."""
    listed = values if isinstance(values, list) else [values]
    return [listed[n % len(listed)] for n in range(count)]


def is_known(dtype: str) -> bool:
    """True for the dtypes that numpy has too."""
    return is_float(dtype) and dtype != "bfloat16"
