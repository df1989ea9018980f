"""The pass goes by certificates: shipped, cached, made on the spot, or not at all."""

import json
import logging

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder import ReorderConfig
from tvm_reorder.certify import store
from tvm_reorder.certify.certifier import certify
from tvm_reorder.certify.functions import build_function
from tvm_reorder.core.certificates import CertificateError
from tvm_reorder.core.monotone import Direction, MonotoneMap
from tvm_reorder.core.refusal import Reason
from tvm_reorder.core.report import Status
from tvm_reorder.relay import certified
from tvm_reorder.relay.candidates import find_candidates
from tvm_reorder.relay.certified import CertificateSource

from ..relay.networks import (
    assert_same_results,
    channels_first,
    constant,
    conv2d,
    conv_net,
    image,
    max_pool,
    module,
    only_site,
)
from .functions import PLAIN

_SHIPPED = store._read_shipped()
HALF = relay.const(0.5, "float16")
TARGETS = ["llvm", "llvm -mcpu=core-avx2", "llvm -mcpu=skylake-avx512"]


@pytest.fixture
def own(monkeypatch, tmp_path):
    """An empty cache of the user's own, and nothing shipped."""
    monkeypatch.setenv(store.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(store, "_read_shipped", lambda: {})
    monkeypatch.setattr(certified, "_refused", set())
    return tmp_path


def softsign(x, one=1.0):
    return x / (relay.const(one) + relay.abs(x))


def half_net(activation) -> tvm.IRModule:
    """conv -> activation -> pool in float16."""
    return module(max_pool(activation(conv2d(image(dtype="float16"), dtype="float16"))))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("activation", [relay.sigmoid, relay.tanh, relay.exp, relay.erf, relay.log])
def test_what_never_falls_is_exchanged_on_every_class(activation, target):
    assert only_site(conv_net(activation), target=target).status is Status.EXCHANGED
    half = only_site(half_net(activation), target=target)
    assert half.status is Status.EXCHANGED


@pytest.mark.parametrize("target", TARGETS)
def test_softsign_needs_a_licence(target):
    refused = only_site(conv_net(softsign), target=target)
    assert refused.refusal.reason is Reason.DECREASES_AS_COMPUTED
    assert "2 ulp" in str(refused.refusal)
    assert only_site(conv_net(softsign), target=target, licence="ulp:1").refusal is not None
    assert only_site(conv_net(softsign), target=target, licence="ulp:2").status is Status.EXCHANGED


def test_a_composite_with_another_constant_has_another_certificate():
    site = only_site(conv_net(lambda x: softsign(x, 1.5)))
    assert site.refusal.reason is Reason.UNPROVEN


def test_off_leaves_what_is_proven():
    off = {"certify": "off"}
    assert only_site(conv_net(relay.sigmoid), **off).refusal.reason is Reason.UNPROVEN
    assert only_site(conv_net(softsign), **off).refusal.reason is Reason.UNPROVEN
    assert only_site(conv_net(relay.nn.relu), **off).status is Status.EXCHANGED
    for step in (lambda x: relay.clip(x, 0.0, 6.0), lambda x: relay.nn.leaky_relu(x, 0.1)):
        assert only_site(conv_net(step), **off).status is Status.EXCHANGED


def test_auto_certifies_what_is_missing_and_keeps_it(own):
    net = half_net(relay.sigmoid)
    assert only_site(net).refusal.reason is Reason.UNPROVEN
    assert list(own.iterdir()) == []
    assert only_site(net, certify="auto").status is Status.EXCHANGED
    assert [path.suffix for path in own.iterdir()] == [".json"]
    assert only_site(net).status is Status.EXCHANGED
    other = only_site(net, target="llvm -mcpu=skylake-avx512")
    assert other.refusal.reason is Reason.UNPROVEN


def test_auto_says_once_what_it_cannot_certify(own, caplog):
    arm = "llvm -mtriple=aarch64-linux-gnu"
    with caplog.at_level(logging.WARNING, logger="tvm_reorder"):
        for _ in range(2):
            site = only_site(half_net(relay.sigmoid), target=arm, certify="auto")
            assert site.refusal.reason is Reason.UNPROVEN
    said = [r.getMessage() for r in caplog.records if "not certified" in r.getMessage()]
    assert len(said) == 1 and "llvm aarch64" in said[0]


def test_float16_inherits_from_float32_only_what_never_strays(own, monkeypatch):
    wide = {key: found for key, found in _SHIPPED.items() if key.dtype == "float32"}
    monkeypatch.setattr(store, "_read_shipped", lambda: wide)
    assert only_site(half_net(relay.sigmoid)).status is Status.EXCHANGED
    with tvm.transform.PassContext(opt_level=4):
        assert only_site(half_net(relay.tanh)).refusal.reason is Reason.UNPROVEN


@pytest.mark.parametrize("name", ["silu", "mish", "gelu_tanh", "hard_swish_torch"])
def test_a_certificate_gives_the_direction_where_the_parts_do_not(name):
    x = relay.var("x", shape=(1, 4, 8, 8))
    scalar = build_function(name, "float32")
    function = module(relay.bind(scalar.body, {scalar.variable: x}))["main"]
    root, source = function.body, function.params[0]
    unknown = MonotoneMap("composite", (Direction.OTHER,), None)
    with tvm.target.Target(TARGETS[2]):
        found = CertificateSource("cached").describe(unknown, root, source)
        known = CertificateSource("cached").describe(
            MonotoneMap("composite", (Direction.VALLEY,), None), root, source
        )
    assert found.directions == (Direction.VALLEY,)
    assert 0 < found.worst_ulp == known.worst_ulp < 1 << 24


def test_proven_maps_are_left_alone():
    relu = MonotoneMap("relu", (Direction.RISING,), 0)
    x = relay.var("x", shape=(1, 4, 8, 8))
    function = module(relay.nn.relu(x))["main"]
    assert CertificateSource("auto").describe(relu, function.body, function.params[0]) is relu


def test_bfloat16_is_never_certified(own):
    x = relay.var("x", shape=(1, 4, 8, 8), dtype="bfloat16")
    function = module(relay.sigmoid(x))["main"]
    unknown = MonotoneMap("sigmoid", (Direction.RISING,), None)
    source = CertificateSource("auto")
    assert source.describe(unknown, function.body, function.params[0]) is unknown
    assert source.worst_of("sigmoid", "bfloat16", Direction.RISING) is None


def test_candidates_are_what_no_proof_covers():
    def chain(x):
        return relay.nn.relu(softsign(relay.sigmoid(x)))

    texts = [f.text for f in find_candidates(conv_net(chain), None, PLAIN)]
    assert "sigmoid(x)" in texts and "divide(x, add(abs(x), 0x1.0000000000000p+0))" in texts
    assert sum(text.startswith("nn.relu(divide(sigmoid(x)") for text in texts) == 1
    assert find_candidates(conv_net(relay.nn.relu), None, PLAIN) == []
    per_channel = lambda x: relay.sigmoid(x) * channels_first([1, 2, 3, 4])
    assert [f.text for f in find_candidates(conv_net(per_channel), None, PLAIN)] == ["sigmoid(x)"]


def test_the_option_is_checked():
    with pytest.raises(ValueError, match="certify is 'yes' but must be one of auto, cached, off"):
        ReorderConfig(certify="yes")


def half_sine(x):
    """sin between -1 and 1, where it rises; sin by itself turns ever again."""
    return relay.sin(relay.clip(x, -1.0, 1.0))


def test_a_chain_is_judged_as_one_function_where_its_parts_do_not_decide(own):
    net = half_net(half_sine)
    assert only_site(net).refusal.reason is Reason.NOT_MONOTONE
    (chain,) = (f for f in find_candidates(net, None, PLAIN) if f.text.startswith("sin(clip("))
    store.save_certificate(certify(chain, PLAIN))
    site = only_site(net)
    assert site.status is Status.EXCHANGED and site.ends.is_maximum
    assert site.chain == ("clip", "sin")


def test_a_chain_with_operands_per_channel_is_judged_by_its_parts(own):
    scales = constant(np.ones((4, 1, 1)), "float16")
    net = half_net(lambda x: relay.sin(relay.clip(x, -1.0, 1.0) * scales))
    assert only_site(net, certify="auto").status is Status.REFUSED


@pytest.mark.parametrize("bias", [[-2.0, 0.5, 0.0, 0.1], [0.5] * 4])
def test_a_bias_per_channel_is_not_taken_for_that_of_channel_0(own, bias):
    """CanonicalizeOps makes a sum with a constant of another shape of it."""
    biases = constant(bias, "float16")

    def chain(x):
        return relay.nn.relu(relay.nn.bias_add(relay.sin(x), biases))

    def composite(x):
        return relay.nn.relu(relay.nn.bias_add(x, biases)) - relay.nn.relu(x)

    for activation in (chain, composite):
        only_site(half_net(activation), certify="auto")
    made = [json.loads(path.read_text())["op"] for path in own.iterdir()]
    assert "sin(x)" in made and not any("add(" in text for text in made)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_a_constant_given_another_shape_has_the_text_of_one_that_has_it(shape):
    x = relay.var("x", shape=(1, 4, 8, 8))
    three = constant(np.full(shape, 3.0))
    reshaped = module(x / relay.reshape(three, (1, 1)))["main"]
    plain = module(x / (constant(3.0) if shape == () else constant(np.full((1, 1), 3.0))))["main"]
    texts = [certified.read_function(f.body, f.params[0]).text for f in (reshaped, plain)]
    assert texts[0] == texts[1] and ("[" in texts[0]) == (shape != ())


def test_a_certificate_of_one_kernel_does_not_count_where_operators_are_kernels(own):
    net = half_net(lambda x: relay.sin(relay.clip(x, -1.0, 1.0) * HALF + HALF))
    assert only_site(net, certify="auto").status is Status.EXCHANGED
    with tvm.transform.PassContext(config={"relay.FuseOps.max_depth": 1}):
        assert only_site(net, certify="auto").status is Status.REFUSED
        assert only_site(half_net(half_sine), certify="auto").status is Status.EXCHANGED


def test_opt_level_0_certifies_no_function_of_several_kernels():
    with pytest.raises(CertificateError, match="opt_level is 0 but must be 1 or more for multiply"):
        certify(build_function("gelu", "float16"), PLAIN, 0)
    assert certify(build_function("sigmoid", "float16"), PLAIN, 0).worst_ulp == 0


def gated(x):
    """x where sigmoid(x) exceeds a half; where that is, no comparison of x says."""
    return x * relay.cast(relay.greater(relay.sigmoid(x), HALF), "float16")


def test_a_function_of_one_x_that_no_table_has_is_certified(own):
    net = half_net(gated)
    cached = only_site(net)
    assert cached.refusal.reason is Reason.UNPROVEN
    assert "not certified for this target" in cached.explanation
    assert "tvm-reorder certify --model MODEL" in cached.explanation
    text = "multiply(x, cast(greater(sigmoid(x), 0x1.0000000000000p-1), dtype=float16))"
    assert text in [function.text for function in find_candidates(net, None, PLAIN)]
    found = only_site(net, certify="auto")
    assert found.status is Status.EXCHANGED and found.ends.is_maximum, found.explanation
    assert only_site(net).status is Status.EXCHANGED


def test_an_operator_that_nobody_knows_is_certified_too(own):
    """x modulo 4 between 0 and 3 is x; beyond it is a saw."""
    four = relay.const(4.0, "float16")
    net = half_net(lambda x: relay.floor_mod(relay.clip(x, 0.0, 3.0), four))
    assert only_site(net, certify="off").refusal.reason is Reason.UNPROVEN
    assert only_site(net, certify="auto").status is Status.EXCHANGED
    saw = only_site(half_net(lambda x: relay.floor_mod(x, four)), certify="auto")
    assert saw.refusal.reason is Reason.DECREASES_AS_COMPUTED


def test_a_function_that_no_sweep_decides_is_unknown_as_ever(own):
    by_channel = constant(np.reshape([1, 2, 3, 4], (4, 1, 1)), "float16")
    net = half_net(lambda x: relay.floor_mod(x, by_channel))
    assert only_site(net, certify="auto").refusal.reason is Reason.UNKNOWN_OPERATOR


def test_what_is_simplified_behind_the_pass_is_not_certified(own):
    """SimplifyExprPostAlterOp drops casts behind a clip: f(x) = x - int(x) would be x - clip(x)."""

    def saw(x):
        clipped = relay.clip(x, 0.0, 6.0)
        whole = relay.annotation.stop_fusion(clipped).astype("int8").astype("float16")
        return x - whole

    assert only_site(half_net(saw), certify="auto").status is Status.REFUSED
    x = relay.var("x", shape=(1, 4, 8, 8), dtype="float16")
    function = module(saw(x))["main"]
    assert certified.read_function(function.body, function.params[0]) is None


@pytest.mark.parametrize(
    "moves", [lambda x: relay.repeat(x, 2, 2), lambda x: relay.tile(x, (1, 2))]
)
def test_what_is_called_pointwise_and_repeats_values_is_no_function_of_one(own, moves):
    x = relay.var("x", shape=(1, 4, 8, 8), dtype="float16")
    function = module(moves(relay.sin(x)))["main"]
    assert certified.read_function(function.body, function.params[0]) is None
    report = assert_same_results(module(max_pool(moves(relay.sin(x)))), draw_half(), certify="auto")
    assert not report.errors


def draw_half():
    return {"x": np.random.default_rng(3).normal(size=(1, 4, 8, 8)).astype("float16")}


ALONG_AN_AXIS = {
    "prelu": lambda x, numbers: relay.nn.prelu(x, numbers, axis=0),
    "bias_add": lambda x, numbers: relay.sin(relay.nn.bias_add(x, numbers, axis=0)),
}


@pytest.mark.parametrize("name", ALONG_AN_AXIS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_takes_a_vector_along_an_axis_is_no_function_and_no_error(dtype, name, capfd):
    """Along the batch it is a vector of one, which no longer vector of data goes with."""
    x = relay.var("x", shape=(1, 4, 8, 8), dtype=dtype)
    finite = relay.where(relay.isfinite(x), x, relay.const(-0.5, dtype))
    slopes = relay.const(np.array([1.8], dtype))
    active = relay.nn.relu(ALONG_AN_AXIS[name](finite, slopes))
    pooled = relay.nn.max_pool2d(active, (2, 2), (2, 2), ceil_mode=True)
    with tvm_reorder.enabled(decision="exchange") as report:
        with tvm.transform.PassContext(opt_level=3):
            relay.optimize(tvm.IRModule.from_expr(pooled), "llvm")
    assert not report.errors and report.exchanged, report
    assert "type checker" not in capfd.readouterr().err
