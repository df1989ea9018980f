"""Networks that relay.transform.ToMixedPrecision has made: equal to stock, or refused in words."""

import numpy as np
import pytest
from tvm import relay

from tvm_reorder import Reason, Status

from .networks import assert_same_results, constant, conv2d, image, max_pool, module

RNG = np.random.default_rng(13)


def mixed(activation, dtype):
    """conv -> bias -> activation -> pool in mixed precision, its result as float32."""
    data = relay.nn.bias_add(conv2d(image()), constant([1, -2, 3, 0.5]))
    mod = module(max_pool(activation(data)))
    mod = relay.transform.InferType()(relay.transform.ToMixedPrecision(dtype)(mod))
    result = mod["main"].body
    if str(result.checked_type.dtype) != "float32":  # numpy has no bfloat16 to compare
        result = result.astype("float32")
    return module(result)


def pictures():
    # Sums overflow in float16, to one infinity each: two would make a NaN.
    extremes = RNG.choice([0, 1e-8, -1e-8, 6e3, -6e3], (1, 3, 8, 8))
    return [RNG.normal(size=(1, 3, 8, 8)).astype("float32") * 3, extremes.astype("float32")]


MOVES = {
    "float16": {
        "relu": (relay.nn.relu, ("add", "nn.relu")),
        "sigmoid": (relay.sigmoid, ("add", "sigmoid")),
        # exp is on the list of what stays in float32: a cast comes before it.
        "exp": (relay.exp, ("add", "cast to float32", "exp")),
        "leaky_relu": (lambda x: relay.nn.leaky_relu(x, 0.1), ("add", "nn.leaky_relu")),
    },
    # The bias stays, and so does the cast before exp.
    "bfloat16": {"relu": (relay.nn.relu, ("nn.relu",)), "exp": (relay.exp, ("exp",))},
}


@pytest.mark.parametrize(
    "dtype, name", [(dtype, name) for dtype, names in MOVES.items() for name in names]
)
def test_results_are_equal(dtype, name):
    activation, chain = MOVES[dtype][name]
    picture, _ = pictures()
    (site,) = assert_same_results(mixed(activation, dtype), {"x": picture}).sites
    assert site.status is Status.EXCHANGED, site.explanation
    assert site.chain == chain


@pytest.mark.parametrize("dtype", MOVES)
def test_extremes(dtype):
    _, extremes = pictures()
    with np.errstate(all="ignore"):
        (site,) = assert_same_results(mixed(relay.nn.relu, dtype), {"x": extremes}).sites
    assert site.status is Status.EXCHANGED


def test_a_bfloat16_kernel_rounds_only_where_it_ends():
    picture, _ = pictures()
    (site,) = assert_same_results(mixed(relay.sigmoid, "bfloat16"), {"x": picture}).sites
    assert site.status is Status.REFUSED and site.refusal.reason is Reason.UNPROVEN


COMPOSITES = {
    "square": lambda x: x * x,
    "abs": lambda x: relay.maximum(x, relay.negative(x)),
    "sum": lambda x: x + relay.nn.relu(x),
    "shrink": lambda x: relay.where(relay.greater(x, relay.ones_like(x)), x, relay.zeros_like(x)),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_nor_is_a_composite_rounded_where_it_stands(name):
    """In the pool's kernel the sigmoid would read what no kernel has rounded."""
    x = relay.nn.relu(image().astype("bfloat16"))
    pooled = relay.sigmoid(max_pool(COMPOSITES[name](x)))
    picture, _ = pictures()
    (site,) = assert_same_results(module(pooled.astype("float32")), {"x": picture}).sites
    assert site.status is Status.REFUSED


def test_a_pool_reads_wider_values_behind_a_cast():
    """The exchange moves it to float16: half the bytes, so nothing speaks of more."""
    picture, _ = pictures()
    (site,) = assert_same_results(
        mixed(relay.exp, "float16"), {"x": picture}, decision="auto"
    ).sites
    assert site.workload.widening == 0.5 and site.decision.basis != "bytes"
