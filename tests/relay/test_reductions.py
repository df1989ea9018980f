"""``max`` over any axes is a pool with one window over them."""

from itertools import combinations

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
    order = [text.index(name) for name in ("nn.conv2d", "max(", "sigmoid(")]
    assert order == sorted(order) and "keepdims=True" not in text and "reshape(" not in text
    again, report = tvm_reorder.reorder(exchanged, decision="exchange")
    assert tvm.ir.structural_equal(exchanged, again)
    assert report.sites[0].refusal.reason is Reason.NO_ACTIVATION


def test_axes_are_kept_for_what_is_more_than_a_number():
    mod = reduced(lambda x: relay.tanh(x + channels_first([1, -2, 3, 0])), axis=[-2, -1])
    exchanged, _ = tvm_reorder.reorder(mod, decision="exchange")
    text = exchanged["main"].astext(show_meta_data=False)
    order = [text.index(name) for name in ("max(", "add(", "tanh(", "reshape(")]
    assert order == sorted(order) and "keepdims=True" in text


def test_it_starts_from_the_lowest_finite_value():
    mod = module(relay.max(relay.var("x", shape=(1, 1, 4, 4)), axis=[2, 3]))
    (value,) = run(mod, {"x": np.full((1, 1, 4, 4), -np.inf, "float32")})
    assert value.item() == np.finfo("float32").min
    doubled = module(relay.max(relay.var("x", shape=(1, 1, 4, 4)) * relay.const(2.0), axis=[2, 3]))
    lowest = {"x": np.full((1, 1, 4, 4), np.finfo("float32").min)}
    report = assert_same_results(doubled, lowest)
    assert report.sites[0].status is Status.EXCHANGED


def steps_per_plane(x, axes, k=0):
    """An addend, a factor and a bound for each position along the axes that are kept."""
    shape = [int(extent) for extent in x.type_annotation.shape]
    random = np.random.default_rng(k)
    plane = [1 if axis in axes else extent for axis, extent in enumerate(shape)]
    addends, factors, bounds = (constant(random.normal(size=plane)) for _ in range(3))
    return relay.maximum(relay.tanh(x + addends) * factors, bounds)


def choose_axes(rank):
    """Every set of axes; of the higher ranks a few, and all of them in the full suite."""
    every = [axes for count in range(1, rank + 1) for axes in combinations(range(rank), count)]
    few = set(np.random.default_rng(rank).permutation(len(every))[:6])
    return [
        pytest.param(rank, axes, marks=() if rank < 3 or n in few else pytest.mark.full)
        for n, axes in enumerate(every)
    ]


@pytest.mark.parametrize("rank, axes", [case for rank in range(1, 7) for case in choose_axes(rank)])
def test_any_axes_of_any_rank(rank, axes):
    """Both ways to name them, kept and dropped."""
    x = relay.var("x", shape=(2, 3, 4, 2, 3, 2)[:rank])
    others = [axis for axis in range(rank) if axis not in axes]
    named = {"axis": [axis - rank for axis in axes], "keepdims": True}
    excluded = {"axis": others, "exclude": True} if others else {"axis": None}
    mod = module(
        relay.Tuple(
            [relay.max(steps_per_plane(x, axes, k), **o) for k, o in enumerate((named, excluded))]
        )
    )
    values = RNG.normal(size=mod["main"].params[0].checked_type.concrete_shape)
    report = assert_same_results(mod, {"x": values.astype("float32")})
    assert [site.status for site in report.sites] == [Status.EXCHANGED] * 2
    assert all(len(site.chain) == 4 for site in report.sites)


def sequence(*shape):
    """A convolution along time, or along points: (batch, channels, length)."""
    weight = constant(RNG.normal(size=(5, shape[1], 1)))
    return relay.nn.conv1d(relay.var("x", shape=shape), weight, kernel_size=1, channels=5)


def of_words():
    """[B, T, D] -> dense -> tanh -> max over T."""
    x = relay.reshape(relay.var("x", shape=(2, 7, 4)), (14, 4))
    dense = relay.nn.dense(x, constant(RNG.normal(size=(5, 4))))
    words = relay.reshape(dense, (2, 7, 5)) + constant([0.1, -0.2, 0.3, 0.4, -0.5])
    return relay.max(relay.tanh(words), axis=1), 2


def of_points():
    """PointNet: [B, C, N], a bias and ReLU, max over N."""
    biased = relay.nn.bias_add(sequence(2, 4, 9), constant([0.1, -0.2, 0.3, 0.4, -0.5]))
    return relay.max(relay.nn.relu(biased), axis=-1), 2


def of_neighbours():
    """PointNet++ and DGCNN: [B, C, N, K], scales of both signs per channel, max over K."""
    scaled = relay.tanh(conv2d(relay.var("x", shape=(2, 3, 6, 4)))) * channels_first([1, -2, 3, -1])
    return relay.max(scaled, axis=3, keepdims=True), 2


def over_channels():
    return relay.max(relay.sigmoid(conv2d(image())), axis=1), 1


def over_channels_of_the_last_axis():
    return relay.max(relay.sigmoid(conv2d(image(layout="NHWC"), layout="NHWC")), axis=3), 1


@pytest.mark.parametrize(
    "make",
    [of_words, of_points, of_neighbours, over_channels, over_channels_of_the_last_axis],
)
def test_networks_of_text_and_points(make):
    body, steps = make()
    mod = module(body)
    shape = mod["main"].params[0].checked_type.concrete_shape
    report = assert_same_results(mod, {"x": RNG.normal(size=shape).astype("float32") * 2})
    (site,) = report.sites
    assert site.status is Status.EXCHANGED and len(site.chain) == steps, site.explanation


@pytest.mark.parametrize("axes, in_front", [([2, 3], False), ([0, 2, 3], False), ([3], True)])
def test_signs_are_folded_where_the_planes_are_the_channels(axes, in_front):
    """Eight planes ++--++-- are not four filters ++--; only along H and W are they +-+-."""
    x = relay.var("x", shape=(1, 3, 2, 9))
    weight = constant(RNG.normal(size=(4, 3, 1, 1)))
    data = relay.nn.conv2d(x, weight, kernel_size=(1, 1), channels=4)
    mod = module(relay.max(relay.tanh(data) * channels_first([1, -1, 1, -1]), axis=axes))
    inputs = {"x": RNG.normal(size=(1, 3, 2, 9)).astype("float32")}
    (site,) = assert_same_results(mod, inputs).sites
    assert site.status is Status.EXCHANGED, site.explanation
    exchanged, _ = tvm_reorder.reorder(mod, decision="exchange")
    in_front_of_max = exchanged["main"].astext(show_meta_data=False).partition("max(")[0]
    assert ("multiply(" in in_front_of_max) is in_front


@pytest.mark.parametrize("axis", [2, [2], [0, 2], [1, 3], [1], None])
def test_a_constant_that_varies_along_a_reduced_axis_stays(axis):
    full = constant(RNG.normal(size=(1, 4, 8, 8)))
    mod = reduced(lambda x: relay.tanh(relay.nn.relu(x) + full), axis=axis)
    (site,) = assert_same_results(mod, draw()).sites
    assert site.chain == ("tanh",) and site.refusal.reason is Reason.VARIES_IN_WINDOW


def test_a_prelu_of_the_importer_under_a_maximum():
    """Flattened slopes are of the channels; there is none where two axes are kept."""

    def flat(x):
        slopes = relay.broadcast_to_like(channels_first([0.1, 0, 0.5, 2]), x)
        slopes = relay.reshape(slopes, (-1,))
        return relay.reshape(relay.nn.prelu(relay.reshape(x, (-1,)), slopes, 0), (1, 4, 8, 8))

    for axis in ([2, 3], [3], [1], None):
        report = assert_same_results(reduced(flat, axis=axis), draw())
        assert not report.errors


def test_a_maximum_of_nothing_is_no_site():
    assert tvm_reorder.reorder(reduced(axis=[0, 1, 2, 3], exclude=True))[1].sites == ()
    scalar = module(relay.max(relay.exp(relay.var("x", shape=()))))
    assert tvm_reorder.reorder(scalar)[1].sites == ()


@pytest.mark.parametrize(
    "shape, axis, reason",
    [
        ((2, 0, 3), 1, Reason.EMPTY_POOL),
        ((0, 2, 3), 1, Reason.EMPTY_POOL),
        ((2, relay.Any(), 3), 1, Reason.DYNAMIC_WINDOW),
        ((relay.Any(), 3, relay.Any()), 1, Reason.DYNAMIC_WINDOW),
        ((2, 1, 3), 1, Reason.NO_SAVING),
    ],
)
def test_extents_that_are_refused(shape, axis, reason):
    mod = module(relay.max(relay.exp(relay.var("x", shape=shape)), axis=axis))
    assert only_site(mod).refusal.reason is reason


def test_an_open_extent_that_is_kept():
    x = relay.var("x", shape=(relay.Any(), 6, 3))
    for keepdims in (True, False):
        mod = module(relay.max(relay.exp(x), axis=1, keepdims=keepdims))
        assert only_site(mod).status is Status.EXCHANGED


def test_sites_keep_their_names_beside_other_maxima():
    """The rewritten function is untyped, and every ``max`` in it looks like a pool."""
    data = conv2d(image())
    other = relay.max(relay.sigmoid(data), axis=[1])
    pooled = relay.nn.max_pool2d(relay.tanh(data), pool_size=(2, 2), strides=(2, 2))
    body = relay.Tuple([other, relay.max(relay.exp(data), axis=[2, 3]), pooled])
    report = assert_same_results(module(body), draw())
    chains = {site.name: site.chain for site in report.sites}
    assert chains == {"max_1": ("sigmoid",), "max_2": ("exp",), "max_pool2d": ("tanh",)}


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
