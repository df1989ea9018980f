"""Targets and functions of the certifier's tests."""

from __future__ import annotations

import numpy as np
from tvm import relay
from tvm.target import Target

from tvm_reorder.certify.expressions import ScalarFunction, make_function, make_variable
from tvm_reorder.certify.floats import FORMATS

PLAIN = Target("llvm")


def function(make, dtype: str = "float16") -> ScalarFunction:
    """The function that `make` gives for a variable and a maker of constants."""
    variable = make_variable(dtype)
    return make_function(make(variable, lambda value: relay.const(value, dtype)), variable)


def with_a_step_down(dtype: str) -> ScalarFunction:
    """x up to 1, x - 0.5 above."""
    return function(
        lambda x, c: relay.where(relay.greater(x, c(1.0)), relay.subtract(x, c(0.5)), x), dtype
    )


def places_between(low: float, high: float) -> tuple[int, int]:
    """Places of float32 from `low` up to `high`, both included."""
    kind = FORMATS["float32"]
    keys = kind.keys(np.array([low, high], np.float32).view(np.uint32))
    ends = [int(key) + kind.infinity + (key >= 0) for key in keys]
    return ends[0], ends[1] + 1
