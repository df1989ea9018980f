"""Intervals of values along a chain: no step may leave its dtype, however it is reached."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core import enclosure
from tvm_reorder.core.intervals import follow_interval
from tvm_reorder.core.monotone import Direction, MonotoneMap

RISING = (Direction.RISING,)


def first_wrapping_link(*arguments):
    return follow_interval(*arguments)[1]


def step(name, evaluate, directions=RISING):
    return MonotoneMap(name, directions, 0, evaluate)


def cast(dtype):
    return step(f"cast to {dtype}", lambda x: enclosure.cast(x, dtype))


def clip(low, high):
    return step("clip", lambda x: np.maximum(np.minimum(x, high), low))


def scale(factor):
    return step("multiply", lambda x: x * np.float32(factor))


@pytest.mark.parametrize(
    "maps, dtypes, interval, expected",
    [
        ([cast("int8")], ["int8", "int32"], (-128, 127), None),
        ([cast("int8")], ["int8", "int32"], (-128, 128), 0),
        ([cast("int8")], ["int8", "int32"], None, 0),
        ([cast("int8"), clip(-128, 127)], ["int8", "int32", "int32"], None, None),
        ([cast("uint8"), clip(0, 255)], ["uint8", "float32", "float32"], None, None),
        ([cast("uint8"), clip(0, 256)], ["uint8", "float32", "float32"], None, 0),
        ([cast("int32")], ["int32", "float32"], None, 0),
        ([cast("int32"), scale(0.5), cast("float32")], ["int32", "float32", "float32", "int32"],
         None, None),
        ([cast("int32"), scale(1), cast("float32")], ["int32", "float32", "float32", "int32"],
         None, 0),
        ([cast("int32"), cast("float32")], ["int32", "float32", "int16"], None, None),
        ([cast("int8"), clip(0, 9)], ["int8", "bfloat16", "bfloat16"], None, 0),
        ([clip(0, 1), cast("int8")], ["int8", "int8", "int32"], None, 1),
    ],
)  # fmt: skip
def test_the_step_nearest_to_the_pool(maps, dtypes, interval, expected):
    assert first_wrapping_link(maps, dtypes, interval) == expected


def test_an_interval_that_its_own_dtype_cannot_hold_has_wrapped():
    assert first_wrapping_link([clip(0, 1)], ["int32", "int32"], (-(2**40), 2**40)) is None
    assert first_wrapping_link([cast("int16")], ["int16", "int32"], (-(2**40), 2**40)) == 0


def test_what_cannot_be_followed_may_be_anything():
    unknown, foreign = step("add", None), step("my.swoosh", np.cbrt)
    for link in (unknown, foreign):
        assert first_wrapping_link([cast("int8"), link], ["int8", "int32", "int32"], (0, 1)) == 0


@pytest.mark.parametrize("interval, expected", [((0, 1), None), ((-127, 1), None), ((-128, 1), 0)])
def test_a_valley_is_followed_too(interval, expected):
    valley = step("abs", np.abs, (Direction.VALLEY,))
    dtypes = ["int8", "int32", "int32"]
    assert first_wrapping_link([cast("int8"), valley], dtypes, interval) == expected


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**20),
    st.floats(2**-20, 4, width=32),
    st.floats(-1000, 1000, width=32),
)
def test_no_value_of_the_interval_leaves_it(low, width, factor, shift):
    """Whether a product and a sum are rounded once or twice."""
    high = min(low + width, 2**31 - 1)
    factor, shift = np.float32(factor), np.float32(shift)
    maps = [cast("int32"), step("add", lambda x: x + shift), scale(factor), cast("float32")]
    dtypes = ["int32", "float32", "float32", "float32", "int32"]
    if first_wrapping_link(maps, dtypes, (low, high)) is not None:
        return
    for value in (low, high, (low + high) // 2):
        single = np.float32(value)
        twice = np.float32(np.float32(single * factor) + shift)
        once = np.float32(np.float64(single) * np.float64(factor) + np.float64(shift))
        assert all(-(2**31) <= float(v) < 2**31 for v in (once, twice))
