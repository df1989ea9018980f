"""Layouts: what follows a pool gets its values in the same layout, or nothing there can tell.

A sum over values that AlterOpLayout has laid out in blocks is taken in another order, an operator
behind a layout_transform is a kernel of its own, and ``split`` fails on blocks.
"""

import numpy as np
import pytest
from tvm import relay

from tvm_reorder import Reason, Status

from .networks import assert_same_results, channels_first, constant, module, only_site

RNG = np.random.default_rng(17)
SHAPE = (4, 16, 12, 12)
INPUTS = {"x": RNG.normal(size=SHAPE).astype("float32")}
WEIGHT = constant(RNG.normal(size=(16, 16, 3, 3)) * 0.3)
NHWC, NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def convolved():
    data = relay.var("x", shape=SHAPE)
    return relay.nn.conv2d(data, WEIGHT, channels=16, kernel_size=(3, 3), padding=(1, 1))


def pool(data):
    return relay.nn.max_pool2d(data, (2, 2), (2, 2))


def between(step, there, back):
    """A step between two moves that undo one another."""
    return pool(back(step(there(convolved()))))


def transposed(step):
    return between(step, lambda x: relay.transpose(x, NHWC), lambda x: relay.transpose(x, NCHW))


def reshaped(step):
    return between(
        step, lambda x: relay.reshape(x, (4, 16, 144)), lambda x: relay.reshape(x, SHAPE)
    )


def bound(step):
    variable = relay.var("v")
    return lambda rest: relay.Let(variable, step(convolved()), rest(pool(variable)))


MOVED = {"transposes": transposed, "reshapes": reshaped}
BEHIND = {
    "sum": lambda x: relay.sum(x, axis=[1, 2, 3]),
    "mean of the step behind": lambda x: relay.mean(relay.floor(x), axis=[1, 2, 3]),
    "split": lambda x: relay.split(x, 2, axis=1)[0],
    "product and sum": lambda x: x + channel("v") * channel("s"),
}


def channel(name):
    return relay.var(name, shape=(16, 1, 1))


@pytest.mark.parametrize("decision", ["exchange", "fuse"])
@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("moves", MOVED)
def test_moves_that_undo_one_another_stay_where_a_layout_shows(moves, behind, decision):
    mod = module(BEHIND[behind](MOVED[moves](relay.tanh)))
    inputs = {**INPUTS, **{n: RNG.normal(size=(16, 1, 1)).astype("float32") for n in "vs"}}
    inputs = {p.name_hint: inputs[p.name_hint] for p in mod["main"].params}
    (site,) = assert_same_results(mod, inputs, decision=decision).sites
    assert site.status is Status.EXCHANGED, site.explanation


@pytest.mark.parametrize(
    "behind", [relay.nn.batch_flatten, relay.floor, relay.nn.global_max_pool2d]
)
def test_they_go_where_none_does(behind):
    mod = module(behind(transposed(relay.tanh)))
    (site,) = assert_same_results(mod, INPUTS, decision="fuse").sites[:1]
    assert site.status is Status.FUSED, site.explanation


@pytest.mark.parametrize("behind", ["sum", "split"])
@pytest.mark.parametrize("decision", ["exchange", "fuse"])
def test_a_let_in_front_of_a_pool(behind, decision):
    mod = module(bound(relay.tanh)(BEHIND[behind]))
    (site,) = assert_same_results(mod, INPUTS, decision=decision).sites
    assert site.decision.action.value == decision, site.explanation


def test_a_let_in_front_of_a_pool_with_nothing_to_move():
    """Beside a site that is rewritten."""
    kept, moved = relay.var("a"), relay.var("b")
    both = relay.Tuple([BEHIND["sum"](pool(kept)), pool(moved)])
    data = relay.var("x", shape=SHAPE)
    conv = relay.nn.conv2d(data, WEIGHT, channels=16, kernel_size=(3, 3), padding=(1, 1))
    body = relay.Let(kept, conv, relay.Let(moved, relay.tanh(data), both))
    report = assert_same_results(module(body), INPUTS)
    assert [site.status for site in report.sites] == [Status.REFUSED, Status.EXCHANGED]


@pytest.mark.parametrize("axis", [[2], [3], [2, 3]])
def test_a_reduction_that_drops_its_axes(axis):
    kept = list(range(1, 4 - len(axis)))
    reduced = relay.max(relay.tanh(convolved()), axis=axis)
    (site,) = assert_same_results(module(relay.sum(reduced, axis=kept)), INPUTS).sites
    assert site.status is Status.EXCHANGED, site.explanation


def test_a_reduction_that_drops_its_axes_in_front_of_steps_that_need_them():
    shifted = relay.tanh(convolved()) + channels_first(np.linspace(-1, 1, 16))
    shown = module(relay.sum(relay.max(shifted, axis=[3]), axis=[1, 2]))
    assert_same_results(shown, INPUTS)
    site = only_site(shown)
    assert site.status is Status.REFUSED and site.refusal.reason is Reason.LAYOUT
    hidden = module(relay.nn.batch_flatten(relay.max(shifted, axis=[3])))
    (site,) = assert_same_results(hidden, INPUTS).sites
    assert site.status is Status.EXCHANGED and len(site.chain) == 2
    keeping = module(relay.sum(relay.max(shifted, axis=[3], keepdims=True), axis=[1, 2]))
    (site,) = assert_same_results(keeping, INPUTS).sites
    assert site.status is Status.EXCHANGED and len(site.chain) == 2
