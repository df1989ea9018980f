"""Explicit paddings of both signs in front of a pool with a padding of its own."""

import numpy as np
import pytest
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.core.window import count_windows
from tvm_reorder.relay.facts import read_joined_padding, read_pool
from tvm_reorder.relay.sites import FunctionGraph

from ..pooling import LOWEST
from ..pooling import max_pool as pool_by_hand
from ..pooling import pad as pad_by_hand
from .networks import (
    assert_same_results,
    channels_first,
    constant,
    conv2d,
    image,
    max_pool,
    module,
    only_site,
    run,
)

RNG = np.random.default_rng(11)
POOLS = {1: relay.nn.max_pool1d, 2: relay.nn.max_pool2d, 3: relay.nn.max_pool3d}
LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


def draw(size=8):
    return {"x": RNG.normal(size=(1, 3, size, size)).astype("float32") * 3}


def spatial(*widths):
    """Widths of ``nn.pad`` for NC and the spatial axes."""
    return ((0, 0), (0, 0), *widths)


def cropped(activation=relay.nn.relu, widths=((-1, -1),) * 2, value=-np.inf, size=3, **pool):
    """conv -> activation -> crop or pad -> pool that pads too."""
    given = relay.nn.pad(activation(conv2d(image())), spatial(*widths), value)
    return module(max_pool(given, size, **{"padding": (1, 1), **pool}))


@pytest.mark.parametrize("decision", ["auto", "exchange", "fuse"])
@pytest.mark.parametrize("activation", [relay.nn.relu, relay.tanh, lambda x: x])
def test_a_crop_in_front_of_a_pool_that_pads(decision, activation):
    """The pool's padding hides what the crop took away; one padding by the sum would show it."""
    mod = cropped(activation)
    (site,) = assert_same_results(mod, draw(), decision=decision).sites
    assert site.status is not Status.FUSED
    assert site.window == "3x3/2x2 on 6x6 -> 3x3 padded" or site.decision is None


def test_a_crop_that_leaves_windows_of_nothing_but_padding():
    """Without the crop the last window would see the last row."""
    fits = cropped(widths=((0, 0),) * 2, size=2, padding=(0, 0, 2, 2))
    (site,) = assert_same_results(fits, draw()).sites
    assert site.refusal.reason is Reason.PADDING_ONLY_WINDOW
    rounded = cropped(widths=((0, -2),) * 2, size=3, padding=(0, 0, 1, 1), ceil_mode=True)
    (site,) = assert_same_results(rounded, draw()).sites
    assert site.window == "3x3/2x2 on 6x6 -> 3x3 padded" and site.status is Status.EXCHANGED
    for widths, after in (((0, -2), 3), ((-2, 0), 3)):
        (site,) = assert_same_results(
            cropped(widths=(widths,) * 2, size=3, padding=(0, 0, after, after)), draw()
        ).sites
        assert site.refusal.reason is Reason.PADDING_ONLY_WINDOW, site.explanation


def test_a_crop_of_everything():
    mod = cropped(widths=((-5, -3), (0, 0)), padding=(2, 1, 2, 1))
    (site,) = assert_same_results(mod, draw()).sites
    assert site.refusal.reason is Reason.PADDING_ONLY_WINDOW
    filled = cropped(widths=((-9, 4), (0, 0)))
    (site,) = assert_same_results(filled, draw()).sites
    assert site.refusal.reason is Reason.PADDING_ONLY_WINDOW


@pytest.mark.parametrize(
    "widths, own, joined",
    [
        (((1, 1), (0, 1)), (1, 1, 1, 1), (2, 1, 2, 2)),
        (((2, 2), (2, 2)), (-1, -2, -1, 0), (1, 0, 1, 2)),  # the pool starts later
        (((0, 0), (0, 0)), (1, 0, 1, 2), (1, 0, 1, 2)),
        (((-1, 0), (0, 0)), (1, 1, 1, 1), None),
        (((0, -1), (0, 0)), (1, 1, 1, 1), None),
        (((0, 1), (0, 0)), (0, 0, -2, 0), None),
    ],
)
@pytest.mark.parametrize("value", [-np.inf, LOWEST])
def test_what_is_fused_has_one_padding(widths, own, joined, value):
    mod = cropped(widths=widths, value=value, padding=own)
    graph = FunctionGraph(mod["main"])
    (pool,) = graph.max_pools
    assert read_joined_padding(pool, read_pool(pool, graph)) == joined
    (site,) = assert_same_results(mod, draw(), decision="fuse").sites
    assert site.status is (Status.EXCHANGED if joined is None else Status.FUSED)
    if joined is None:
        assert "a crop on some side" in site.decision.note


def test_a_pools_own_crop_is_not_fused():
    mod = module(max_pool(relay.nn.relu(conv2d(image())), 3, padding=(-1, -1)))
    (site,) = assert_same_results(mod, draw(), decision="fuse").sites
    assert site.status is Status.EXCHANGED and "a crop on some side" in site.decision.note


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_a_crop_that_pads_with_data(value):
    def steps(x):
        return relay.clip(relay.tanh(x) + relay.const(value), value, 2.0)

    mod = cropped(steps, ((-1, 2), (2, -2)), value)
    assert assert_same_results(mod, draw()).sites[0].status is Status.EXCHANGED


@pytest.mark.parametrize("mode", ["edge", "reflect"])
def test_a_crop_that_repeats(mode):
    def pad(x):
        return relay.nn.pad(relay.tanh(x), spatial((-1, 2), (2, -2)), pad_mode=mode)

    mod = module(max_pool(pad(conv2d(image())), 3, padding=(1, 1)))
    assert assert_same_results(mod, draw()).sites[0].status is Status.EXCHANGED


def test_below_a_cast():
    """The padding is of the wider dtype then."""
    cast = cropped(lambda x: relay.nn.relu(x).astype("float16"), ((-2, 1), (0, 1)))
    (site,) = assert_same_results(cast, draw()).sites
    assert site.status is Status.EXCHANGED and "cast to float16" in site.chain


def test_falling_steps_and_both_ends():
    scales = channels_first([1, -2, 3, -0.5])
    for activation in (lambda x: relay.nn.relu(x) * scales, relay.abs):
        mod = cropped(activation, ((-1, 1), (1, -1)))
        assert assert_same_results(mod, draw()).sites[0].status is Status.EXCHANGED


def padding_of_channels(x):
    return relay.nn.pad(x, ((0, 0), (-1, 0), (1, 1), (1, 1)), -np.inf)


def padding_used_twice(x):
    padded = relay.nn.pad(x, spatial((-1, 1), (1, 1)), -np.inf)
    return padded + relay.sum(padded)


def two_paddings(x):
    once = relay.nn.pad(x, spatial((-1, 1), (1, 1)), -np.inf)
    return relay.nn.pad(once, spatial((1, -1), (1, 1)), -np.inf)


def padding_above_a_move(x):
    return relay.transpose(relay.nn.pad(x, spatial((-1, 1), (1, 1)), -np.inf), [0, 1, 3, 2])


@pytest.mark.parametrize(
    "between", [padding_of_channels, padding_used_twice, two_paddings, padding_above_a_move]
)
def test_paddings_that_stay_where_they_are(between):
    mod = module(max_pool(between(relay.nn.relu(conv2d(image()))), 3, padding=(1, 1)))
    (site,) = assert_same_results(mod, draw()).sites
    assert site.status is Status.REFUSED, site.explanation


def test_a_padding_below_a_move():
    moved = relay.transpose(relay.tanh(conv2d(image())), [0, 1, 3, 2])
    padded = relay.nn.pad(moved, spatial((-1, 1), (1, -2)), -np.inf)
    mod = module(max_pool(padded, 3, padding=(1, 1)))
    assert assert_same_results(mod, draw()).sites[0].status is Status.EXCHANGED


@pytest.mark.parametrize(
    "pool",
    [
        relay.nn.global_max_pool2d,
        lambda x: relay.nn.adaptive_max_pool2d(x, (2, 3)),
        lambda x: relay.max(x, axis=[2, 3]),
    ],
)
def test_pools_that_do_not_pad(pool):
    padded = relay.nn.pad(relay.nn.relu(conv2d(image())), spatial((-1, 1), (1, -2)), -np.inf)
    assert only_site(module(pool(padded))).refusal.reason is Reason.UNKNOWN_OPERATOR


@pytest.mark.parametrize(
    "value, dtype", [(np.inf, "float32"), (np.nan, "float32"), (-np.inf, "int8"), (300.0, "int8")]
)
def test_values_that_are_none_to_pad_with(value, dtype):
    active = relay.clip(relay.var("x", shape=(1, 4, 8, 8), dtype=dtype), -5, 5)
    padded = relay.nn.pad(active, spatial((1, 1), (1, 1)), relay.const(value, "float32"))
    site = only_site(module(max_pool(padded)))
    assert site.refusal.reason is Reason.UNKNOWN_OPERATOR


def test_rows_and_columns_of_a_layout_in_another_order():
    """pool_size is that of H and W, wherever these stand."""
    data = relay.tanh(relay.var("x", shape=(1, 3, 6, 9)))  # NCWH
    pool = {"pool_size": (3, 2), "strides": (3, 1), "padding": (1, 0, 0, 1), "layout": "NCWH"}
    pooled = relay.nn.max_pool2d(data, **pool)
    inputs = {"x": RNG.normal(size=(1, 3, 6, 9)).astype("float32")}
    (site,) = assert_same_results(module(pooled), inputs).sites
    assert site.window == "3x2/3x1 on 9x6 -> 3x6 padded" and site.status is Status.EXCHANGED


def draw_pool(random, rank):
    own = random.integers(-2, 3, 2 * rank)
    ends = {"pool_size": (1, 4), "strides": (1, 4), "dilation": (1, 3)}
    drawn = {name: random.integers(*ends[name], rank) for name in ends}
    options = {name: tuple(map(int, numbers)) for name, numbers in drawn.items()}
    return {**options, "padding": tuple(map(int, own)), "ceil_mode": bool(random.integers(2))}


def bound(k):
    """Of each site another one, so that they share nothing."""
    return np.float32(-0.25 - k / 64)


def draw_site(random, rank, sizes, k):
    """Widths, a pool's options, and the same in NumPy; None if the pool has no output."""
    widths = [tuple(map(int, random.integers(-3, 4, 2))) for _ in sizes]
    options = draw_pool(random, rank)
    own = list(zip(options["padding"][:rank], options["padding"][rank:]))
    lengths = [(1, 1, *options[name]) for name in ("pool_size", "strides", "dilation")]

    def by_hand(x):
        given = pad_by_hand(np.maximum(x, bound(k)), spatial(*widths), -np.inf)
        return pool_by_hand(given, spatial(*own), *lengths, options["ceil_mode"])

    fits = all(
        count_windows(size + sum(pair), *numbers) > 0 and size + sum(pair) > 0
        for size, pair, *numbers in zip(
            sizes, widths, own, *(each[2:] for each in lengths), [options["ceil_mode"]] * rank
        )
    )
    return (widths, options, by_hand) if fits else None


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_random_pools_compiled(rank):
    """Stock, exchanged and NumPy give the same; a dozen sites in one module."""
    random = np.random.default_rng(rank)
    sizes = (7, 6, 5)[:rank]
    x = random.normal(size=(1, 2, *sizes)).astype("float32")
    data, drawn = relay.var("x", shape=x.shape), []
    while len(drawn) < 12:
        site = draw_site(random, rank, sizes, len(drawn))
        if site and (len(drawn) < 3 or site[2](x).min() > LOWEST):  # most of them exact
            drawn.append(site)
    pools = [
        POOLS[rank](
            relay.nn.pad(relay.maximum(data, relay.const(bound(k))), spatial(*widths), -np.inf),
            layout=LAYOUTS[rank],
            **options,
        )
        for k, (widths, options, _) in enumerate(drawn)
    ]
    mod = module(relay.Tuple(pools))
    report = assert_same_results(mod, {"x": x})
    assert len(report.exchanged) >= 3
    for result, (_, _, by_hand) in zip(run(mod, {"x": x}), drawn):
        np.testing.assert_array_equal(result, by_hand(x))


@pytest.mark.parametrize("seed", range(3))
def test_random_pools_fused(seed):
    """Behind a convolution of its own each, with and without steps, the widths of either sign."""
    random = np.random.default_rng(seed)
    x, sites = image(10), []
    while len(sites) < 6:
        widths = [tuple(map(int, random.integers(-1, 3, 2))) for _ in range(2)]
        options = draw_pool(random, 2)
        options["padding"] = tuple(int(width) for width in random.integers(-1, 3, 4))
        data = conv2d(x, seed=len(sites))
        data = relay.nn.relu(data) if random.integers(2) else data
        padded = relay.nn.pad(data, spatial(*widths), [-np.inf, float(LOWEST)][len(sites) % 2])
        fits = [
            count_windows(10 + sum(pair), own, *numbers, options["ceil_mode"]) > 0
            for pair, own, *numbers in zip(
                widths,
                zip(options["padding"][:2], options["padding"][2:]),
                *(options[name] for name in ("pool_size", "strides", "dilation")),
            )
        ]
        sites += [relay.nn.max_pool2d(padded, **options)] if all(fits) else []
    report = assert_same_results(module(relay.Tuple(sites)), draw(10), decision="fuse")
    assert Status.FUSED in {site.status for site in report.sites}


def test_the_case_that_was_reported():
    x = draw(16)
    biased = relay.nn.bias_add(conv2d(image(16)), constant([0.1, -0.2, 0.3, 0.4]))
    active = relay.nn.relu(biased)
    padded = relay.nn.pad(active, spatial((-1, -1), (-1, -1)), -np.inf)
    mod = module(max_pool(padded, 3, padding=(1, 1)))
    for decision in ("auto", "exchange", "fuse"):
        report = assert_same_results(mod, x, decision=decision)
        assert report.sites[0].window == "3x3/2x2 on 14x14 -> 7x7 padded"
    assert tvm_reorder.reorder(mod)[1].sites[0].status is not Status.FUSED
