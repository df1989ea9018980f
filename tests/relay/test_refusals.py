"""Every reason there is, each on a network that must be refused for it."""

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.relay.activations import ACTIVATIONS

from .networks import (
    TARGET,
    channels_first,
    constant,
    conv2d,
    conv_net,
    image,
    max_pool,
    module,
    only_site,
)


def shared_activation():
    active = relay.nn.relu(conv2d(image()))
    return module(relay.nn.batch_flatten(max_pool(active)) + relay.sum(active))


def output_activation():
    active = relay.nn.relu(conv2d(image()))
    return module(relay.Tuple([active, max_pool(active)]))


def residual():
    data = conv2d(image())
    return module(max_pool(relay.nn.relu(data) + conv2d(image(), seed=1)))


def residual_below_the_activation():
    x = image()
    return module(max_pool(relay.nn.relu(conv2d(x) + conv2d(x, seed=1))))


def unknown_between():
    return conv_net(lambda x: relay.nn.softmax(relay.nn.relu(x), axis=1))


def unknown_below():
    return conv_net(lambda x: relay.nn.relu(relay.nn.softmax(x, axis=1)))


def unknown_elementwise():
    return conv_net(lambda x: relay.bitwise_and(relay.cast(x, "int32"), relay.const(1)))


def choice_by_column():
    slopes = constant(np.linspace(0.1, 0.8, 8))

    def prelu(x):
        return relay.where(relay.greater(x, relay.const(0.0)), x, x * slopes)

    return conv_net(prelu)


def unbound_scale():
    scale = relay.var("scale", shape=(4, 1, 1))
    return conv_net(lambda x: relay.nn.relu(x) * scale)


def too_wide_by_less_than_a_stride():
    """Relay's type says that there is one window, and what TVM builds fails when it is run."""
    return conv_net(relay.nn.relu, size=9, stride=3)


def of_no_image():
    return module(max_pool(relay.nn.relu(conv2d(relay.var("x", shape=(0, 3, 8, 8))))))


def of_no_rows():
    x = relay.strided_slice(relay.nn.relu(conv2d(image())), [0, 0, 0, 0], [1, 4, 0, 8])
    return module(relay.nn.adaptive_max_pool2d(x, (2, 2)))


PAIR = {"x": (8, 8), "y": (1, 1)}


def dynamic():
    x = relay.var("x", shape=(1, 3, relay.Any(), 8))
    return module(max_pool(relay.nn.relu(conv2d(x))))


def dynamic_operand():
    """A batch of 1 takes one of 3: FuseOps sees two unknown extents, and takes them for equal."""
    x, y = (relay.var(name, shape=(relay.Any(), 4, *sides)) for name, sides in PAIR.items())
    return module(max_pool(x + y))


def branches_that_differ():
    x = image()
    branches = [relay.nn.relu(conv2d(x)), relay.tanh(conv2d(x, seed=1))]
    return module(max_pool(relay.concatenate(branches, axis=1)))


def integer_bias():
    x = image(dtype="int8")
    data = conv2d(x, dtype="int8", out_dtype="int32")
    return module(max_pool(data + constant(2**31 - 1, "int32")))


def leaky_padded():
    return conv_net(lambda x: relay.nn.leaky_relu(x, 0.1), size=3, padding=(1, 1))


def split_multiply_add():
    scale, bias = relay.var("scale", shape=(4, 1, 1)), channels_first([0.1, 0.2, 0.3, 0.4])
    return conv_net(lambda x: relay.nn.relu(x) * scale + bias)


def new_multiply_add():
    pooled = max_pool(relay.tanh(conv2d(image())) * relay.const(0.3))
    return module(pooled + relay.var("r", shape=(1, 4, 4, 4)))


def split_divide_add():
    """Found by scripts/fuzz.py: TVM multiplies by 1/6, and LLVM makes an FMA of that."""
    quotient = conv2d(image()) / relay.var("divisor", shape=())
    return module(max_pool(quotient + relay.const(0.1)))


def new_divide_add():
    pooled = max_pool(relay.tanh(conv2d(image())) / relay.const(6.0))
    return module(pooled + relay.var("r", shape=(1, 4, 4, 4)))


def leaky():
    return conv_net(lambda x: relay.nn.leaky_relu(x, 0.1))


def scale_below_one():
    return conv_net(lambda x: relay.clip(x, -np.inf, 6) * channels_first([0.5, 1, 2, 1]))


CASES = {
    "shared": (Reason.SHARED, shared_activation),
    "function output": (Reason.FUNCTION_OUTPUT, output_activation),
    "residual": (Reason.VARIES_IN_WINDOW, residual),
    "unknown operator": (Reason.UNKNOWN_OPERATOR, unknown_between),
    "unknown elementwise": (Reason.UNKNOWN_OPERATOR, unknown_elementwise),
    "spread over its own shape": (
        Reason.UNKNOWN_OPERATOR,
        lambda: conv_net(lambda x: relay.broadcast_to(x, (1, 4, 8, 8))),
    ),
    "a choice by column": (Reason.VARIES_IN_WINDOW, choice_by_column),
    "unknown scale": (Reason.UNKNOWN_SIGN, unbound_scale),
    "no activation": (Reason.NO_ACTIVATION, lambda: conv_net(lambda x: x)),
    "dynamic window": (Reason.DYNAMIC_WINDOW, dynamic),
    "window wider than its input": (Reason.EMPTY_POOL, lambda: conv_net(relay.nn.relu, size=9)),
    "window a little wider": (Reason.EMPTY_POOL, too_wide_by_less_than_a_stride),
    "nothing but a window too wide": (Reason.EMPTY_POOL, lambda: conv_net(lambda x: x, size=10)),
    "no image": (Reason.EMPTY_POOL, of_no_image),
    "no rows": (Reason.EMPTY_POOL, of_no_rows),
    "branches differ": (Reason.BRANCHES_DIFFER, branches_that_differ),
    "integer bias": (Reason.INTEGER_OVERFLOW, integer_bias),
    "rsqrt behind the pool": (
        Reason.ZERO_SIGN,
        lambda: module(relay.rsqrt(max_pool(relay.nn.relu(conv2d(image()))))),
    ),
    "float to int": (Reason.INTEGER_OVERFLOW, lambda: conv_net(lambda x: x.astype("int32"))),
    "hill": (Reason.NOT_MONOTONE, lambda: conv_net(lambda x: relay.negative(relay.abs(x)))),
    "rsqrt": (Reason.UNPROVEN, lambda: conv_net(relay.rsqrt)),
    "left shift": (
        Reason.INTEGER_OVERFLOW,
        lambda: conv_net(lambda x: relay.left_shift(x.astype("int32"), relay.const(1))),
    ),
    "1/x": (Reason.NOT_MONOTONE, lambda: conv_net(lambda x: relay.const(1.0) / x)),
    "sin": (Reason.NOT_MONOTONE, lambda: conv_net(relay.sin)),
    "negative scale": (
        Reason.NEGATIVE_SCALE,
        lambda: conv_net(lambda x: relay.abs(x) * channels_first([1, -0.5, 2, 0])),
    ),
    "product that stays below a sum": (Reason.CONTRACTION, split_multiply_add),
    "product that comes before a sum": (Reason.CONTRACTION, new_multiply_add),
    "quotient that stays below a sum": (Reason.CONTRACTION, split_divide_add),
    "quotient that comes before a sum": (Reason.CONTRACTION, new_divide_add),
    "infinite bias": (
        Reason.NON_FINITE_CONSTANT,
        lambda: conv_net(lambda x: x + channels_first([0, 0, np.inf, 0])),
    ),
    "a slope that is none": (
        Reason.NON_FINITE_CONSTANT,
        lambda: conv_net(lambda x: relay.nn.leaky_relu(x, float("nan"))),
    ),
    "softsign": (
        Reason.DECREASES_AS_COMPUTED,
        lambda: conv_net(lambda x: x / (relay.const(1.0) + relay.abs(x))),
    ),
    "double to half": (
        Reason.UNPROVEN,
        lambda: conv_net(lambda x: relay.clip(x.astype("float64"), -9, 9).astype("float16")),
    ),
    "unmeasured function": (Reason.UNPROVEN, lambda: conv_net(relay.asin)),
    "no saving": (
        Reason.NO_SAVING,
        lambda: conv_net(relay.nn.relu, size=3, stride=1, padding=(1, 1)),
    ),
    "operand that may be larger at run time": (Reason.NO_SAVING, dynamic_operand),
    "asymmetric padding": (
        Reason.PADDING_ONLY_WINDOW,
        lambda: conv_net(relay.nn.relu, padding=(2, 0, 0, 0)),
    ),
    "pad as wide as the kernel": (
        Reason.PADDING_ONLY_WINDOW,
        lambda: conv_net(relay.nn.relu, padding=(2, 2)),
    ),
    "padding with what the activation never gives": (
        Reason.PADDING_VALUE,
        lambda: conv_net(lambda x: relay.nn.pad(relay.nn.relu(x), [[0, 0]] * 2 + [[1, 1]] * 2, -1)),
    ),
    "ceil_mode": (
        Reason.PADDING_ONLY_WINDOW,
        lambda: conv_net(relay.nn.relu, size=1, stride=4, ceil_mode=True, padding=(0, 0, 2, 2)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_is_refused_for_its_reason(case):
    reason, make = CASES[case]
    mod = make()
    exchanged, report = tvm_reorder.reorder(mod, decision="exchange")
    (site,) = report.sites
    assert site.status is Status.REFUSED
    assert site.refusal.reason is reason, site.explanation
    assert " but must be " in site.explanation
    stock, _ = tvm_reorder.reorder(mod, write=False, decision="exchange")
    assert tvm.ir.structural_equal(exchanged, stock)


@pytest.mark.parametrize(
    "make, reason",
    [
        (residual_below_the_activation, Reason.VARIES_IN_WINDOW),
        (unknown_below, Reason.UNKNOWN_OPERATOR),
    ],
)
def test_what_no_step_computes_keeps_no_step_from_moving(make, reason):
    """Whatever computes what the steps read, they move; why it stays itself is said."""
    site = only_site(make())
    assert site.status is Status.EXCHANGED and site.chain == ("nn.relu",)
    assert site.refusal.reason is reason and "the next step stays: " in site.explanation


def test_an_average_pool_is_listed_apart():
    pooled = relay.nn.avg_pool2d(relay.nn.relu(conv2d(image())), pool_size=(2, 2), strides=(2, 2))
    _, report = tvm_reorder.reorder(module(pooled), decision="exchange")
    assert report.sites == ()
    (site,) = report.other_pools
    assert site.refusal.reason is Reason.NOT_A_MAX_POOL


def test_every_reason_has_a_case():
    elsewhere = {Reason.NOT_A_MAX_POOL, Reason.NEGATIVE_INFINITY, Reason.NEGATIVE_SLOPE}  # below
    elsewhere.add(Reason.FUSION)  # in test_fusion.py
    elsewhere.add(Reason.NAN)  # in test_nan.py
    elsewhere.add(Reason.LAYOUT)  # in test_layouts.py
    elsewhere.add(Reason.NOT_COMPILED)  # in test_mixed_precision.py
    elsewhere.add(Reason.INTERNAL_ERROR)  # in test_internal_errors.py
    asserted = {reason for reason, _ in CASES.values()} | elsewhere
    assert asserted == set(Reason)


@pytest.mark.parametrize("opt_level", [3, 4])
def test_tanh_is_refused_where_fast_math_replaces_it(opt_level):
    mod = conv_net(relay.tanh)
    with tvm.transform.PassContext(opt_level=opt_level):
        site = only_site(mod, target=TARGET)
    assert (site.status is Status.REFUSED) == (opt_level == 4)
    if opt_level == 4:
        assert site.refusal.reason is Reason.DECREASES_AS_COMPUTED
        assert "fast_tanh as computed is 8 ulp" in site.explanation


def test_fast_math_counts_when_it_is_required_and_not_when_it_is_disabled():
    mod = conv_net(relay.tanh)
    with tvm.transform.PassContext(opt_level=3, required_pass=["FastMath"]):
        assert only_site(mod).status is Status.REFUSED
    with tvm.transform.PassContext(opt_level=4, disabled_pass=["FastMath"]):
        assert only_site(mod).status is Status.EXCHANGED


def test_fast_exp_never_falls_but_is_not_the_same_in_every_kernel():
    with tvm.transform.PassContext(opt_level=4):
        refused = only_site(conv_net(relay.exp))
        assert refused.refusal.reason is Reason.DECREASES_AS_COMPUTED
        assert only_site(conv_net(relay.exp), licence="ulp:1").status is Status.EXCHANGED


@pytest.mark.parametrize(
    "licence, status", [("ulp:1", Status.REFUSED), ("ulp:2", Status.EXCHANGED)]
)
def test_a_wider_licence_allows_softsign(licence, status):
    mod = conv_net(lambda x: x / (relay.const(1.0) + relay.abs(x)))
    assert only_site(mod, licence=licence).status is status


@pytest.mark.parametrize("make", [leaky, leaky_padded, scale_below_one])
def test_a_strict_licence_asks_for_windows_of_nothing_but_minus_infinity(make):
    site = only_site(make(), licence="strict")
    assert site.refusal.reason is Reason.NEGATIVE_INFINITY
    assert "-3.40282e+38 before" in site.explanation
    assert only_site(make()).status is Status.EXCHANGED


@pytest.mark.parametrize("activation", [relay.nn.relu, relay.sigmoid, relay.tanh, relay.exp])
def test_a_strict_licence_passes_what_levels_off(activation):
    assert only_site(conv_net(activation), licence="strict").status is Status.EXCHANGED


def test_library_functions_are_unproven_where_nobody_measured():
    assert only_site(conv_net(relay.sigmoid), target="c").refusal.reason is Reason.UNPROVEN
    assert only_site(conv_net(relay.nn.relu), target="c").status is Status.EXCHANGED


def test_other_architectures_are_not_the_measured_one():
    arm = "llvm -mtriple=aarch64-linux-gnu"
    assert only_site(conv_net(relay.sigmoid), target=arm).refusal.reason is Reason.UNPROVEN
    x86 = "llvm -mtriple=x86_64-linux-gnu"
    assert only_site(conv_net(relay.sigmoid), target=x86).status is Status.EXCHANGED


def scale_by(scale):
    return conv_net(lambda x: relay.nn.relu(x) * scale)


def bend_flat(slopes):
    """PReLU as the ONNX importer writes it."""

    def bend(x):
        spread = relay.reshape(relay.broadcast_to(slopes, (1, 4, 8, 8)), [-1])
        bent = relay.nn.prelu(relay.reshape(x, [-1]), spread, axis=0)
        return relay.reshape(bent, [1, 4, 8, 8])

    return conv_net(bend)


SCALE = relay.var("scale", shape=(4, 1, 1))
VARIABLES = {
    "scale": scale_by(SCALE),
    "scale in another shape": scale_by(relay.reshape(relay.var("scale", shape=(4,)), [4, 1, 1])),
    "divisor": conv_net(lambda x: x / SCALE),
    "slope": conv_net(lambda x: relay.nn.prelu(x, relay.var("scale", shape=(4,)))),
    "flattened slope": bend_flat(SCALE),
}


@pytest.mark.parametrize("case", VARIABLES)
def test_a_variable_is_named_and_can_be_bound(case):
    mod = VARIABLES[case]
    site = only_site(mod)
    assert site.refusal.reason is Reason.UNKNOWN_SIGN
    assert "is the variable 'scale' but must be a constant (bind it" in site.explanation
    shape = [int(n) for n in mod["main"].params[-1].checked_type.shape]
    params = {"scale": tvm.nd.array(np.ones(shape, "float32"))}
    assert only_site(mod, params).status is Status.EXCHANGED


def squeeze_and_excite():
    x, gates = conv2d(image()), constant(np.ones((4, 4, 1, 1)))
    gate = relay.nn.conv2d(relay.nn.global_avg_pool2d(x), gates, kernel_size=(1, 1), channels=4)
    return module(max_pool(x * relay.sigmoid(gate)))


def instance_norm():
    x = conv2d(image())
    spread = relay.variance(x, axis=[2, 3], keepdims=True)
    return module(max_pool(x / relay.sqrt(spread + relay.const(1e-5))))


def bound_by_let():
    """A variable, but none of the function's."""
    scale, x = relay.var("scale", shape=(4, 1, 1)), relay.var("y", shape=(4, 1, 1))
    body = max_pool(relay.nn.relu(conv2d(image())) * scale)
    return module(relay.Let(scale, relay.exp(x), body))


@pytest.mark.parametrize("make", [squeeze_and_excite, instance_norm, bound_by_let])
def test_what_is_computed_at_run_time_is_not_to_be_bound(make):
    site = only_site(make())
    assert site.refusal.reason is Reason.UNKNOWN_SIGN
    assert "is computed at run time but must be a constant" in site.explanation
    assert "bind" not in site.explanation


def test_weights_that_are_not_bound_leave_integers_without_bounds():
    x, weight = image(dtype="int16"), relay.var("w", shape=(4, 3, 3, 3), dtype="int16")
    data = relay.nn.conv2d(x, weight, channels=4, kernel_size=(3, 3), out_dtype="int32")
    mod = module(max_pool(relay.nn.relu(data + constant(5, "int32"))))
    site = only_site(mod)
    assert site.refusal.reason is Reason.INTEGER_OVERFLOW
    assert "(bind the weights 'w', if they are parameters)" in site.explanation
    params = {"w": tvm.nd.array(np.ones((4, 3, 3, 3), "int16"))}
    assert only_site(mod, params).status is Status.EXCHANGED


def test_an_unknown_function_of_one_value_can_be_registered(monkeypatch):
    monkeypatch.delitem(ACTIVATIONS, "exp")
    site = only_site(conv_net(lambda x: relay.exp(x.astype("float64"))))  # which no sweep decides
    assert "(register_activation makes one known)" in site.explanation
    assert "register_activation" not in only_site(unknown_between()).explanation


def test_a_composite_that_is_too_long_is_called_that():
    def polynomial(x, first):
        for n in range(first, first + 11):
            x = x * relay.const(0.5) + relay.maximum(x, relay.const(float(n)))
        return x

    x = conv2d(image())
    long = module(max_pool(polynomial(x, 1) + polynomial(x, 2)))
    assert "composite that ends in add is of more than 16 operators" in only_site(long).explanation


def test_bfloat16_constants_are_not_read_as_bits():
    def negative_scale(x):
        scale = relay.const(-1.0, "float32").astype("bfloat16")
        return relay.nn.relu(x).astype("bfloat16") * scale

    site = only_site(conv_net(negative_scale))
    assert site.refusal.reason is Reason.UNKNOWN_SIGN
    assert "is of bfloat16, which is not read here" in site.explanation


def test_rounding_integers_is_no_crash():
    site = only_site(conv_net(lambda x: relay.ceil(relay.nn.relu(x).astype("int32"))))
    assert site.refusal.reason is Reason.INTEGER_OVERFLOW


def test_a_bound_is_read_from_weights_only():
    """pad's value and take's indices are no weights: the int8 addition may wrap."""
    x = image(size=6, channels=4, dtype="int8")
    padded = relay.nn.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), 0.0)
    taken = relay.take(x, constant([0, 1, 2, 3], "int32"), axis=1, mode="clip")
    for data in (padded, taken):
        mod = module(max_pool(data + constant(100, "int8")))
        site = only_site(mod)
        assert site.refusal.reason is Reason.INTEGER_OVERFLOW


@pytest.mark.parametrize(
    "data, operand",
    [((4, 8, 8), (1, 1, 1, 1)), ((1, 4, 1, 8), (1, 4, 8, 1)), ((4, 8, 8), (1, 4, 1, 1))],
)
def test_data_of_another_rank_or_extent_is_refused(data, operand):
    active = relay.nn.relu(relay.var("x", shape=data)) + constant(np.ones(operand))
    site = only_site(module(max_pool(active)))
    assert site.status is Status.REFUSED and site.refusal.reason is Reason.VARIES_IN_WINDOW


def test_a_constant_that_is_not_folded_is_refused():
    unfolded = relay.nn.relu(constant(np.ones((1, 4, 8, 8))))
    mod = module(max_pool(relay.nn.relu(conv2d(image())) + unfolded))
    reorder = tvm_reorder.ReorderActivations(tvm_reorder.ReorderConfig(decision="exchange"))
    reorder.as_pass()(mod)
    assert reorder.report.sites[0].refusal.reason is Reason.VARIES_IN_WINDOW


def test_an_open_number_of_channels_is_no_crash():
    x = relay.var("x", shape=(1, relay.Any(), 8, 8))
    mod = module(max_pool(relay.nn.prelu(x, relay.var("s", shape=(relay.Any(),)))))
    assert only_site(mod).refusal.reason is Reason.UNKNOWN_SIGN
    scaled = module(max_pool(relay.nn.relu(x) * channels_first([1, -1, 1, 1])))
    assert only_site(scaled).refusal.reason is Reason.NO_SAVING  # one channel becomes four
    bent = module(max_pool(relay.nn.prelu(x, constant([0.1, -0.1, 0.2, 0.3]))))
    assert only_site(bent).refusal.reason is Reason.NEGATIVE_SLOPE
