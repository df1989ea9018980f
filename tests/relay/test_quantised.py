"""Quantised networks: exact on integers, saturation included, and kept where bytes grow."""

from dataclasses import replace

import numpy as np
import pytest
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status

from .networks import TARGET, build, constant, conv2d, execute, image, max_pool, module, only_site
from .quantised_networks import (
    WITHOUT_SSE41,
    Quantisation,
    fake_quantised_net,
    globally_quantised_net,
    quantised_net,
)

RNG = np.random.default_rng(11)
PLAIN = Quantisation()
CASES = {
    "plain": PLAIN,
    "per channel": replace(PLAIN, per_channel=True),
    "to nearest": replace(PLAIN, rounding="TONEAREST", clips=False),
    "to nearest per channel": replace(PLAIN, rounding="TONEAREST", per_channel=True),
    "weights with a zero point": replace(PLAIN, kernel_zero=2),
    "zero points per channel": replace(PLAIN, per_channel=True, kernel_zero=(2, 0, -1, 3)),
    "zero points of 0 per channel": replace(PLAIN, per_channel=True, kernel_zero=(0,) * 4),
    "padded overlapping pool": replace(PLAIN, pool=3),
    "int8 to uint8": replace(PLAIN, input_dtype="int8", dtype="uint8", zero=100),
    "saturating": replace(PLAIN, scale=1e-4, zero=-128, clips=False),
    "a scale that leaves int32": replace(PLAIN, scale=1e-12),
    "a scale of one half": replace(PLAIN, scale=0.004),
    "scaled up": replace(PLAIN, scale=0.0005, per_channel=True, clips=False),
}
TARGETS = {"float": TARGET, "integer": WITHOUT_SSE41}


def draw(q: Quantisation) -> list[np.ndarray]:
    """Random pictures, and both ends of the dtype."""
    info, shape = np.iinfo(q.input_dtype), (1, 3, 8, 8)
    ends = RNG.choice([info.min, info.max], shape)
    return [
        RNG.integers(info.min, info.max + 1, shape).astype(q.input_dtype),
        *(np.full(shape, value, q.input_dtype) for value in (info.min, info.max)),
        ends.astype(q.input_dtype),
    ]


def assert_equal_on(mod, inputs, target, **options):
    """Stock and rewritten builds compare equal on every input; returns the report."""
    stock = build(mod, target=target)
    with tvm_reorder.enabled(**{"decision": "exchange", **options}) as report:
        ours = build(mod, target=target)
    assert not report.errors
    for x in inputs:
        for before, after in zip(execute(stock, {"x": x}), execute(ours, {"x": x})):
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(after, before)
    return report


QUICK = [
    ("per channel", "float"),
    ("weights with a zero point", "float"),
    ("zero points per channel", "float"),
    ("zero points of 0 per channel", "integer"),
    ("per channel", "integer"),
    ("to nearest per channel", "integer"),
    ("saturating", "integer"),
    ("a scale that leaves int32", "integer"),
    ("scaled up", "integer"),
]
ALL = [
    pytest.param(name, kind, marks=() if (name, kind) in QUICK else pytest.mark.full)
    for name in CASES
    for kind in TARGETS
]


@pytest.mark.parametrize("name, arithmetic", ALL)
def test_the_exchange_is_exact(name, arithmetic):
    q = CASES[name]
    report = assert_equal_on(quantised_net(q), draw(q), TARGETS[arithmetic])
    (site,) = report.sites
    if name == "a scale that leaves int32":  # in integers: a float product leaves nothing
        is_refused = site.status is Status.REFUSED
        assert is_refused and site.refusal.reason is Reason.INTEGER_OVERFLOW, site.explanation
        return
    assert site.status is Status.EXCHANGED, site.explanation
    assert f"cast to {q.dtype}" in site.chain
    requantizes = {"multiply", "fixed_point_multiply", "fixed_point_multiply_per_axis"}
    assert requantizes.intersection(site.chain)


@pytest.mark.parametrize("arithmetic", TARGETS)
def test_the_decision_counts_bytes(arithmetic):
    with tvm_reorder.enabled() as report:
        build(quantised_net(), target=TARGETS[arithmetic])
    (site,) = report.sites
    assert site.status is Status.KEPT and site.decision.basis == "bytes"
    assert "int32, 4 times the bytes of int8" in site.decision.note
    assert "not fused: " in site.decision.note
    assert site.workload.base_dtype == "int32" and site.workload.widening == 4


def test_fusing_falls_back_and_says_why():
    with tvm_reorder.enabled(decision="fuse") as report:
        build(quantised_net(), target=WITHOUT_SSE41)
    (site,) = report.sites
    assert site.status is Status.EXCHANGED
    assert "not fused: the convolution's dtype is int16/int32" in site.decision.note


@pytest.mark.parametrize("quantises_first", [pytest.param(False, marks=pytest.mark.full), True])
def test_fake_quantised_networks(quantises_first):
    mod = fake_quantised_net(quantises_first=quantises_first)
    mod = relay.transform.FakeQuantizationToInteger()(mod)
    assert "qnn.conv2d" in str(mod)
    inputs = [RNG.normal(size=(1, 3, 8, 8)).astype("float32") * 5, np.full((1, 3, 8, 8), 1e9, "f4")]
    report = assert_equal_on(mod, inputs, TARGET)
    (site,) = report.sites
    assert site.status is Status.EXCHANGED and "maximum" in site.chain
    assert ("cast to int8" in site.chain) == quantises_first


def test_requantize_in_float_without_sse41_is_refused():
    """Rounding is a tree of choices there, of whose values no interval is known."""
    with (
        relay.qnn.op.requantize_config(compute_dtype="float32"),
        tvm_reorder.enabled(decision="exchange") as report,
    ):
        build(quantised_net(replace(PLAIN, clips=False)), target=WITHOUT_SSE41)
    assert not report.errors
    (site,) = report.sites
    assert site.refusal.reason is Reason.INTEGER_OVERFLOW


@pytest.mark.parametrize(
    "skips_first, arithmetic",
    [
        (True, "integer"),
        pytest.param(False, "integer", marks=pytest.mark.full),
        pytest.param(True, "float", marks=pytest.mark.full),
        pytest.param(False, "float", marks=pytest.mark.full),
    ],
)
def test_tvms_own_quantiser(skips_first, arithmetic):
    mod = globally_quantised_net(skips_first)
    inputs = [RNG.normal(size=(1, 3, 8, 8)).astype("float32") * 5, np.full((1, 3, 8, 8), 1e9, "f4")]
    report = assert_equal_on(mod, inputs, TARGETS[arithmetic])
    (site,) = report.sites
    assert site.status is Status.EXCHANGED
    assert {"fixed_point_multiply", "nn.relu"} <= set(site.chain)


def integer_net(step, weights=None):
    """int8 convolution -> step -> pool, on int32."""
    data = conv2d(image(dtype="int8"), dtype="int8", out_dtype="int32")
    return module(max_pool(step(data)))


@pytest.mark.parametrize("order", [1, -1])
def test_a_product_of_int64_stays_with_what_follows_it(order):
    """TVM stores 32 bits of it where Relay says 64, so it may not end a kernel."""
    wide = conv2d(image(dtype="int8"), dtype="int8", out_dtype="int32").astype("int64")
    product = relay.fixed_point_multiply(wide, 3 * 2**29, -3)
    branches = [relay.clip(value, -127, 127).astype("int8") for value in (wide, product)]
    mod = module(max_pool(relay.concatenate(branches[::order], 1)))
    inputs = [RNG.integers(-128, 128, (1, 3, 8, 8)).astype("int8")]
    (site,) = assert_equal_on(mod, inputs, TARGET).sites
    assert site.status is Status.REFUSED
    assert site.refusal.reason is Reason.CONTRACTION
    assert "fixed_point_multiply of int64 is separated from the cast" in site.explanation


@pytest.mark.parametrize(
    "multiplier, shift, status",
    [
        (2**30, 3, Status.EXCHANGED),  # shifted to the left
        (2**30, -3, Status.EXCHANGED),
        (2**30, 1, Status.REFUSED),  # TVM would shift by -1 bits
        (3 * 2**29, 2, Status.EXCHANGED),
        (-(2**30) - 1, 0, Status.REFUSED),  # falls
        (2**31 - 1, 20, Status.REFUSED),  # leaves 32 bits
    ],
)
def test_fixed_point_products(multiplier, shift, status):
    mod = integer_net(lambda x: relay.fixed_point_multiply(x, multiplier, shift))
    assert only_site(mod).status is status
    if status is Status.EXCHANGED:
        inputs = [RNG.integers(-128, 128, (1, 3, 8, 8)).astype("int8")]
        assert_equal_on(mod, inputs, WITHOUT_SSE41)


def test_channels_with_negative_multipliers_are_taken_at_their_minimum():
    axes = [constant(values, "int32") for values in ([2**30 + 1, -5, 7, 9], [0] * 4, [0] * 4)]
    multiply = relay.op._make.fixed_point_multiply_per_axis
    offset = relay.const(3, "int32")
    mod = integer_net(lambda x: multiply(x, *axes, False, False, [1]) + offset + offset)
    site = only_site(mod)
    assert site.ends.signs == (1, -1, 1, 1), site.explanation
    inputs = [RNG.integers(-128, 128, (1, 3, 8, 8)).astype("int8")]
    assert_equal_on(mod, inputs, WITHOUT_SSE41)


@pytest.mark.parametrize("axes", [[4], [1]])
def test_products_per_axis_stay_in_front_of_a_pool_over_blocks(axes):
    """AlterOpLayout would look for the axis in a layout that the pool names, and fail the build."""
    x = relay.var("x", shape=(1, 3, 8, 8, 1), dtype="int32")
    numbers = [constant([value] * (3 if axes == [1] else 1), "int32") for value in (2**30, 0, 0)]
    scaled = relay.op._make.fixed_point_multiply_per_axis(x, *numbers, False, False, axes)
    small = relay.clip(scaled, -100, 100)
    for value, status in ((small, Status.EXCHANGED), (scaled, Status.REFUSED)):
        mod = module(max_pool(value, layout="NCHW1c"))
        inputs = [RNG.integers(-128, 128, (1, 3, 8, 8, 1)).astype("int32")]
        report = assert_equal_on(mod, inputs, WITHOUT_SSE41)
        assert report.sites[0].status is status, report


def test_other_targets_have_instructions_of_their_own():
    mod = integer_net(lambda x: relay.fixed_point_multiply(x, 2**30 + 1, 0))
    site = only_site(mod, target="llvm -mtriple=aarch64-linux-gnu")
    assert site.refusal.reason is Reason.UNPROVEN


@pytest.mark.parametrize("bits, reason", [(3, None), (70, Reason.UNKNOWN_OPERATOR)])
@pytest.mark.parametrize("shift", [relay.left_shift, relay.right_shift])
def test_shifts(shift, bits, reason):
    mod = integer_net(lambda x: shift(x, constant(bits, "int32")))
    site = only_site(mod)
    assert (site.refusal and site.refusal.reason) is reason
    if reason is None:
        inputs = [RNG.integers(-128, 128, (1, 3, 8, 8)).astype("int8")]
        assert_equal_on(mod, inputs, WITHOUT_SSE41)


def test_a_shift_of_a_constant_is_unknown():
    site = only_site(integer_net(lambda x: relay.right_shift(constant(99, "int32"), x)))
    assert site.refusal.reason is Reason.UNKNOWN_OPERATOR


def test_rounding_that_falls_at_zero_is_refused():
    def step(x):
        zeros = relay.zeros((1, 4, 8, 8), "int32")
        up, down = constant(1, "int32"), constant(2, "int32")
        return x + relay.where(relay.greater_equal(x, zeros), up, down)

    site = only_site(integer_net(step))
    assert site.status is Status.REFUSED and site.chain == ("rounding by sign",)


def test_a_float_is_cast_to_an_integer_within_a_clip():
    """Whatever the convolution gives, infinities included, the clip keeps the cast in range."""

    def step(x):
        return relay.round(relay.clip(x, -1, 1) * relay.const(127.0)).astype("int8")

    mod = module(max_pool(step(conv2d(image()))))
    pictures = [RNG.normal(size=(1, 3, 8, 8)), np.full((1, 3, 8, 8), 3e38)]
    report = assert_equal_on(mod, [x.astype("float32") for x in pictures], TARGET)
    assert report.sites[0].status is Status.EXCHANGED
    wider = module(max_pool(relay.clip(conv2d(image()), -129, 1).astype("int8")))
    assert only_site(wider).refusal.reason is Reason.INTEGER_OVERFLOW
