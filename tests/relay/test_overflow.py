"""Integer overflow is undefined to TVM, so nothing moves next to a step that may overflow."""

import numpy as np
import pytest
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.relay.integer_bounds import read_integer_bound

from .networks import build, constant, execute, max_pool, module, only_site

SHAPE = (1, 4, 8, 8)


def integers(dtype="int32"):
    return relay.var("x", shape=SHAPE, dtype=dtype)


def number(value, dtype="int32"):
    return relay.const(value, dtype)


def site_of(value):
    return only_site(module(max_pool(value)))


@pytest.mark.parametrize(
    "step",
    [
        lambda x: relay.nn.relu(x * x),  # TVM writes x * x for it
        lambda x: relay.clip(x * number(4), -1, 8),
        lambda x: relay.nn.relu(relay.abs(x)),
        lambda x: relay.nn.relu(x * relay.var("y", shape=SHAPE, dtype="int32")),
        lambda x: relay.nn.relu(relay.bitwise_xor(x, number(1)) * x),
    ],
)
def test_nothing_moves_below_what_may_overflow(step):
    site = site_of(step(integers()))
    assert site.status is Status.REFUSED and site.refusal.reason is Reason.INTEGER_OVERFLOW


def test_nothing_may_overflow_inside_a_composite():
    wide = integers("int8").astype("int16")
    fits, wraps = (relay.minimum(wide * number(n, "int16"), wide) for n in (3, 300))
    assert site_of(fits).status is Status.EXCHANGED
    assert site_of(wraps).refusal.reason is Reason.INTEGER_OVERFLOW


def test_nothing_may_overflow_above_the_steps_that_branches_share():
    narrow = relay.var("a", shape=SHAPE, dtype="int8").astype("int32")
    for branch, reason in ((narrow * number(5), None), (integers() * number(5), "overflow")):
        for branches in ([narrow + number(1), branch], [branch, narrow + number(1)]):
            joined = relay.concatenate([relay.nn.relu(value) for value in branches], 1)
            site = site_of(joined)
            assert (site.status is Status.REFUSED) == (reason is not None)
            if reason:
                assert site.refusal.reason is Reason.INTEGER_OVERFLOW


def test_halves_are_rounded_away_from_zero():
    def step(low):
        data = relay.var("x", shape=SHAPE)
        return relay.round(relay.clip(data, low, 127.0)).astype("int8")

    assert site_of(step(-128.4)).status is Status.EXCHANGED
    assert site_of(step(-128.5)).refusal.reason is Reason.INTEGER_OVERFLOW


def test_what_cannot_overflow_moves():
    wide = integers("int8").astype("int32")
    for step in (wide * number(4), relay.clip(wide + wide, -1, 8)):
        assert site_of(relay.nn.relu(step)).status is Status.EXCHANGED, step
    assert site_of(relay.nn.relu(integers())).status is Status.EXCHANGED


BYTE = (-128, 127)
KERNEL = constant(np.full((2, 4, 3, 3), -2), "int8")


DENSE = constant([[1, 2, 3, 4], [-1, 1, -1, 1]], "int8")
WIDE = constant([[60000] * 4], "uint16")


def between(low, high, x):
    return relay.clip(relay.exp(x.astype("float32")), low, high)


BOUNDS = {
    "an input": (lambda x: x, BYTE),
    "a sum": (lambda x: x.astype("int32") + number(3), (-125, 130)),
    "a sum that wraps": (lambda x: x + number(3, "int8"), None),
    "a difference": (lambda x: number(1) - x.astype("int32"), (-126, 129)),
    "a product": (lambda x: x.astype("int32") * number(-2), (-254, 256)),
    "a sum of two": (lambda x: x.astype("int32") + x.astype("int32"), (-256, 254)),
    "negative": (lambda x: relay.negative(x.astype("int16")), (-127, 128)),
    "relu": (relay.nn.relu, (0, 127)),
    "clip": (lambda x: relay.clip(x, -3, 200), (-3, 127)),
    "a clip without values": (lambda x: relay.clip(x, 8, -1), None),
    "maximum": (lambda x: relay.maximum(x, number(5, "int8")), (5, 127)),
    "minimum": (lambda x: relay.minimum(x, number(5, "int8")), (-128, 5)),
    "padding": (lambda x: relay.nn.pad(relay.nn.relu(x), ((0, 0),) * 3 + ((1, 1),), -7), (-7, 127)),
    "reflection": (
        lambda x: relay.nn.pad(relay.nn.relu(x), ((0, 0),) * 3 + ((1, 1),), -7, "reflect"),
        (0, 127),
    ),
    "a reduction": (lambda x: relay.sum(x.astype("int32"), axis=[1]), (-512, 508)),
    "a reduction that wraps": (lambda x: relay.sum(x, axis=[1]), None),
    "an average": (lambda x: relay.nn.avg_pool2d(x.astype("int32"), (2, 3)), (-768, 762)),
    "a convolution": (
        lambda x: relay.nn.conv2d(x, KERNEL, channels=2, kernel_size=(3, 3), out_dtype="int32"),
        (-72 * 128, 72 * 128),
    ),
    "an open convolution": (
        lambda x: relay.nn.conv2d(
            x, relay.var("w", shape=(2, 4, 3, 3), dtype="int8"), out_dtype="int32"
        ),
        (-36 * 128 * 128, 36 * 128 * 128),
    ),
    "a convolution that wraps": (
        lambda x: relay.nn.conv2d(x, relay.var("w", shape=(2, 4, 3, 3), dtype="int8")),
        None,
    ),
    "a dense layer": (
        lambda x: relay.nn.dense(relay.reshape(x, (-1, 4)), DENSE, out_dtype="int32"),
        (-10 * 128, 10 * 128),
    ),
    "a dense layer that wraps": (
        lambda x: relay.nn.dense(
            relay.reshape(x, (-1, 4)).astype("uint16"), WIDE, out_dtype="int32"
        ),
        None,
    ),
    "a narrowing cast": (lambda x: (x.astype("int32") * number(2)).astype("int8"), None),
    "a float": (lambda x: relay.exp(x.astype("float32")).astype("int8"), None),
    "a float behind a clip": (lambda x: between(-3.7, 100.2, x).astype("int8"), (-3, 100)),
    "a float behind a wider clip": (lambda x: between(-3.0, 128.0, x).astype("int8"), None),
    "a half behind a clip": (
        lambda x: relay.clip(x.astype("float16"), 0, 127.99).astype("int8"),  # 128 in float16
        None,
    ),
    "a float behind no clip": (lambda x: between(0.0, np.inf, x).astype("int8"), None),
    "repeated": (lambda x: relay.repeat(relay.nn.relu(x), 2, 1), (0, 127)),
    "a part": (lambda x: relay.split(x * x, 2, 1)[0], None),
    "an unknown step": (lambda x: relay.bitwise_xor(x, number(1, "int8")), None),
    "bits": (lambda x: relay.bitwise_not(x), BYTE),
    "bits of what wraps": (lambda x: relay.bitwise_not(x + x), None),
    "a product of all": (lambda x: relay.prod(x, axis=1), None),
    "the least": (lambda x: relay.min(relay.nn.relu(x), axis=1), (0, 127)),
    "a mean": (lambda x: relay.mean(x.astype("int32"), axis=1), (-4 * 128, 4 * 127)),
    "shifted right": (lambda x: relay.right_shift(x, number(1, "int8")), BYTE),
    "a quotient": (lambda x: relay.floor_divide(relay.nn.relu(x), number(3, "int8")), (0, 127)),
    "a quotient by less than 1": (lambda x: relay.floor_divide(x, number(-1, "int8")), None),
    "a choice": (
        lambda x: relay.where(relay.greater(x, number(9, "int8")), x, number(127, "int8")),
        BYTE,
    ),
    "a choice by what wraps": (lambda x: relay.where(relay.greater(x + x, x), x, x), None),
}


@pytest.mark.parametrize("make, bound", BOUNDS.values(), ids=BOUNDS)
def test_bounds(make, bound):
    assert read_integer_bound(module(make(integers("int8")))["main"].body) == bound


def test_deep_expressions_are_given_up():
    value = integers("int8").astype("int32")
    for _ in range(300):
        value = relay.nn.relu(value)
    assert read_integer_bound(module(value)["main"].body) is None


# What stands behind a pool over ReLU, and wraps: TVM's bounds are those of integers without end.
WRAPPING = {
    "shifted first": ("int32", lambda p, c: relay.right_shift(p, c(1)) * c(100001)),
    "divided first": ("int32", lambda p, c: relay.floor_divide(p, c(3)) * c(100001)),
    "chosen first": ("int32", lambda p, c: relay.where(relay.greater(p, c(5)), p, c(5)) * c(9999)),
    "a remainder": ("int32", lambda p, c: relay.floor_mod(p, c(1000000)) * c(100000)),
    "int8, squared": ("int8", lambda p, c: p * p),
    "int8, doubled": ("int8", lambda p, c: p + p),
    "int8, shifted": ("int8", lambda p, c: relay.left_shift(p, c(1))),
    "int16, squared": ("int16", lambda p, c: p * p),
}


@pytest.mark.parametrize("name", WRAPPING)
def test_what_wraps_behind_the_pool_keeps_the_steps_in_front(name):
    dtype, make = WRAPPING[name]
    x = relay.var("x", shape=(1, 4, 8, 8), dtype=dtype)
    behind = make(max_pool(relay.nn.relu(x)), lambda value: relay.const(value, dtype))
    mod = module(relay.maximum(behind.astype("int64"), relay.const(0, "int64")))
    limits = np.iinfo(dtype)
    values = np.random.default_rng(0).integers(limits.min, limits.max, (1, 4, 8, 8)).astype(dtype)
    (before,) = execute(build(mod), {"x": values})
    with tvm_reorder.enabled(decision="exchange") as report:
        (after,) = execute(build(mod), {"x": values})
    assert np.array_equal(before, after), report
    assert report.sites[0].refusal.reason is Reason.INTEGER_OVERFLOW, report


REDUCED = {
    "mean": lambda x: relay.mean(x, axis=0),
    "sum": lambda x: relay.sum(x, axis=0),
    "prod": lambda x: relay.prod(x, axis=0),
    "mean of a half": lambda x: relay.mean(relay.right_shift(x, relay.const(1)), axis=0),
}


@pytest.mark.parametrize("name", REDUCED)
def test_what_wraps_in_a_reduction_behind_keeps_the_steps_in_front(name):
    x = relay.var("x", shape=(4, 8), dtype="int32")
    mod = module(REDUCED[name](relay.max(relay.nn.relu(x), axis=1)))
    values = np.random.default_rng(0).integers(2**29 + 2**28, 2**30, (4, 8)).astype("int32")
    (before,) = execute(build(mod), {"x": values})
    with tvm_reorder.enabled(decision="exchange") as report:
        (after,) = execute(build(mod), {"x": values})
    assert np.array_equal(before, after), report
    assert report.sites[0].refusal.reason is Reason.INTEGER_OVERFLOW, report


@pytest.mark.parametrize("reduce", [relay.mean, relay.min, relay.max, relay.argmax, relay.sum])
def test_what_fits_in_a_reduction_behind_lets_the_steps_move(reduce):
    x = relay.var("x", shape=(4, 8), dtype="int8")
    mod = module(reduce(relay.max(relay.nn.relu(x).astype("int32"), axis=1), axis=0))
    values = np.random.default_rng(0).integers(-128, 128, (4, 8)).astype("int8")
    (before,) = execute(build(mod), {"x": values})
    with tvm_reorder.enabled(decision="exchange") as report:
        (after,) = execute(build(mod), {"x": values})
    assert np.array_equal(before, after) and report.exchanged, report


def test_what_fits_behind_the_pool_lets_the_steps_move():
    x = relay.var("x", shape=(1, 4, 8, 8), dtype="int8")
    wide = max_pool(relay.nn.relu(x)).astype("int32")
    shifted = relay.right_shift(wide * relay.const(3, "int32"), relay.const(1, "int32"))
    chosen = relay.where(relay.greater(shifted, relay.const(5, "int32")), shifted, wide)
    with tvm_reorder.enabled(decision="exchange") as report:
        build(module(chosen + relay.const(7, "int32")))
    assert report.exchanged, report
