"""NaN: what each operator and each pool gives, stock and rewritten; the licence ``nan``."""

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.relay.nan import KEEPS_NAN

from .networks import TARGET, channels_first, constant, execute, max_pool, module, only_site, run

NAN = np.nan
VALUES = [NAN] * 37 + [np.inf, -np.inf, 0, -0.0, 1, -1, 2, -88, 88]  # vector body and tail
# From these numbers the operator makes a NaN; the others make none.
MAKES = {name: (-np.inf, -1, -88) for name in ("log", "log2", "log10", "sqrt", "rsqrt")}


def call(name: str, x):
    """An operator of the table on `x`, shape (1, n)."""
    half = relay.const(0.5, x.type_annotation.dtype)
    if name in ("add", "subtract", "multiply", "divide"):
        return relay.Call(relay.op.get(name), [x, half])
    if name == "nn.leaky_relu":
        return relay.nn.leaky_relu(x, 0.1)
    if name == "nn.prelu":
        return relay.nn.prelu(x, constant([0.1], x.type_annotation.dtype), axis=0)
    if name == "nn.bias_add":
        return relay.nn.bias_add(x, constant([0.5], x.type_annotation.dtype), axis=0)
    if name == "cast":
        return relay.cast(x, "float64")
    return relay.Call(relay.op.get(name), [x])


@pytest.mark.parametrize("dtype, opt_level", [("float32", 3), ("float32", 4), ("float16", 3)])
def test_what_keeps_a_nan_as_compiled(dtype, opt_level):
    names = sorted(KEEPS_NAN - ({"erf"} if opt_level == 4 else set()))
    x = relay.var("x", shape=(1, len(VALUES)), dtype=dtype)
    mod = module(relay.Tuple([call(name, x) for name in names]))
    values = np.array([VALUES], dtype)
    for name, result in zip(names, run(mod, {"x": values}, opt_level=opt_level)):
        for value, got in zip(values.ravel(), result.ravel()):
            expected = np.isnan(value) or float(value) in MAKES.get(name, ())
            assert np.isnan(got) == expected, (name, value, got)


def test_what_forgets_a_nan_as_compiled():
    """Were one of these to keep it, the licence could allow more."""
    x = relay.var("x", shape=(1, len(VALUES)))
    half = relay.const(0.5)
    forgetful = [relay.nn.relu(x), relay.clip(x, -1, 1), relay.sign(x)]
    forgetful += [relay.maximum(x, half), relay.minimum(x, half)]
    values = np.array([VALUES], "float32")
    for result in run(module(relay.Tuple(forgetful)), {"x": values}):
        assert not np.isnan(result).any()
    (fast,) = run(module(relay.erf(x)), {"x": values}, opt_level=4)
    assert not np.isnan(fast).any()


def build(mod, licence=None, decision="exchange"):
    """Stock without a licence, else rewritten, and the report."""
    with tvm.transform.PassContext(opt_level=3):
        if licence is None:
            return relay.build(mod, TARGET), None
        with tvm_reorder.enabled(licence=licence, decision=decision) as report:
            return relay.build(mod, TARGET), report


def same(left, right) -> bool:
    """Equal, a NaN to any NaN."""
    return bool(((left == right) | (np.isnan(left) & np.isnan(right))).all())


def scattered(shape, seed=0, dtype="float32"):
    """Normal values, a third of them NaN, some infinite."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape)
    for special, share in ((np.inf, 0.1), (-np.inf, 0.1), (NAN, 0.3)):
        values[rng.random(shape) < share] = special
    return values.astype(dtype)


def test_a_pool_forgets_a_nan_with_the_next_element():
    x = relay.var("x", shape=(1, 1, 2, 2))
    library, _ = build(module(max_pool(x)))
    for window, expected in [((3, 1, NAN, 2), 2), ((NAN, 3, 1, 2), 3), ((1, 2, 3, NAN), NAN)]:
        (result,) = execute(library, {"x": np.reshape(window, (1, 1, 2, 2)).astype("float32")})
        assert same(result.ravel(), np.float32([expected]))


CHAINS = {
    "bias": lambda x: x + channels_first([0.5, -1, 2, 0]),
    "scale and bias": lambda x: relay.tanh(x * channels_first([0.5, 1, 2, 3])) + relay.const(1.0),
    "leaky": lambda x: relay.nn.leaky_relu(x, 0.1),
    "sigmoid": relay.sigmoid,
    "tanh of exp": lambda x: relay.tanh(relay.exp(x)),
    "log of a sigmoid": lambda x: relay.log(relay.sigmoid(x) + relay.const(0.5)),
}


HALF = [(name, "float16", 3) for name in ("leaky", "sigmoid", "tanh of exp")]  # no constants


@pytest.mark.parametrize("chain, dtype, size", [(name, "float32", 2) for name in CHAINS] + HALF)
def test_what_the_licence_allows_is_the_same(chain, dtype, size):
    x = relay.var("x", shape=(1, 4, 9, 9), dtype=dtype)
    mod = module(max_pool(CHAINS[chain](x), size))
    (stock, _), (ours, report) = build(mod), build(mod, "nan")
    assert report.sites[0].status is Status.EXCHANGED, report.sites[0].explanation
    assert report.sites[0].refusal is None
    nans = 0
    for seed in range(20):
        inputs = {"x": scattered((1, 4, 9, 9), seed, dtype)}
        (before,), (after,) = execute(stock, inputs), execute(ours, inputs)
        assert same(before, after)
        nans += np.isnan(before).sum()
    assert nans


@pytest.mark.parametrize("size, kernel, pads", [(16, 2, 0), (17, 3, 0), (16, 3, (1, 1, 0, 0))])
def test_the_fused_kernel_goes_through_a_window_in_the_same_order(size, kernel, pads):
    x = relay.var("x", shape=(1, 1, size, size))
    weight = constant(np.random.default_rng(0).normal(size=(32, 1, 1, 1)))
    conv = relay.nn.conv2d(x, weight, channels=32, kernel_size=(1, 1))
    pads = pads or (0, 0)
    active = relay.nn.leaky_relu(conv + constant(np.linspace(-1, 1, 32).reshape(32, 1, 1)), 0.1)
    mod = module(max_pool(active, kernel, padding=pads))
    (stock, _), (ours, report) = build(mod), build(mod, "nan", "fuse")
    assert report.sites[0].status is Status.FUSED, report.sites[0].explanation
    nans = 0
    for seed in range(10):
        inputs = {"x": scattered((1, 1, size, size), seed)}
        (before,), (after,) = execute(stock, inputs), execute(ours, inputs)
        assert same(before, after)
        nans += np.isnan(before).sum()
    assert nans


REFUSED = {
    "relu": (relay.nn.relu, {}),
    "clip": (lambda x: relay.clip(x, -1, 1), {}),
    "maximum": (lambda x: relay.maximum(x, relay.const(0.5)), {}),
    "log": (relay.log, {}),
    "a cast to bool and back": (lambda x: x.astype("bool").astype("float32"), {}),
    "a cast to int32": (lambda x: (relay.sigmoid(x) * relay.const(50.0)).astype("int32"), {}),
    "inf times zero": (lambda x: x * channels_first([0.5, 0, 1, 2]), {}),
    "a window that ends in padding": (relay.sigmoid, {"padding": (0, 0, 1, 1)}),
    "a window that ceil_mode lets end in padding": (relay.sigmoid, {"ceil_mode": True}),
    "a clamp": (lambda x: relay.log(relay.sigmoid(x)), {}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_licence_refuses(case):
    """Each would be exchanged without it, and most give something else then."""
    make, pool = REFUSED[case]
    mod = module(max_pool(make(relay.var("x", shape=(1, 4, 9, 9))), **pool))
    site = only_site(mod, licence="nan")
    assert site.status is Status.REFUSED and site.refusal.reason is Reason.NAN, site.explanation
    assert "licence nan" in site.explanation
    assert only_site(mod).status is Status.EXCHANGED
    (stock, _), (ours, _) = build(mod), build(mod, "equal")
    inputs = [{"x": scattered((1, 4, 9, 9), seed)} for seed in range(10)]
    are_same = [same(*execute(stock, i), *execute(ours, i)) for i in inputs]
    assert not all(are_same) or case == "inf times zero"


def test_what_stands_below_a_refused_step_stays_too_and_what_is_nearer_moves():
    x = relay.var("x", shape=(1, 4, 8, 8))
    site = only_site(module(max_pool(relay.tanh(relay.nn.relu(x)))), licence="nan")
    assert site.chain == ("tanh",) and site.refusal.reason is Reason.NAN


def test_integers_have_no_nan():
    x = relay.var("x", shape=(1, 4, 8, 8), dtype="int8")
    mod = module(max_pool(relay.clip(x, -5, 5)))
    assert only_site(mod, licence="strict+nan").status is Status.EXCHANGED


def test_nothing_is_known_of_other_targets():
    mod = module(max_pool(relay.var("x", shape=(1, 4, 8, 8)) + relay.const(1.0)))
    site = only_site(mod, licence="nan", target="c")
    assert site.refusal.reason is Reason.NAN


@pytest.mark.parametrize("axis, is_allowed", [([1, 2, 3], False), ([1, 3], False), ([2, 3], True)])
def test_a_reduction_over_channels_goes_through_them_as_they_lie(axis, is_allowed):
    """A prelu ends the blocks in which AlterOpLayout lays them; without it they go on."""
    x = relay.var("x", shape=(2, 16, 8, 8))
    weight = constant(np.eye(16).reshape(16, 16, 1, 1))
    conv = relay.nn.conv2d(x, weight, channels=16, kernel_size=(1, 1))
    mod = module(relay.max(relay.nn.prelu(conv, constant([0.1] * 16)), axis=axis, keepdims=True))
    (stock, _), (ours, report) = build(mod), build(mod, "nan")
    assert (report.sites[0].status is Status.EXCHANGED) == is_allowed, report
    for seed in range(4):
        values = np.random.default_rng(seed).normal(size=(2, 16, 8, 8)).astype("float32")
        values[0, :, 3, 5] = NAN
        assert same(*execute(stock, {"x": values}), *execute(ours, {"x": values}))
