"""A product and a sum: what LLVM contracts stays together, and nothing new comes to stand there."""

import numpy as np
import pytest
from tvm import relay

from tvm_reorder import Reason, Status

from .networks import assert_same_results, conv2d, image, max_pool, module

RNG = np.random.default_rng(5)
PASSES = {
    "negative": relay.negative,
    "copy": relay.copy,
    "times -1": lambda x: x * number(-1),
    "over -1": lambda x: x / number(-1),
    "to the power of 1": lambda x: relay.power(x, number(1)),
    "leaky_relu of slope 1": lambda x: relay.nn.leaky_relu(x, 1.0),
}


def number(value):
    return relay.const(np.float32(value))


def scaled(size=32):
    return relay.tanh(conv2d(image(size))) * number(1.7)


def draw(size=32):
    return {"x": RNG.normal(size=(1, 3, size, size)).astype("float32")}


@pytest.mark.parametrize("step", PASSES.values(), ids=PASSES)
def test_a_sum_behind_the_pool_is_seen_through_what_passes_products_on(step):
    report = assert_same_results(module(step(max_pool(scaled())) + number(0.3)), draw())
    assert report.sites[0].refusal.reason is Reason.CONTRACTION


@pytest.mark.parametrize("move", [lambda x: relay.reshape(x, (1, 4, 64, 16)), lambda x: x])
@pytest.mark.parametrize("step", PASSES.values(), ids=PASSES)
def test_a_sum_above_the_pool_is_seen_so_too(step, move):
    report = assert_same_results(module(max_pool(step(move(scaled())) + number(0.3))), draw())
    (site,) = report.sites
    assert site.status is Status.REFUSED or "multiply" in site.chain


def test_a_square_is_a_product():
    square = relay.power(conv2d(image(32)), number(2))
    narrow = {"pool_size": (2, 2), "strides": (2, 1), "padding": (1, 1)}  # not at both ends
    mod = module(relay.nn.max_pool2d(square + number(0.3), **narrow))
    report = assert_same_results(mod, draw())
    assert report.sites[0].status is Status.REFUSED  # the sum does not move without the square
    (site,) = assert_same_results(module(max_pool(square - number(3.3))), draw()).sites
    assert site.status is Status.REFUSED  # LLVM may contract them or not
    padded = relay.nn.pad(relay.nn.relu(square), ((0, 0),) * 2 + ((1, 1),) * 2, 0.0)
    # Below ReLU the padding of 0 is the lowest value, as the pool's own, so all of it moves.
    (site,) = assert_same_results(module(max_pool(padded)), draw()).sites
    assert site.chain == ("power", "nn.relu") and site.ends.is_both


def test_a_step_that_is_no_product_moves_in_front_of_a_sum():
    mod = module(relay.nn.relu(max_pool(relay.tanh(conv2d(image(32))))) + number(0.3))
    assert assert_same_results(mod, draw()).sites[0].status is Status.EXCHANGED


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 8, 8)])
@pytest.mark.parametrize("is_one", [True, False])
@pytest.mark.parametrize("cancel", [lambda x, c, d: (x + c) - d, lambda x, c, d: c - (x + d)])
def test_what_is_taken_away_again_is_one_buffer_or_two(shape, is_one, cancel):
    """A constant of full size is shrunk for each step: (x + c) - c would be rounded twice then."""
    values = np.broadcast_to(np.reshape([8, 100, 3.3, 1e3], (4, 1, 1)), shape).astype("float32")
    first = relay.const(values)
    second = first if is_one else relay.const(values)
    x = relay.var("x", shape=(1, 4, 8, 8))
    data = {"x": RNG.normal(size=(1, 4, 8, 8)).astype("float32")}
    (site,) = assert_same_results(module(max_pool(cancel(x, first, second))), data).sites
    if is_one and shape != (4, 1, 1):
        assert site.refusal.reason is Reason.SHARED, site.explanation
