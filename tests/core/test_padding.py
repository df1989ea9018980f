"""Which number the moved steps send to a padding's value; sure as computed, or none."""

import numpy as np
import pytest

from tvm_reorder.core import library
from tvm_reorder.core.monotone import Direction, MonotoneMap
from tvm_reorder.core.padding import find_padding

LOWEST = float(np.finfo("float32").min)


def step(name, evaluate=None):
    return MonotoneMap(name, (Direction.RISING,), 0, evaluate)


RELU = step("nn.relu", lambda x: np.maximum(x, 0))
TANH = step("tanh", library.tanh)
SIGMOID = step("sigmoid", library.sigmoid)


def add(values):
    return step("add", lambda x: x + np.asarray(values, "float32"))


def scale(values):
    return step("multiply", lambda x: x * np.asarray(values, "float32"))


@pytest.mark.parametrize(
    "maps, value, expected",
    [
        ([RELU], 0.0, LOWEST),
        ([RELU], 3.0, 3.0),
        ([RELU], -3.0, None),
        ([TANH], 0.0, 0),
        ([TANH], 0.5, None),
        ([SIGMOID], 0.0, LOWEST),
        ([SIGMOID], 0.5, 0),  # exp(0) is 1 everywhere
        ([SIGMOID], 0.25, None),
        ([RELU, add([[1.0], [-1.0]])], 0.0, LOWEST),
        ([add([[1.0], [-1.0]])], 0.0, None),
        ([add(0.1), scale(0.1)], float(np.float32(0.1)), 0),
        # 0.1 * 0.1 + 0.1 depends on whether the product is rounded.
        ([add(0.1), scale(0.1), add(0.1)], float(np.float32(0.1) * np.float32(0.1)), None),
        ([step("my.swoosh", library.approximate(lambda x: np.maximum(x, 0), True))], 0.0, None),
        ([step("add")], 0.0, None),
    ],
)
def test_float32(maps, value, expected):
    found = find_padding(maps, ["float32"] * (len(maps) + 1), value, LOWEST)
    assert found == expected and (found is None) == (expected is None)


@pytest.mark.parametrize(
    "base, lowest, value, expected",
    [
        ("int8", -128, 0.0, -128),
        ("uint8", 0, 0.0, 0),
        ("uint8", 0, 0.5, None),
        ("float16", -65504.0, 70000.0, None),  # float16 has no such number
        ("bfloat16", None, 0.0, None),
        ("float16", -65504.0, 2**31 - 1, None),
        ("float32", LOWEST, 2**31 - 1, None),
        ("float32", LOWEST, 2**31 - 2**7, 2**31 - 2**7),
        ("float64", float(np.finfo("float64").min), 2**53 + 1, None),
    ],
)
def test_other_dtypes(base, lowest, value, expected):
    assert find_padding([RELU], [base, base], value, lowest) == expected
