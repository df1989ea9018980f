"""Operators between activation and pool that leave values out: slices, takes; and joined branches
above moves of another rank."""

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.relay.candidates import find_candidates
from tvm_reorder.relay.extract import extract_sites
from tvm_reorder.relay.moves import carry, is_move

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

RNG = np.random.default_rng(15)


def draw():
    return {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32") * 3}


def uniform(x):
    """Steps that treat all values alike."""
    return relay.clip(relay.tanh(x + relay.const(0.25)), -0.5, 0.75)


def per_channel(x):
    scaled = relay.tanh(x + channels_first([1, -2, 3, 0])) * channels_first([1, -2, 3, 0.5])
    return relay.nn.prelu(scaled, constant([0.1, 0, 0.5, 2]))


def rows_and_columns(x):
    return relay.strided_slice(x, [0, 0, 1, 0], [1, 4, 7, 8], [1, 1, 1, 2])


def some_channels(x):
    return relay.strided_slice(x, [0, 1, 0, 0], [1, 3, 8, 7])


def backwards(x):
    """The channels, too: each keeps its constants."""
    turned = relay.strided_slice(x, [3, 7], [-5, -9], [-1, -1], axes=[1, 2])
    return relay.transpose(turned, [0, 1, 3, 2])


def by_size(x):
    return relay.strided_slice(x, [0, 0, 2, 1], [1, 4, 4, -1], slice_mode="size")


def taken(x):
    return relay.take(x, constant([5, 2, 2, 7, 0, 1], "int32"), axis=2)


def taken_channels(x):
    return relay.take(x, constant([[3, -1], [9, 1]], "int32"), axis=1, mode="wrap")


def taken_channel(x):
    return relay.expand_dims(relay.take(x, relay.const(2, "int32"), axis=1), 1)


def twice(x):
    return rows_and_columns(relay.reverse(some_channels(x), 1))


MOVES = [
    *(rows_and_columns, some_channels, backwards, by_size),
    *(taken, taken_channels, taken_channel, twice),
]


def pool_of(move, steps):
    moved = module(move(steps(conv2d(image()))))["main"].body
    return module(max_pool(moved) if len(moved.checked_type.shape) == 4 else relay.max(moved, [-1]))


@pytest.mark.parametrize("move", MOVES)
def test_steps_that_treat_all_values_alike(move):
    mod = pool_of(move, uniform)
    (site,) = assert_same_results(mod, draw()).sites
    assert site.status is Status.EXCHANGED, site.explanation
    assert site.chain == ("add", "tanh", "clip")
    exchanged, _ = tvm_reorder.reorder(mod, decision="exchange")
    again, report = tvm_reorder.reorder(exchanged, decision="exchange")
    assert tvm.ir.structural_equal(exchanged, again)
    assert report.sites[0].refusal.reason is Reason.NO_ACTIVATION


@pytest.mark.parametrize("move", MOVES)
def test_constants_per_channel_move_along(move):
    (site,) = assert_same_results(pool_of(move, per_channel), draw()).sites
    if move is by_size:  # how that moves values is not known
        assert site.status is Status.REFUSED
        return
    assert site.chain == ("add", "tanh", "multiply", "nn.prelu"), site.explanation


@pytest.mark.parametrize("move", MOVES)
def test_carried_values_are_those_that_tvm_moves(move):
    """Number by number, against the compiled operators."""
    numbers = np.arange(256, dtype="float32").reshape(1, 4, 8, 8)
    mod = module(move(relay.var("x", shape=numbers.shape)))
    moves, value = [], mod["main"].body
    while is_move(value):
        moves.append(value)
        value = value.args[0]
    carried = carry(numbers, tuple(moves))
    assert isinstance(value, relay.Var) and (carried is None) == (move is by_size)
    if carried is not None:
        np.testing.assert_array_equal(carried, run(mod, {"x": numbers})[0])


def test_a_constant_that_varies_along_what_is_left_out():
    """Only the first and the last row differ, which the slice drops; one row more and it varies."""
    rows = constant(np.reshape([9.0, 1, 1, 1, 1, 1, 1, 9], (1, 1, 8, 1)))
    for first, moves in ((1, True), (0, False)):
        sliced = relay.strided_slice(conv2d(image()) + rows, [0, 0, first, 0], [1, 4, 7, 8])
        (site,) = assert_same_results(module(max_pool(sliced)), draw()).sites
        assert (site.status is Status.EXCHANGED) is moves
        assert moves or site.refusal.reason is Reason.VARIES_IN_WINDOW


@pytest.mark.parametrize("below", [lambda x: x, relay.tanh, lambda x: relay.tanh(relay.exp(x))])
def test_an_operand_adds_no_axis(below):
    """Next to the move or further up: what is pooled has three."""
    number = constant(np.full((1, 1, 1, 1), 0.5))
    lines = relay.reshape(below(conv2d(image()) + number), [1, 4, 64])
    mod = module(relay.nn.max_pool1d(lines, pool_size=4, strides=4))
    (site,) = assert_same_results(mod, draw()).sites
    assert site.status is Status.EXCHANGED and site.chain[0] == "add"


def test_crops_of_all_kinds_above_one_another():
    active = relay.tanh(per_channel(conv2d(image())))
    sliced = relay.strided_slice(active, [0, 0, 1, 0], [1, 4, 8, 8], [1, 1, 2, 1])
    padded = relay.nn.pad(sliced, ((0, 0), (0, 0), (1, -1), (-2, 1)), -np.inf)
    mod = module(max_pool(padded, size=3, padding=(1, 1)))
    (site,) = assert_same_results(mod, draw()).sites
    assert site.chain == ("add", "tanh", "multiply", "nn.prelu", "tanh"), site.explanation
    (site,) = assert_same_results(module(relay.max(sliced, axis=[1, 3])), draw()).sites
    assert site.chain == ("tanh",) and site.refusal.reason is Reason.VARIES_IN_WINDOW


@pytest.mark.parametrize(
    "between",
    [
        lambda x: relay.nn.upsampling(x, 2, 2, method="nearest_neighbor"),
        lambda x: relay.repeat(x, 2, 3),
        lambda x: relay.tile(x, (1, 1, 2, 1)),
        lambda x: relay.broadcast_to(x, (2, 4, 8, 8)),
        lambda x: relay.take(x, constant([0, 1, 2, 3] * 3, "int32"), axis=2),
        lambda x: relay.take(x, relay.var("i", shape=(4,), dtype="int32"), axis=2),
        lambda x: relay.split(x, 2, 1)[0],
    ],
)
def test_what_repeats_values_or_takes_unknown_ones_stays(between):
    site = only_site(module(max_pool(between(relay.tanh(conv2d(image()))))))
    assert site.status is Status.REFUSED, site.explanation


def joined_and_reshaped(x):
    """A reshape on either side of the concatenation, and to another rank."""
    lines = [relay.nn.relu(relay.reshape(conv2d(x, seed=s), [1, 4, 64])) for s in (0, 1)]
    return relay.reshape(relay.concatenate(lines, axis=2), [1, 4, 16, 8])


def joined_points(x):
    """From four axes to three, and the other way round for the pool."""
    both = relay.concatenate([relay.tanh(conv2d(x, seed=s)) for s in (0, 1)], axis=1)
    return relay.expand_dims(relay.reshape(both, [1, 8, 64]), 2)


@pytest.mark.parametrize("make", [joined_and_reshaped, joined_points])
def test_a_concatenation_above_a_move_of_another_rank(make):
    bare = module(max_pool(make(image()), size=1, stride=2))
    (site,) = assert_same_results(bare, draw()).sites
    assert site.status is Status.REFUSED
    assert find_candidates(bare, None, tvm.target.Target("llvm")) == []
    mod = module(max_pool(relay.sigmoid(make(image())), size=1, stride=2))
    (site,) = assert_same_results(mod, draw()).sites
    assert site.chain == ("sigmoid",), site.explanation
    prepared, report = tvm_reorder.reorder(mod, write=False, decision="exchange")
    (extracted,) = extract_sites(prepared, report)
    assert extracted.name == "max_pool2d"
