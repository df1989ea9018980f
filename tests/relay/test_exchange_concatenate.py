"""Activations under a concatenation."""

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
    kernels,
    max_pool,
    module,
    only_site,
)

RNG = np.random.default_rng(3)


def fire(first, second, axis=1, layout="NCHW"):
    """Two convolutions, an activation on each, joined and pooled."""
    x = image(layout=layout)
    branches = [
        first(conv2d(x, layout=layout)),
        second(conv2d(x, channels=6, seed=1, layout=layout)),
    ]
    return max_pool(relay.concatenate(branches, axis=axis), size=3, padding=(1, 1), layout=layout)


def with_bias(values, activation=relay.nn.relu):
    return lambda x: activation(x + channels_first(values))


def inputs(layout="NCHW"):
    shape = (1, 3, 8, 8) if layout == "NCHW" else (1, 8, 8, 3)
    return {"x": RNG.normal(size=shape).astype("float32")}


@pytest.mark.parametrize("activation", [relay.nn.relu, relay.sigmoid, relay.tanh])
def test_the_activation_goes_past_concatenation_and_pool(activation):
    mod = module(fire(activation, activation))
    report = assert_same_results(mod, inputs())
    (site,) = report.sites
    assert site.status is Status.EXCHANGED and site.rule == "ExchangeConcatenate"
    assert (site.evaluations_before, site.evaluations_after) == (640, 160)


def test_what_differs_between_the_branches_stays():
    mod = module(fire(with_bias([1, 2, 3, 4]), with_bias([1, 2, 3, 4, 5, 6])))
    report = assert_same_results(mod, inputs())
    (site,) = report.sites
    assert site.chain == ("nn.relu",) and site.refusal.reason is Reason.BRANCHES_DIFFER


def test_channels_last():
    mod = module(fire(relay.nn.relu, relay.nn.relu, axis=3, layout="NHWC"))
    assert assert_same_results(mod, inputs("NHWC")).sites[0].status is Status.EXCHANGED


def test_before_and_after():
    exchanged, _ = tvm_reorder.reorder(
        module(fire(relay.nn.relu, relay.nn.relu)), decision="exchange"
    )
    x = image()
    joined = relay.concatenate([conv2d(x), conv2d(x, channels=6, seed=1)], axis=1)
    expected = module(relay.nn.relu(max_pool(joined, size=3, padding=(1, 1))))
    tvm.ir.assert_structural_equal(exchanged, expected)


def test_chain_and_concatenation_rules_work_together():
    """leaky(concat(relu, relu)): the chain rule clears leaky, then the other rule moves relu."""
    x = image()
    joined = relay.concatenate([relay.nn.relu(conv2d(x)), relay.nn.relu(conv2d(x, seed=1))], 1)
    mod = module(max_pool(relay.nn.leaky_relu(joined, 0.1)))
    report = assert_same_results(mod, inputs())
    (site,) = report.sites
    assert site.chain == ("nn.relu", "nn.leaky_relu")
    assert site.rule == "ExchangeChain+ExchangeConcatenate"
    once, _ = tvm_reorder.reorder(mod, decision="exchange")
    twice, again = tvm_reorder.reorder(once, decision="exchange")
    tvm.ir.assert_structural_equal(once, twice)
    assert not again.exchanged


def branch_also_used():
    x = image()
    active = relay.nn.relu(conv2d(x))
    joined = relay.concatenate([active, relay.nn.relu(conv2d(x, seed=1))], axis=1)
    return relay.Tuple([max_pool(joined), relay.sum(active)])


def concatenation_also_used():
    x = image()
    branches = [relay.nn.relu(conv2d(x)), relay.nn.relu(conv2d(x, seed=1))]
    joined = relay.concatenate(branches, axis=1)
    return relay.Tuple([max_pool(joined), relay.sum(joined)])


def other_slopes():
    return fire(lambda x: relay.nn.leaky_relu(x, 0.1), lambda x: relay.nn.leaky_relu(x, 0.2))


def one_branch_without():
    return fire(relay.nn.relu, lambda x: x)


def branch_is_an_input():
    x = image()
    return max_pool(relay.concatenate([relay.nn.relu(conv2d(x)), relay.nn.relu(x)], axis=1))


@pytest.mark.parametrize("axis", range(4))
def test_along_any_axis(axis):
    """A window may see both branches; the steps are the same on either."""
    x = image()
    joined = relay.concatenate([relay.sigmoid(conv2d(x, seed=s)) for s in (0, 1)], axis=axis)
    mod = module(max_pool(joined, size=3, padding=(1, 1)))
    (site,) = assert_same_results(mod, inputs()).sites
    assert site.status is Status.EXCHANGED and site.rule == "ExchangeConcatenate"
    cropped = relay.nn.pad(joined, ((0, 0), (0, 0), (-1, 1), (1, -2)), -np.inf)
    mod = module(max_pool(cropped, size=3, padding=(1, 1)))
    assert assert_same_results(mod, inputs()).sites[0].status is Status.EXCHANGED
    mod = module(relay.max(joined, axis=sorted({axis, 3})))
    assert assert_same_results(mod, inputs()).sites[0].status is Status.EXCHANGED


@pytest.mark.parametrize(
    "make, reason",
    [
        (branch_also_used, Reason.SHARED),
        (concatenation_also_used, Reason.SHARED),
        (other_slopes, Reason.BRANCHES_DIFFER),
        (one_branch_without, Reason.BRANCHES_DIFFER),
        (lambda: fire(relay.negative, relay.negative), Reason.NO_SAVING),
    ],
)
def test_is_refused_for_its_reason(make, reason):
    site = only_site(module(make()))
    assert site.status is Status.REFUSED and site.refusal.reason is reason, site.explanation


def test_slopes_that_tvm_takes_for_equal():
    """Attributes that differ by less than 1e-9 are structurally equal to TVM."""
    slopes = (0.0, 5e-10)
    leaky = [lambda x, a=alpha: relay.nn.leaky_relu(x, a) for alpha in slopes]
    mod = module(fire(*leaky))
    assert only_site(mod).refusal.reason is Reason.BRANCHES_DIFFER
    assert_same_results(mod, inputs())


def test_a_branch_that_is_an_input():
    mod = module(branch_is_an_input())
    assert assert_same_results(mod, inputs()).sites[0].status is Status.EXCHANGED


def test_prelu_with_equal_slopes():
    slopes = constant([0.1, 0.2, 0.3, 0.4])
    x = image()
    branches = [relay.nn.prelu(conv2d(x, seed=s), slopes) for s in (0, 1)]
    site = only_site(module(max_pool(relay.concatenate(branches, axis=1))))
    # Equal on both branches, but per channel: the joined tensor has twice as many channels.
    assert site.status is Status.REFUSED and site.refusal.reason is Reason.BRANCHES_DIFFER


def turned(activation):
    """The activation above a transpose that exchanges height and width."""
    return lambda x: relay.transpose(activation(x), (0, 1, 3, 2))


@pytest.mark.parametrize(
    "first, second, said",
    [
        (
            lambda x: x + channels_first([1, 2, 3, 4]),
            lambda x: x + channels_first([1, 2, 3, 4, 5, 6]),
            "add with more constants than one but must be with a single number",
        ),
        (turned(relay.sigmoid), turned(relay.sigmoid), "sigmoid above transpose but must be next"),
        (
            lambda x: relay.nn.leaky_relu(x, 0.1),
            lambda x: relay.nn.leaky_relu(x, 0.2),
            "leaky_relu with other constants but must be the same on every branch",
        ),
    ],
)
def test_why_branches_differ(first, second, said):
    assert said in only_site(module(fire(first, second))).explanation


def test_a_concatenation_behind_what_moves_values_is_named():
    joined = relay.concatenate([relay.nn.relu(conv2d(image(), seed=seed)) for seed in (0, 1)], 1)
    site = only_site(module(max_pool(relay.transpose(joined, (0, 1, 3, 2)))))
    assert str(site.refusal).startswith(
        "what the pool reads is concatenate, through transpose, but"
    )


@pytest.mark.parametrize("is_apart", [True, False])
def test_an_input_is_not_joined_with_itself_in_a_kernel_apart(is_apart):
    """TVM's AOT executor computes such a concatenation wrongly (found by scripts/fuzz.py)."""
    x = image(channels=4)
    mod = module(max_pool(relay.concatenate([relay.tanh(x), relay.tanh(x)], axis=1)))
    with tvm.transform.PassContext(config={"relay.FuseOps.max_depth": 1} if is_apart else {}):
        site = only_site(mod)
    assert (site.refusal and site.refusal.reason) is (Reason.NOT_COMPILED if is_apart else None)


def test_no_kernel_is_added():
    mod = module(fire(with_bias([1, 2, 3, 4]), with_bias([1, 2, 3, 4, 5, 6])))
    stock = kernels(mod)
    with tvm_reorder.enabled(decision="exchange") as report:
        assert kernels(mod) <= stock
    assert report.exchanged


def test_branches_with_negative_constants_per_channel_are_read_in_their_own_channels():
    """Found by scripts/fuzz.py: the pass failed on 2 x 4 channels under 8."""
    x = image(channels=4)
    divisor = constant(np.reshape([2.0, -1.0, 1.0, 0.5], (1, 4, 1, 1)))
    branches = [relay.nn.relu(x) / divisor, relay.nn.relu(x) / divisor]
    mod = module(max_pool(relay.concatenate(branches, axis=1)))
    _, report = tvm_reorder.reorder(mod, decision="exchange")
    (site,) = report.sites
    assert site.refusal.reason in (Reason.BRANCHES_DIFFER, Reason.NEGATIVE_SCALE)
