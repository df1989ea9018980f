"""Pools that follow pools: activations go past all of them in one run."""

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
)

RNG = np.random.default_rng(12)
INPUTS = {"x": RNG.normal(size=(1, 3, 16, 16)).astype("float32") * 3}


PICTURE = image(16)


def convolution(seed=0):
    return conv2d(PICTURE, seed=seed)


def biased(x):
    return relay.nn.relu(x + channels_first([1, -2, 0.5, 0]))


def two_pools(activation=biased, **options):
    return max_pool(max_pool(activation(convolution()), **options))


def read_order(mod, *names):
    """Positions of operators in the module's text, one after the other."""
    text, places = mod["main"].astext(show_meta_data=False), []
    for name in names:
        places.append(text.index(name, places[-1] + 1 if places else 0))
    return places


def assert_fixed(mod, **options):
    """One run is enough: the second one finds nothing to do."""
    options = {"decision": "exchange", **options}
    once, _ = tvm_reorder.reorder(mod, **options)
    twice, report = tvm_reorder.reorder(once, **options)
    tvm.ir.assert_structural_equal(once, twice)
    assert not report.exchanged
    return once


@pytest.mark.parametrize("pools", [2, 3])
def test_an_activation_goes_past_all_pools(pools):
    body = biased(convolution())
    for _ in range(pools):
        body = max_pool(body)
    mod = module(body)
    sites = assert_same_results(mod, INPUTS).sites
    assert [site.status for site in sites] == [Status.EXCHANGED] * pools
    assert [site.chain for site in sites] == [("add", "nn.relu")] * pools
    assert all(site.evaluations_before == 4 * site.evaluations_after for site in sites)
    assert [site.name for site in sites] == [f"max_pool2d_{k + 1}" for k in range(pools)]
    once = assert_fixed(mod)
    read_order(once, "nn.conv2d", *["nn.max_pool2d"] * pools, "add", "nn.relu")


def test_activations_between_the_pools():
    """The first pool's go past the second one behind the second one's own."""
    inner = max_pool(relay.tanh(convolution()))
    mod = module(max_pool(relay.nn.leaky_relu(inner + channels_first([3, 1, 0, -1]), 0.1)))
    first, second = assert_same_results(mod, INPUTS).sites
    assert first.chain == ("tanh",)
    assert second.chain == ("tanh", "add", "nn.leaky_relu")
    assert second.rule == "ExchangeChain"
    pooled = 4 * 8 * 8
    assert second.evaluations_before == 3 * pooled
    assert second.evaluations_after == 3 * pooled / 4
    assert_fixed(mod)


@pytest.mark.parametrize(
    "last",
    [
        lambda x: relay.max(x, axis=[2, 3]),
        lambda x: relay.max(x, axis=[2, 3], keepdims=True),
        relay.nn.global_max_pool2d,
        lambda x: relay.nn.adaptive_max_pool2d(x, (3, 3)),
        lambda x: relay.nn.max_pool2d(x, (3, 3), (2, 2), padding=(1, 1), ceil_mode=True),
    ],
)
def test_any_pool_behind_a_pool(last):
    mod = module(last(max_pool(biased(convolution()))))
    sites = assert_same_results(mod, INPUTS).sites
    assert [site.status for site in sites] == [Status.EXCHANGED] * 2
    assert_fixed(mod)


def test_a_pool_behind_a_concatenation_of_pools():
    branches = [max_pool(relay.sigmoid(convolution(seed))) for seed in range(3)]
    mod = module(max_pool(relay.concatenate(branches, axis=1)))
    sites = assert_same_results(mod, INPUTS).sites
    assert [site.status for site in sites] == [Status.EXCHANGED] * 4
    assert [site.rule for site in sites] == ["ExchangeChain"] * 3 + ["ExchangeConcatenate"]
    text = assert_fixed(mod)["main"].astext(show_meta_data=False)
    assert text.count("sigmoid(") == 1


def test_a_concatenation_behind_a_pool_behind_a_concatenation():
    def join(*values):
        return relay.concatenate([max_pool(value) for value in values], axis=1)

    parts = [relay.tanh(convolution(seed)) for seed in range(4)]
    mod = module(max_pool(join(join(*parts[:2]), join(*parts[2:]))))
    sites = assert_same_results(mod, INPUTS).sites
    assert [site.status for site in sites] == [Status.EXCHANGED] * 7
    text = assert_fixed(mod)["main"].astext(show_meta_data=False)
    assert text.count("tanh(") == 1


def test_a_move_between_the_pools():
    turned = relay.transpose(max_pool(biased(convolution())), [0, 2, 3, 1])
    mod = module(max_pool(turned, layout="NHWC"))
    sites = assert_same_results(mod, INPUTS).sites
    assert [site.status for site in sites] == [Status.EXCHANGED] * 2
    assert_fixed(mod)


def test_a_falling_activation():
    mod = module(two_pools(lambda x: relay.negative(relay.tanh(x))))
    first, second = assert_same_results(mod, INPUTS).sites
    assert first.status is second.status is Status.EXCHANGED
    assert_fixed(mod)


def test_a_valley_stops_behind_the_first_pool():
    """It is the larger of two values there, each of which has a window of its own."""
    mod = module(two_pools(lambda x: relay.abs(x + channels_first([1, 2, 0, -1]))))
    first, second = assert_same_results(mod, INPUTS).sites
    assert first.status is Status.EXCHANGED and first.ends.is_both
    assert second.status is Status.REFUSED
    assert second.refusal.reason is Reason.VARIES_IN_WINDOW
    assert_fixed(mod)


def test_what_the_first_pool_yields_is_wanted_elsewhere():
    """The second pool reads what the first one's activation gives, and so does somebody else."""
    first = max_pool(biased(convolution()))
    mod = module(relay.Tuple([first, max_pool(first)]))
    sites = assert_same_results(mod, INPUTS).sites
    assert [site.status for site in sites] == [Status.EXCHANGED, Status.REFUSED]
    assert sites[1].refusal.reason is Reason.FUNCTION_OUTPUT
    assert_fixed(mod)


def test_a_product_moves_up_once_the_sum_behind_its_pool_has_moved_on():
    """conv, *, pool, +, pool: the sum leaves first, and then it is there again, one pool on."""
    scaled = max_pool(relay.tanh(convolution()) * relay.const(0.3))
    mod = module(max_pool(relay.nn.relu(scaled + relay.const(0.2))))
    assert_same_results(mod, INPUTS)
    assert_fixed(mod)


FIRST_ALONE = (Status.EXCHANGED, Status.KEPT)
NEITHER = (Status.KEPT, Status.REFUSED)  # as long as the first one has it the second has nothing


@pytest.mark.parametrize(
    "options, statuses",
    [
        ({"skip": ["max_pool2d_1"]}, NEITHER),
        ({"skip": ["max_pool2d_2"]}, FIRST_ALONE),
        ({"only": ["max_pool2d_1"]}, FIRST_ALONE),
        ({"only": ["max_pool2d_2"]}, NEITHER),
    ],
)
def test_one_of_the_two_is_not_selected(options, statuses):
    mod = module(two_pools())
    _, report = tvm_reorder.reorder(mod, decision="exchange", **options)
    assert tuple(site.status for site in report.sites) == statuses
    (kept,) = [site for site in report.sites if site.status is Status.KEPT]
    assert kept.decision.basis == "selection"
    assert_fixed(mod, **options)


@pytest.mark.parametrize("decision", ["keep", "fuse", "auto"])
def test_decisions(decision):
    mod = module(two_pools())
    first, second = assert_same_results(mod, INPUTS, decision=decision).sites
    if decision == "keep":
        assert first.status is Status.KEPT
        assert second.status is Status.REFUSED
        assert second.refusal.reason is Reason.NO_ACTIVATION
        assert "nn.max_pool2d" in second.explanation
    if decision == "fuse":
        assert first.status is Status.FUSED and second.status is Status.EXCHANGED
    assert_fixed(mod, decision=decision)


def test_the_first_pool_is_fused_with_its_convolution():
    mod = module(two_pools(relay.tanh))
    first, second = assert_same_results(mod, INPUTS, decision="fuse").sites
    assert first.status is Status.FUSED and first.chain == ("tanh",)
    assert second.status is Status.EXCHANGED and second.chain == ("tanh",)
    changed, _ = tvm_reorder.reorder(mod, decision="fuse")
    read_order(changed, "contrib.conv2d_max_pool2d", "nn.max_pool2d", "tanh")


def test_inspecting_says_the_same_and_leaves_the_module():
    mod = module(two_pools())
    stock, report = tvm_reorder.reorder(mod, decision="exchange", write=False)
    assert [site.status for site in report.sites] == [Status.EXCHANGEABLE] * 2
    kept, _ = tvm_reorder.reorder(mod, decision="keep")
    tvm.ir.assert_structural_equal(stock, kept)


def test_a_licence_for_drops_counts_once_a_site():
    """Softsign strays by 2 ulp; what has moved past the second pool before may amplify that."""

    def softsign(x):
        return x / (relay.const(1.0) + relay.abs(x))

    inner = max_pool(softsign(convolution()))
    mod = module(max_pool(relay.exp(inner)))
    _, report = tvm_reorder.reorder(mod, decision="exchange", licence="ulp:2")
    assert [site.chain for site in report.sites] == [("softsign",), ("exp",)]
    alone = module(two_pools(softsign))
    _, report = tvm_reorder.reorder(alone, decision="exchange", licence="ulp:2")
    assert [site.chain for site in report.sites] == [("softsign",), ("softsign",)]


@pytest.mark.parametrize("opt_level", [0, 1, 2, 3, 4])
def test_at_every_level(opt_level):
    config = tvm_reorder.ReorderConfig(opt_level=0, decision="exchange")
    mod = module(two_pools())
    report = assert_same_results(mod, INPUTS, opt_level=opt_level, config=config)
    assert len(report.exchanged) == 2


def test_integers():
    x = image(16, dtype="int8")
    data = conv2d(x, dtype="int8", out_dtype="int32")
    pooled = max_pool(max_pool(relay.clip(data + constant(7, "int32"), -100, 100)))
    inputs = {"x": RNG.integers(-128, 128, (1, 3, 16, 16)).astype("int8")}
    sites = assert_same_results(module(pooled), inputs).sites
    assert [site.status for site in sites] == [Status.EXCHANGED] * 2
