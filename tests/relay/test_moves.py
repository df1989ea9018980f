"""Operators between activation and pool that only move values."""

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status

from .networks import (
    assert_same_results,
    channels_first,
    constant,
    conv2d,
    image,
    max_pool,
    module,
    only_site,
)

RNG = np.random.default_rng(9)


def draw():
    return {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32") * 3}


def uniform(x):
    """Steps that treat all values alike."""
    return relay.clip(relay.tanh(x + relay.const(0.25)), -0.5, 0.75)


def to_channels_last(x, activation=uniform):
    moved = relay.layout_transform(activation(x), "NCHW", "NHWC")
    return max_pool(moved, layout="NHWC")


def blocked(x, activation=uniform):
    moved = relay.layout_transform(activation(x), "NCHW", "NCHW4c")
    return max_pool(moved, layout="NCHW4c")


def transposed(x, activation=uniform):
    return max_pool(relay.transpose(activation(x), [0, 1, 3, 2]))


def reshaped(x, activation=uniform):
    return max_pool(relay.reshape(activation(x), [2, 2, 4, 16]))


def through_another_rank(x, activation=uniform):
    lines = relay.reshape(activation(x), [1, 4, 64])
    return relay.nn.max_pool1d(lines, pool_size=4, strides=4)


def squeezed(x, activation=uniform):
    apart = relay.expand_dims(activation(x), 1)
    return max_pool(relay.squeeze(apart, [1]))


def reversed_rows(x, activation=uniform):
    return max_pool(relay.reverse(activation(x), 2))


QUICK = [to_channels_last, reshaped, through_another_rank]
RARE = [blocked, transposed, squeezed, reversed_rows]


@pytest.mark.parametrize("make", [*QUICK, *(pytest.param(m, marks=pytest.mark.full) for m in RARE)])
def test_results_are_equal(make):
    (site,) = assert_same_results(module(make(conv2d(image()))), draw()).sites
    assert site.status is Status.EXCHANGED, site.explanation
    assert site.chain == ("add", "tanh", "clip")
    assert site.evaluations_before == 4 * site.evaluations_after


def test_steps_on_both_sides():
    """Per channel below the moves, the same for all above them."""

    def make(x):
        moved = relay.layout_transform(relay.tanh(x), "NCHW", "NHWC")
        biased = relay.nn.relu(moved + constant(np.reshape([1, -2, 3, 0], (1, 1, 1, 4))))
        return max_pool(biased, layout="NHWC")

    mod = module(make(conv2d(image())))
    (site,) = assert_same_results(mod, draw()).sites
    assert site.chain == ("tanh", "add", "nn.relu")
    exchanged, _ = tvm_reorder.reorder(mod, decision="exchange")
    text = exchanged["main"].astext(show_meta_data=False)
    order = [text.index(name) for name in ("conv2d", "layout_transform", "max_pool2d", "tanh")]
    assert order == sorted(order)
    twice, report = tvm_reorder.reorder(exchanged, decision="exchange")
    assert tvm.ir.structural_equal(exchanged, twice)
    assert report.sites[0].refusal.reason is Reason.NO_ACTIVATION


PER_CHANNEL = [
    lambda x: x + channels_first([1, -2, 3, 0]),
    lambda x: relay.nn.prelu(x, constant([0.1, 0, 0.5, 2])),
    lambda x: relay.nn.bias_add(x, constant([1, -2, 3, 0])),
]


@pytest.mark.parametrize("step", PER_CHANNEL)
@pytest.mark.parametrize("make", [to_channels_last, reshaped])
def test_a_constant_per_channel_moves_along(make, step):
    mod = module(make(conv2d(image()), lambda x: relay.tanh(step(x))))
    (site,) = assert_same_results(mod, draw()).sites
    assert site.status is Status.EXCHANGED and len(site.chain) == 2


@pytest.mark.parametrize("make", [to_channels_last, reshaped])
def test_a_constant_that_varies_inside_the_window_stays_above_the_move(make):
    def step(x):
        return relay.maximum(x, constant(np.zeros((1, 4, 8, 8)) + np.arange(8)))

    site = only_site(module(make(conv2d(image()), lambda x: relay.tanh(step(x)))))
    assert site.status is Status.EXCHANGED and site.chain == ("tanh",)
    assert site.refusal.reason is Reason.VARIES_IN_WINDOW
    alone = only_site(module(make(conv2d(image()), step)))
    assert alone.status is Status.REFUSED
    assert alone.refusal.reason is Reason.VARIES_IN_WINDOW


def test_an_operand_of_more_axes_than_the_pool_reads():
    lines = relay.reshape(conv2d(image()) + constant(np.full((1, 1, 1, 1), 0.5)), [1, 4, 64])
    mod = module(relay.nn.max_pool1d(lines, pool_size=4, strides=4))
    (site,) = assert_same_results(mod, draw()).sites
    assert site.status is Status.EXCHANGED


def test_a_sum_and_a_product_across_a_move():
    """TVM may or may not round them together; neither goes past the pool without the other."""
    scaled = relay.tanh(conv2d(image())) * relay.const(0.3)
    moved = relay.reshape(scaled, [2, 2, 4, 16])
    site = only_site(module(max_pool(moved + relay.const(0.1))))
    assert site.status is Status.REFUSED and site.refusal.reason is Reason.CONTRACTION


def test_a_product_that_would_meet_a_sum_behind_the_pool():
    scaled = relay.tanh(conv2d(image())) * relay.const(0.3)
    pooled = max_pool(relay.transpose(scaled, [0, 1, 3, 2]))
    site = only_site(module(pooled + relay.var("r", shape=(1, 4, 4, 4))))
    assert site.refusal.reason is Reason.CONTRACTION


def test_a_moved_value_that_others_want():
    moved = relay.transpose(relay.tanh(conv2d(image())), [0, 1, 3, 2])
    site = only_site(module(relay.Tuple([max_pool(moved), moved])))
    assert site.refusal.reason is Reason.FUNCTION_OUTPUT
    site = only_site(module(relay.nn.batch_flatten(max_pool(moved)) + relay.sum(moved)))
    assert site.refusal.reason is Reason.SHARED


def test_a_block_that_is_filled_up_is_no_move():
    data = relay.sigmoid(conv2d(image(), channels=3))
    try:
        filled = module(max_pool(relay.layout_transform(data, "NCHW", "NCHW4c"), layout="NCHW4c"))
    except Exception:
        pytest.skip("TVM fills up no blocks here")
    assert only_site(filled).status is Status.REFUSED


def test_nothing_but_a_move():
    site = only_site(module(to_channels_last(conv2d(image()), lambda x: x)))
    assert site.refusal.reason is Reason.NO_ACTIVATION


def test_dropout_is_gone_before_the_pass_runs():
    dropped = relay.nn.dropout(relay.tanh(conv2d(image())))
    (site,) = assert_same_results(module(max_pool(dropped)), draw()).sites
    assert site.status is Status.EXCHANGED and site.chain == ("tanh",)


def test_copies_and_stops_of_fusion_move():
    stopped = relay.annotation.stop_fusion(relay.copy(relay.tanh(conv2d(image()))))
    (site,) = assert_same_results(module(max_pool(stopped)), draw()).sites
    assert site.chain == ("tanh",)  # neither computes anything


def test_fusing_is_refused_in_words():
    site = only_site(module(to_channels_last(conv2d(image()))), decision="fuse")
    assert site.status is Status.EXCHANGED and site.decision.note
