"""Valleys, falling maps and scales of both signs: what is written (text), and that it is equal."""

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
    conv_net,
    image,
    max_pool,
    module,
    only_site,
    run,
)

RNG = np.random.default_rng(11)
SCALES = [1.5, -0.5, 0, -1]
SLOPES = [0.1, -0.2, 1.5, -3]


def scalar(value):
    return relay.const(np.float32(value))


def silu(x):
    return x * relay.sigmoid(x)


def gelu(x):
    """As the ONNX importer writes it."""
    return scalar(0.5) * x * (scalar(1) + relay.erf(x / scalar(1.4142135)))


def gelu_tanh(x):
    cubed = x + scalar(0.044715) * relay.power(x, scalar(3))
    return scalar(0.5) * x * (scalar(1) + relay.tanh(scalar(0.7978846) * cubed))


def mish(x):
    return x * relay.tanh(relay.log(scalar(1) + relay.exp(x)))


def hard_swish(x):
    return x * relay.clip(x + scalar(3), 0, 6) / scalar(6)


def hard_swish_of_pytorch(x):
    return x * relay.clip(x * scalar(1 / 6) + scalar(0.5), 0, 1)


def batch_norm_behind_relu(x):
    return relay.nn.relu(x) * channels_first(SCALES) + channels_first([0.1, 0.2, -0.3, 1])


EXACT = {
    "abs": relay.abs,
    "square": lambda x: x * x,
    "leaky": lambda x: relay.nn.leaky_relu(x, -0.1),
    "prelu": lambda x: relay.nn.prelu(x, constant(SLOPES)),
    "relu of abs": lambda x: relay.nn.relu(relay.abs(x) - scalar(0.5)),
    "log of abs": lambda x: relay.log(relay.abs(x)),
    "valley of a falling map": lambda x: relay.abs(scalar(1) - x),
    "negative of relu": lambda x: relay.negative(relay.nn.relu(x)),
    "scales of both signs": lambda x: relay.nn.relu(x) * channels_first(SCALES),
    "batch norm behind relu": batch_norm_behind_relu,
    "sigmoid of scales": lambda x: relay.sigmoid(relay.nn.relu(x) * channels_first(SCALES)),
    "divisors of both signs": lambda x: relay.nn.relu(x) / channels_first([1, -0.3, 2, -3]),
}
ROUNDED = {f.__name__: f for f in (silu, gelu, gelu_tanh, mish, hard_swish, hard_swish_of_pytorch)}


def draw():
    return {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32") * 3}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("pool", [{}, {"size": 3, "padding": (1, 1)}], ids=["2x2", "padded 3x3"])
def test_results_are_equal(name, pool):
    report = assert_same_results(conv_net(EXACT[name], **pool), draw())
    (site,) = report.sites
    assert site.status is Status.EXCHANGED and not site.ends.is_maximum, site.explanation
    assert site.evaluations_after < site.evaluations_before
    assert str(site.ends) in site.explanation


@pytest.mark.parametrize("name", ROUNDED)
def test_valleys_of_library_functions_are_recognised(name):
    mod = conv_net(ROUNDED[name])
    report = assert_same_results(mod, draw(), licence="ulp:any")
    (site,) = report.sites
    assert site.status is Status.EXCHANGED and site.ends.is_both, site.explanation
    assert name.partition("_of")[0] in " ".join(site.chain)


def test_a_valley_is_taken_at_both_ends():
    data = conv2d(image())
    exchanged, _ = tvm_reorder.reorder(module(max_pool(relay.abs(data))), decision="exchange")
    ends = [max_pool(data), relay.negative(max_pool(relay.negative(data)))]
    expected = relay.transform.InferType()(module(relay.maximum(*map(relay.abs, ends))))
    tvm.ir.assert_structural_equal(exchanged, expected, map_free_vars=True)


def convolution_with(weights):
    shape = {"kernel_size": (3, 3), "channels": 4, "padding": (1, 1)}
    return relay.nn.conv2d(image(), constant(weights), **shape)


def test_signs_go_into_the_filters():
    weights = RNG.normal(size=(4, 3, 3, 3)).astype("float32")
    active = relay.nn.relu(convolution_with(weights)) * channels_first(SCALES)
    exchanged, report = tvm_reorder.reorder(module(max_pool(active)), decision="exchange")
    signs = np.array([1, -1, 1, -1], "float32")
    folded = convolution_with(weights * signs.reshape(4, 1, 1, 1))
    pooled = max_pool(folded) * constant(signs.reshape(1, 4, 1, 1))
    expected = relay.nn.relu(pooled) * channels_first(SCALES)
    expected = relay.transform.InferType()(module(expected))
    tvm.ir.assert_structural_equal(exchanged, expected, map_free_vars=True)
    assert report.sites[0].evaluations_after == 3 * 4 * 16


def test_filters_of_a_convolution_that_is_used_elsewhere_keep_their_signs():
    data = conv2d(image())
    scaled = max_pool(relay.nn.relu(data + scalar(1)) * channels_first(SCALES))
    mod = module(relay.Tuple([scaled, data]))
    report = assert_same_results(mod, draw())
    site = report.sites[0]
    assert site.ends.signs == (1, -1, 1, -1) and len(site.chain) == 3
    elements, pooled = 4 * 64, 4 * 16
    assert site.evaluations_after == elements + 4 * pooled


def test_weights_that_are_not_known_keep_their_signs():
    weight = relay.var("w", shape=(4, 3, 3, 3))
    data = relay.nn.conv2d(image(), weight, kernel_size=(3, 3), channels=4, padding=(1, 1))
    mod = module(max_pool(batch_norm_behind_relu(data)))
    inputs = {**draw(), "w": RNG.normal(size=(4, 3, 3, 3)).astype("float32")}
    report = assert_same_results(mod, inputs)
    assert report.sites[0].status is Status.EXCHANGED
    assert "negative" not in str(report) and report.sites[0].ends.signs


@pytest.mark.parametrize("layout, kernel", [("NCHW", "OIHW"), ("NHWC", "HWIO")])
def test_signs_find_the_filters_in_every_layout(layout, kernel):
    shape = [dict(zip("NCHW", (1, 3, 8, 8)))[axis] for axis in layout]
    x = relay.var("x", shape=shape)
    weight = RNG.normal(size=[dict(zip("OIHW", (4, 3, 3, 3)))[axis] for axis in kernel])
    data = relay.nn.conv2d(
        x,
        constant(weight),
        kernel_size=(3, 3),
        channels=4,
        padding=(1, 1),
        data_layout=layout,
        kernel_layout=kernel,
    )
    scales = constant(np.reshape(SCALES, [4 if axis == "C" else 1 for axis in layout]))
    pooled = relay.nn.max_pool2d(relay.nn.relu(data) * scales, (2, 2), (2, 2), layout=layout)
    inputs = {"x": RNG.normal(size=shape).astype("float32")}
    report = assert_same_results(module(pooled), inputs)
    assert report.sites[0].evaluations_after == 3 * 4 * 16  # folded


def test_scales_that_differ_by_batch_item_are_not_folded():
    x = relay.var("x", shape=(2, 3, 8, 8))
    scales = constant(np.reshape([*SCALES, 1, 2, 3, -0.4], (2, 4, 1, 1)))
    mod = module(max_pool(relay.nn.relu(conv2d(x)) * scales))
    report = assert_same_results(mod, {"x": RNG.normal(size=(2, 3, 8, 8)).astype("float32")})
    (site,) = report.sites
    assert site.status is Status.EXCHANGED and site.evaluations_after > 3 * 8 * 16


def test_a_min_pool_written_as_a_max_pool_is_one_pool_over_negated_filters():
    """-maxpool(-f(x)) is how min pooling is written."""
    mod = conv_net(lambda x: relay.negative(relay.tanh(x)))
    pooled = relay.negative(mod["main"].body)
    mod = module(pooled)
    report = assert_same_results(mod, draw())
    assert report.sites[0].status is Status.EXCHANGED and report.sites[0].ends.signs == (-1,)


@pytest.mark.parametrize("is_known", [True, False])
def test_float64_stays_float64(is_known):
    x = relay.var("x", shape=(1, 3, 8, 8), dtype="float64")
    weight = constant(RNG.normal(size=(4, 3, 3, 3)), "float64")
    kernel = weight if is_known else relay.var("w", shape=(4, 3, 3, 3), dtype="float64")
    data = relay.nn.conv2d(x, kernel, kernel_size=(3, 3), channels=4, padding=(1, 1))
    scales = constant(np.reshape(SCALES, (4, 1, 1)), "float64")
    inputs = {"x": RNG.normal(size=(1, 3, 8, 8))}
    inputs |= {} if is_known else {"w": weight.data.numpy()}
    report = assert_same_results(module(max_pool(relay.nn.relu(data) * scales)), inputs)
    assert report.sites[0].ends.signs == (1, -1, 1, -1)
    assert (report.sites[0].evaluations_after == 3 * 4 * 16) == is_known  # folded


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_integers_are_turned_without_wrapping(dtype):
    """-x wraps at the lowest integer, and unsigned ones have no negative."""
    info = np.iinfo(dtype)
    x = relay.var("x", shape=(1, 4, 8, 8), dtype=dtype)
    wide = relay.cast(relay.nn.relu(x) if dtype != "uint8" else x, "int64")
    falling = relay.const(7, "int64") - wide
    mod = module(max_pool(falling))
    values = RNG.choice([info.min, info.min + 1, 0, 1, info.max], size=(1, 4, 8, 8)).astype(dtype)
    report = assert_same_results(mod, {"x": values})
    (site,) = report.sites
    assert site.status is Status.EXCHANGED and site.ends.signs == (-1,), site.explanation


@pytest.mark.parametrize("name", EXACT)
def test_extreme_values(name):
    """Infinities next to finite values, subnormals, both zeros, the largest values, ties."""
    top = np.finfo("float32").max
    pool = [np.inf, -np.inf, top, -top, 1e-45, -1e-45, 0.0, -0.0, 1, -1, 0.5]
    x = relay.var("x", shape=(1, 4, 8, 8))
    values = RNG.choice(pool, size=(1, 4, 8, 8)).astype("float32")
    values[:, :, ::2, ::2] = RNG.normal(size=(1, 4, 4, 4))  # no window of nothing but infinities
    mod = module(max_pool(EXACT[name](x)))
    (stock,) = run(mod, {"x": values})
    with tvm_reorder.enabled(decision="exchange") as report:
        (ours,) = run(mod, {"x": values})
    assert report.sites[0].status in (Status.EXCHANGED, Status.REFUSED)
    known = ~np.isnan(find_nan(mod, values))
    assert (stock == ours)[known].all()


def find_nan(mod, values):
    """NaN for the windows in which the activation makes one: the licence leaves them open."""
    active = module(mod["main"].body.args[0])
    (result,) = run(active, {"x": values})
    windows = result.reshape(1, 4, 4, 2, 4, 2)
    return np.where(np.isnan(windows).any(axis=(3, 5)), np.nan, 0)


def test_on_auto_a_cheap_valley_stays_and_an_expensive_one_goes():
    target = "llvm -mcpu=skylake-avx512"
    big = {"image_size": 64, "filters": 32}
    decisions = {}
    for function in (relay.abs, gelu):
        x = relay.var("x", shape=(1, 3, big["image_size"], big["image_size"]))
        weight = constant(RNG.normal(size=(big["filters"], 3, 3, 3)))
        shape = {"kernel_size": (3, 3), "channels": big["filters"], "padding": (1, 1)}
        mod = module(max_pool(function(relay.nn.conv2d(x, weight, **shape))))
        options = {"decision": "auto", "licence": "ulp:any", "target": target}
        decisions[function.__name__] = only_site(mod, **options).status
    assert decisions == {"abs": Status.KEPT, "gelu": Status.EXCHANGED}


def test_a_scale_of_both_signs_is_fused():
    site = only_site(
        conv_net(batch_norm_behind_relu), decision="fuse", target="llvm -mcpu=skylake-avx512"
    )
    assert site.status is Status.FUSED
    mod = conv_net(batch_norm_behind_relu)
    report = assert_same_results(mod, draw(), decision="fuse")
    assert report.sites[0].status is Status.FUSED


def test_both_ends_are_not_fused_and_it_says_so():
    mod = conv_net(relay.abs)
    site = only_site(mod, decision="fuse", target="llvm -mcpu=skylake-avx512")
    assert site.status is Status.EXCHANGED
    assert "both its ends but must be its maximum alone" in site.explanation


@pytest.mark.parametrize("name", EXACT)
def test_a_second_run_changes_nothing(name):
    once, _ = tvm_reorder.reorder(conv_net(EXACT[name]), decision="exchange")
    twice, report = tvm_reorder.reorder(once, decision="exchange")
    tvm.ir.assert_structural_equal(once, twice, map_free_vars=True)
    assert not report.exchanged


def test_a_concatenation_of_valleys_goes_at_both_ends():
    x = image()
    branches = [relay.abs(conv2d(x, seed=seed)) for seed in (0, 1)]
    mod = module(max_pool(relay.concatenate(branches, axis=1)))
    report = assert_same_results(mod, draw())
    assert report.sites[0].rule == "ExchangeConcatenate" and report.sites[0].ends.is_both


def test_a_scalar_that_other_kernels_use_too_keeps_its_division():
    """FuseOps inlines a scalar of one kernel, and TVM turns x / 3 into x * (1 / 3) then."""
    three, x = scalar(3), image()
    divided = relay.nn.relu(conv2d(x) / three)
    mod = module(relay.Tuple([max_pool(divided), relay.nn.relu(conv2d(x, seed=1)) / three]))
    site = only_site(mod)
    assert site.chain == ("nn.relu",) and site.refusal.reason is Reason.SHARED
    assert "the scalar of divide is used 2 times" in site.explanation
    assert_same_results(mod, draw())
