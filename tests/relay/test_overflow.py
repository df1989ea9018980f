"""Integer overflow is undefined to TVM, so nothing moves next to a step that may overflow."""

import numpy as np
import pytest
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.relay.integer_bounds import read_integer_bound

from .networks import assert_same_results, build, constant, execute, max_pool, module, only_site

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
    site = assert_same_results(mod, {"x": values}).sites[0]
    assert site.refusal.reason is Reason.INTEGER_OVERFLOW, site.explanation


@pytest.mark.parametrize("reduce", [relay.mean, relay.min, relay.max, relay.argmax, relay.sum])
def test_what_fits_in_a_reduction_behind_lets_the_steps_move(reduce):
    x = relay.var("x", shape=(4, 8), dtype="int8")
    mod = module(reduce(relay.max(relay.nn.relu(x).astype("int32"), axis=1), axis=0))
    values = np.random.default_rng(0).integers(-128, 128, (4, 8)).astype("int8")
    assert assert_same_results(mod, {"x": values}).exchanged


def test_what_fits_behind_the_pool_lets_the_steps_move():
    x = relay.var("x", shape=(1, 4, 8, 8), dtype="int8")
    wide = max_pool(relay.nn.relu(x)).astype("int32")
    shifted = relay.right_shift(wide * relay.const(3, "int32"), relay.const(1, "int32"))
    chosen = relay.where(relay.greater(shifted, relay.const(5, "int32")), shifted, wide)
    with tvm_reorder.enabled(decision="exchange") as report:
        build(module(chosen + relay.const(7, "int32")))
    assert report.exchanged, report


SQUARED = {
    "in front": lambda x, z: max_pool(relay.nn.relu(relay.maximum(x, z))),
    "below the steps": lambda x, z: max_pool(relay.nn.relu(relay.power(x, z))),
    "behind": lambda x, z: relay.nn.relu(max_pool(relay.nn.relu(x)) + z),
}


@pytest.mark.parametrize("name", SQUARED)
@pytest.mark.parametrize("power", [2, 3, 4])
def test_no_step_leaves_the_cast_of_an_integer_that_wraps(name, power):
    """LLVM takes z * z for no less than 0, and drops a ReLU that stands in one kernel with it."""
    x = relay.var("x", shape=(1, 4, 8, 8))
    z = relay.var("z", shape=(1, 4, 1, 1), dtype="int32")
    product = {2: z * z, 3: z * z * z, 4: (z * z) * (z * z)}[power]
    values = np.random.default_rng(0).normal(size=(1, 4, 8, 8)).astype("float32")
    inputs = {"x": values, "z": np.full((1, 4, 1, 1), 50_000, "int32")}
    site = assert_same_results(module(SQUARED[name](x, product.astype("float32"))), inputs).sites[0]
    if power != 3:  # of either sign: nobody can tell anything from it
        assert site.refusal.reason is Reason.INTEGER_OVERFLOW, site.explanation


@pytest.mark.parametrize("name", ["mask", "scaled mask", "index", "range"])
def test_an_integer_of_either_sign_or_that_fits_lets_the_steps_move(name):
    x = relay.var("x", shape=(2, 16, 8))
    ids = relay.var("z", shape=(2, 16), dtype="int64")
    mask = relay.expand_dims(relay.const(1, "int64") - ids, 2)
    bit = relay.expand_dims(relay.clip(ids, 0, 1), 2)
    table = constant(np.random.default_rng(0).normal(size=(10, 8)))
    data = {
        "mask": x * mask.astype("float32"),
        "scaled mask": x * (mask * relay.const(-10_000, "int64")).astype("float32"),
        "index": relay.maximum(
            x, relay.take(table, (ids * ids).astype("int32"), axis=0, mode="clip")
        ),
        "range": x * (bit * bit).astype("float32"),
    }[name]
    values = np.random.default_rng(1).normal(size=(2, 16, 8)).astype("float32")
    inputs = {"x": values, "z": np.random.default_rng(2).integers(0, 2, (2, 16))}
    site = assert_same_results(module(relay.max(relay.tanh(data), axis=1)), inputs).sites[0]
    assert site.status is Status.EXCHANGED, site.explanation


CAST_BACK = {
    "a cast": lambda x: x.astype("float32"),
    "a cast to half": lambda x: x.astype("float16"),
    "and relu": lambda x: relay.nn.relu(x.astype("float32")),
    "and a whole factor": lambda x: x.astype("float32") * relay.const(1.0),
    "and floor": lambda x: relay.floor(x.astype("float32")),
}


@pytest.mark.parametrize("name", CAST_BACK)
@pytest.mark.parametrize("dtype, factor", [("uint16", 40_000), ("uint8", 2**24 - 1)])
def test_integers_that_wrap_behind_a_pool_of_floats_keep_the_cast_in_front(name, dtype, factor):
    """LLVM makes i of int(float(i)), whose sign it knows, and of i * c what it would be unbound."""
    x = relay.var("x", shape=(1, 4, 8, 8), dtype=dtype)
    whole = max_pool(CAST_BACK[name](x)).astype("int32") * relay.const(factor)
    mod = module(relay.right_shift(whole, relay.const(2)))
    most = 60_000 if "half" in name else np.iinfo(dtype).max
    inputs = {"x": np.full((1, 4, 8, 8), min(most, np.iinfo(dtype).max), dtype)}
    site = assert_same_results(mod, inputs).sites[0]
    assert site.refusal.reason is Reason.INTEGER_OVERFLOW, site.explanation


@pytest.mark.parametrize("name", ["sigmoid", "scale", "no integers", "fits"])
def test_what_nobody_follows_the_integers_through_lets_the_cast_move(name):
    x = relay.var("x", shape=(1, 4, 8, 8), dtype="float32" if name == "no integers" else "uint8")
    steps, factor = {
        "sigmoid": (lambda x: relay.sigmoid(x.astype("float32")), 40_000),
        "scale": (lambda x: x.astype("float32") * relay.const(0.0235), 40_000),
        "no integers": (relay.nn.relu, 40_000),
        "fits": (lambda x: x.astype("float32"), 1),
    }[name]
    whole = max_pool(steps(x)).astype("int32") * relay.const(factor)
    values = np.random.default_rng(0).integers(0, 256, (1, 4, 8, 8)).astype(x.type_annotation.dtype)
    site = assert_same_results(
        module(relay.right_shift(whole, relay.const(2))), {"x": values}
    ).sites[0]
    assert site.status is Status.EXCHANGED, site.explanation


AVERAGES = {
    "avg_pool1d": (relay.nn.avg_pool1d, (1, 4, 16), relay.nn.max_pool1d),
    "avg_pool3d": (relay.nn.avg_pool3d, (1, 4, 8, 8, 8), relay.nn.max_pool3d),
}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32"])
@pytest.mark.parametrize("name", AVERAGES)
def test_an_average_of_small_integers_is_not_parted_from_the_cast_behind_it(name, dtype):
    """TVM computes 32 bits of it: a kernel that ended there would not fit its storage."""
    average, shape, pool = AVERAGES[name]
    size = (2,) * (len(shape) - 2)
    x = relay.var("x", shape=shape, dtype=dtype)
    quotient = average(relay.clip(x, 0, 8), pool_size=size, strides=size)
    mod = module(pool(relay.sigmoid(quotient.astype("float32")), size, size))
    values = np.random.default_rng(0).integers(0, 16, shape).astype(dtype)
    site = assert_same_results(mod, {"x": values}).sites[0]
    assert site.status is Status.EXCHANGED, site.explanation
    assert ("TVM stores 32 bits" in site.explanation) is (dtype != "int32"), site.explanation


BOUND_TO_FOLD = {
    "a product": lambda x: x * relay.const(0.0) + relay.const(3e38),
    "a difference": lambda x: (x - x) + relay.const(3e38),
    "a clip": lambda x: relay.clip(x, 3e38, 3e38),
}


@pytest.mark.parametrize("name", BOUND_TO_FOLD)
def test_one_number_does_not_come_to_stand_before_a_cast(name):
    """TVM folds both, and builds no literal that its dtype does not hold."""
    x = relay.var("x", shape=(1, 4, 8, 8))
    mod = module(max_pool(BOUND_TO_FOLD[name](x)).astype("int32"))
    values = np.random.default_rng(0).normal(size=(1, 4, 8, 8)).astype("float32")
    site = assert_same_results(mod, {"x": values}).sites[0]
    assert site.refusal.reason is Reason.NOT_COMPILED, site.explanation
