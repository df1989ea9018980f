"""Explicit padding between activation and pool: pad(f(x), f(u)) = f(pad(x, u))."""

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
    conv_net,
    image,
    max_pool,
    module,
    only_site,
)

RNG = np.random.default_rng(5)
ONE = ((0, 0), (0, 0), (1, 1), (1, 1))
WIDE = ((0, 0), (0, 0), (3, 0), (0, 3))  # some windows see nothing but padding
LOWEST = float(np.finfo("float32").min)


def padded(activation, value=0.0, widths=ONE, mode="constant", size=2, **pool):
    def pad(x):
        return relay.nn.pad(activation(x), widths, value, pad_mode=mode)

    return conv_net(pad, size=size, **pool)


def draw():
    return {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32") * 3}


def biased(activation):
    return lambda x: activation(x + channels_first([1, -2, 3, 0.5]))


CASES = {
    "relu": (relay.nn.relu, 0.0, LOWEST),
    "relu behind a bias": (biased(relay.nn.relu), 0.0, LOWEST),
    "relu6 from above": (lambda x: relay.clip(x, 0, 6), 6.0, 6.0),
    "clip": (lambda x: relay.clip(x, -1, 1), -1.0, LOWEST),
    "tanh": (relay.tanh, 0.0, 0.0),
    "erf": (relay.erf, 0.0, 0.0),
    "sigmoid": (relay.sigmoid, 0.0, LOWEST),
    "exp": (relay.exp, 0.0, LOWEST),
    "sigmoid at 0": (relay.sigmoid, 0.5, 0.0),
    "sigmoid behind a bias": (biased(relay.sigmoid), 0.0, LOWEST),
    "leaky_relu": (lambda x: relay.nn.leaky_relu(x, 0.1), 0.0, 0.0),
    "prelu": (lambda x: relay.nn.prelu(x, constant([0.1, 0, 0.5, 2])), 0.0, 0.0),
    "scale": (lambda x: relay.nn.relu(x) * channels_first([2, 0.5, 0.1, 1]), 0.0, LOWEST),
    "a cast": (lambda x: relay.nn.relu(x).astype("float16"), 0.0, LOWEST),
}


def find_pad_value(mod) -> float:
    """What the exchanged module pads with."""
    exchanged, _ = tvm_reorder.reorder(mod, decision="exchange")
    found = []
    relay.analysis.post_order_visit(exchanged["main"], found.append)
    pad = relay.op.get("nn.pad")
    (call,) = (e for e in found if isinstance(e, relay.Call) and e.op == pad)
    return float(call.args[1].data.numpy())


QUICK = ["relu behind a bias", "relu6 from above", "tanh", "sigmoid behind a bias", "exp", "prelu"]
ALL = [pytest.param(n, marks=() if n in QUICK else pytest.mark.full) for n in CASES]


@pytest.mark.parametrize("name", ALL)
def test_a_value_that_the_steps_give(name):
    activation, value, expected = CASES[name]
    mod = padded(activation, value)
    (site,) = assert_same_results(mod, draw()).sites
    assert site.status is Status.EXCHANGED, site.explanation
    assert find_pad_value(mod) == expected


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_windows_of_nothing_but_such_padding(name):
    activation, value, _ = CASES[name]
    (site,) = assert_same_results(padded(activation, value, WIDE), draw()).sites
    assert site.status is Status.EXCHANGED


def test_the_pool_may_pad_too():
    mod = padded(relay.tanh, 0.0, size=3, padding=(1, 1))
    assert assert_same_results(mod, draw()).sites[0].status is Status.EXCHANGED
    (site,) = assert_same_results(padded(relay.tanh, 0.0, padding=(2, 2)), draw()).sites
    assert site.refusal.reason is Reason.PADDING_ONLY_WINDOW


@pytest.mark.parametrize("mode", ["edge", "reflect"])
def test_what_repeats_values_commutes_with_every_step(mode):
    mod = padded(biased(relay.tanh), mode=mode)
    (site,) = assert_same_results(mod, draw()).sites
    assert site.status is Status.EXCHANGED and site.chain == ("add", "tanh")


@pytest.mark.parametrize(
    "activation, value",
    [
        (relay.nn.relu, -1.0),  # nothing gives it
        (relay.sigmoid, 0.25),
        (relay.exp, 0.25),
        (relay.tanh, 0.1),
        (lambda x: relay.clip(x, 0.3, 2), 0.1),
    ],
)
def test_a_value_that_nobody_knows_how_to_get(activation, value):
    site = only_site(padded(activation, value))
    assert site.status is Status.REFUSED
    assert site.refusal.reason is Reason.PADDING_VALUE, site.explanation
    assert f"{value:g}, which" in site.explanation


@pytest.mark.parametrize("activation", [relay.tanh, lambda x: relay.nn.leaky_relu(x, 0.1)])
def test_a_bias_that_no_number_undoes_on_every_channel_stays(activation):
    (site,) = assert_same_results(padded(biased(activation)), draw()).sites
    assert site.status is Status.EXCHANGED and len(site.chain) == 1
    assert site.refusal.reason is Reason.PADDING_VALUE


def test_only_what_keeps_the_padding_moves():
    mod = padded(lambda x: relay.nn.relu(relay.tanh(x) + relay.const(0.25)), 0.25)
    site = only_site(mod)
    assert site.chain == ("tanh", "add", "nn.relu")
    assert_same_results(mod, draw())


def test_evaluations_are_of_the_values_that_are_there():
    """4x4 values padded to 6x6: sixteen windows save nothing."""
    data = relay.nn.relu(conv2d(image(size=4)))
    site = only_site(module(max_pool(relay.nn.pad(data, ONE, 0.0), 3, 1)))
    assert site.refusal.reason is Reason.NO_SAVING
    assert "64 against 64" in site.explanation


def test_padding_of_channels_is_none_of_the_pools():
    mod = padded(relay.nn.relu, 0.0, ((0, 0), (1, 1), (0, 0), (0, 0)))
    assert only_site(mod).refusal.reason is Reason.UNKNOWN_OPERATOR


def test_integers():
    data = conv2d(image(dtype="int8"), dtype="int8", out_dtype="int32")
    active = relay.clip(relay.nn.relu(data), 0, 127).astype("int8")
    mod = module(max_pool(relay.nn.pad(active, ONE, 0)))
    inputs = {"x": RNG.integers(-128, 128, (1, 3, 8, 8)).astype("int8")}
    (site,) = assert_same_results(mod, inputs).sites
    assert site.status is Status.EXCHANGED and "cast to int8" in site.chain
    assert find_pad_value(mod) == np.iinfo("int32").min


def test_it_is_fused_where_the_lowest_value_gives_it():
    relu, tanh = (only_site(padded(f), decision="fuse") for f in (relay.nn.relu, relay.tanh))
    assert relu.status is Status.FUSED
    assert tanh.status is Status.EXCHANGED
    assert "the padding before the pool is data to it" in tanh.decision.note
    assert_same_results(padded(relay.nn.relu), draw(), decision="fuse")
    wide = only_site(padded(relay.nn.relu, widths=WIDE), decision="fuse")
    assert wide.status is Status.EXCHANGED
    assert_same_results(padded(relay.nn.relu, widths=WIDE), draw(), decision="fuse")


def test_running_twice_changes_nothing():
    once, _ = tvm_reorder.reorder(padded(relay.tanh), decision="exchange")
    twice, report = tvm_reorder.reorder(once, decision="exchange")
    assert tvm.ir.structural_equal(once, twice)
    assert report.sites[0].refusal.reason is Reason.NO_ACTIVATION


def test_a_clip_whose_bounds_are_crossed_gives_its_lower_one():
    padded = relay.nn.pad(relay.clip(conv2d(image()), 6.0, 0.0), ((0, 0),) * 2 + ((3, 3),) * 2, 0.0)
    report = assert_same_results(module(max_pool(padded)), {"x": np.ones((1, 3, 8, 8), "float32")})
    assert report.sites[0].refusal.reason is Reason.PADDING_VALUE


def floor_of_quotient(divisor, addend):
    def activation(x):
        return relay.floor(x / relay.const(np.float32(divisor))) + relay.const(np.float32(addend))

    return activation


UNSURE = {
    # TVM computes 41 * (1 / 41), which is below 1.
    "floor of a quotient": (floor_of_quotient(41.0, 40.0), 41.0),
    "floor of another": (floor_of_quotient(47.0, 46.0), 47.0),
    "a step of a quotient": (
        lambda x: relay.nn.relu(x / relay.const(np.float32(97.0)) + relay.const(np.float32(-1.0))),
        97.0,
    ),
    "a quotient by channel": (
        lambda x: relay.ceil(x / channels_first([41, 47, 55, 61])) * channels_first([1, 1, 1, 1]),
        1.0,
    ),
    "contracted or not": (
        lambda x: relay.floor(x * relay.const(np.float32(0.1)) + relay.const(np.float32(0.9))),
        1.0,
    ),
    "an attribute": (lambda x: relay.clip(x, 0.1, 0.7), 0.1),
    "a slope": (lambda x: relay.nn.leaky_relu(x, 1 / 3) + relay.const(np.float32(1)), 1.0),
}


@pytest.mark.parametrize("name", UNSURE)
def test_results_are_equal_whatever_pads(name):
    activation, value = UNSURE[name]
    mod = padded(activation, value, WIDE)
    report = assert_same_results(mod, draw())
    if "quotient" in name and "channel" not in name:
        assert report.sites[0].refusal.reason is Reason.PADDING_VALUE


def test_a_padding_value_that_would_wrap_on_the_way_is_none():
    """-10^9 * 10737 wraps; the convolution's own values do not come near."""
    data = conv2d(image(dtype="int8"), dtype="int8", out_dtype="int32")
    floor, scale = (relay.const(number, "int32") for number in (-(10**9), 10737))
    active = relay.clip(relay.maximum(data, floor) * scale, -(10**9), 100)
    inputs = {"x": RNG.integers(-128, 128, (1, 3, 8, 8)).astype("int8")}
    chains = {}
    for value in (-(10**9), 0):
        mod = module(max_pool(relay.nn.pad(active, WIDE, relay.const(value, "int32"))))
        (site,) = assert_same_results(mod, inputs).sites
        assert site.status is Status.EXCHANGED, site.explanation
        chains[value] = site.chain
    assert "multiply" in chains[0] and "multiply" not in chains[-(10**9)]
