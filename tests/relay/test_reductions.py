"""``max`` over the spatial axes is a global max pool; over other axes it is no site."""

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
    module,
    only_site,
    run,
)

RNG = np.random.default_rng(3)


def reduced(activation=relay.sigmoid, layout="NCHW", **options):
    """conv -> activation -> max."""
    return module(relay.max(activation(conv2d(image(layout=layout), layout=layout)), **options))


def draw(layout="NCHW"):
    shape = (1, 3, 8, 8) if layout == "NCHW" else (1, 8, 8, 3)
    return {"x": RNG.normal(size=shape).astype("float32") * 3}


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize(
    "layout, axes",
    [
        ("NCHW", {"axis": [2, 3]}),
        ("NCHW", {"axis": [0, 1], "exclude": True}),
        ("NHWC", {"axis": [-3, -2]}),
    ],
)
def test_a_global_maximum(layout, axes, keepdims):
    mod = reduced(layout=layout, keepdims=keepdims, **axes)
    (site,) = assert_same_results(mod, draw(layout)).sites
    assert site.status is Status.EXCHANGED and site.name == "max"
    assert site.window == "8x8/8x8 on 8x8 -> 1x1"
    assert site.evaluations_before == 64 * site.evaluations_after


@pytest.mark.parametrize("keepdims", [True, False])
def test_constants_of_the_steps_still_broadcast(keepdims):
    def activation(x):
        scaled = relay.tanh(x + channels_first([1, -2, 3, 0])) * channels_first([1, 2, 0, 0.5])
        return relay.nn.prelu(scaled, constant([0.1, 0, 0.5, 2]))

    mod = reduced(activation, axis=[2, 3], keepdims=keepdims)
    (site,) = assert_same_results(mod, draw()).sites
    assert site.status is Status.EXCHANGED and len(site.chain) == 4


def test_before_and_after():
    exchanged, _ = tvm_reorder.reorder(reduced(axis=[-2, -1]), decision="exchange")
    text = exchanged["main"].astext(show_meta_data=False)
    order = [text.index(name) for name in ("nn.conv2d", "max(", "sigmoid(", "squeeze(")]
    assert order == sorted(order) and "keepdims=True" in text
    again, report = tvm_reorder.reorder(exchanged, decision="exchange")
    assert tvm.ir.structural_equal(exchanged, again)
    assert report.sites[0].refusal.reason is Reason.NO_ACTIVATION


def test_it_starts_from_the_lowest_finite_value():
    mod = module(relay.max(relay.var("x", shape=(1, 1, 4, 4)), axis=[2, 3]))
    (value,) = run(mod, {"x": np.full((1, 1, 4, 4), -np.inf, "float32")})
    assert value.item() == np.finfo("float32").min
    doubled = module(relay.max(relay.var("x", shape=(1, 1, 4, 4)) * relay.const(2.0), axis=[2, 3]))
    lowest = {"x": np.full((1, 1, 4, 4), np.finfo("float32").min)}
    report = assert_same_results(doubled, lowest)
    assert report.sites[0].status is Status.EXCHANGED


@pytest.mark.parametrize("axis", [[1], [1, 2, 3], [0, 2, 3], [2], [1, 3], None])
def test_a_maximum_over_other_axes_is_no_site(axis):
    _, report = tvm_reorder.reorder(reduced(axis=axis), decision="exchange")
    assert report.sites == ()


def test_sites_keep_their_names_beside_other_maxima():
    """The rewritten function is untyped, and every ``max`` in it looks like a pool."""
    data = conv2d(image())
    other = relay.max(relay.sigmoid(data), axis=[1])
    pooled = relay.nn.max_pool2d(relay.tanh(data), pool_size=(2, 2), strides=(2, 2))
    body = relay.Tuple([other, relay.max(relay.exp(data), axis=[2, 3]), pooled])
    report = assert_same_results(module(body), draw())
    chains = {site.name: site.chain for site in report.sites}
    assert chains == {"max": ("exp",), "max_pool2d": ("tanh",)}


def shared():
    active = relay.sigmoid(conv2d(image()))
    return module(relay.max(active, axis=[2, 3]) + relay.sum(active))


def dynamic():
    x = relay.var("x", shape=(1, 3, relay.Any(), 8))
    return module(relay.max(relay.sigmoid(conv2d(x)), axis=[2, 3]))


def of_one_element():
    return module(relay.max(relay.sigmoid(conv2d(image(size=1))), axis=[2, 3]))


@pytest.mark.parametrize(
    "make, reason",
    [
        (shared, Reason.SHARED),
        (dynamic, Reason.DYNAMIC_WINDOW),
        (of_one_element, Reason.NO_SAVING),
        (lambda: reduced(relay.sin, axis=[2, 3]), Reason.NOT_MONOTONE),
        (lambda: reduced(lambda x: x, axis=[2, 3]), Reason.NO_ACTIVATION),
    ],
)
def test_refusals(make, reason):
    site = only_site(make())
    assert site.status is Status.REFUSED and site.refusal.reason is reason


def test_one_and_three_dimensions():
    x = relay.var("x", shape=(2, 3, 12))
    weight = constant(RNG.normal(size=(4, 3, 3)))
    line = relay.nn.conv1d(x, weight, kernel_size=3, channels=4)
    report = assert_same_results(
        module(relay.max(relay.tanh(line), axis=2)),
        {"x": RNG.normal(size=(2, 3, 12)).astype("float32")},
    )
    assert report.sites[0].status is Status.EXCHANGED


def test_fusing_is_refused_in_words():
    site = only_site(reduced(axis=[2, 3]), decision="fuse")
    assert site.status is Status.EXCHANGED
    assert "the pool is max but must be nn.max_pool2d" in site.decision.note
