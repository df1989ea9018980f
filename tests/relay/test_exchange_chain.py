"""What the chain rule writes (text), and that it means the same (numbers)."""

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder import Status

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

RNG = np.random.default_rng(7)


def elu(x):
    """As the ONNX importer writes it."""
    bent = relay.nn.relu(relay.const(1.0) - relay.exp(x))
    return relay.const(-0.7) * bent + relay.nn.relu(x)


def celu(x):
    """As the ONNX importer writes it."""
    bent = relay.const(0.5) * (relay.exp(x / relay.const(0.5)) - relay.const(1.0))
    return relay.maximum(relay.const(0.0), x) + relay.minimum(relay.const(0.0), bent)


RISING = {
    "relu": relay.nn.relu,
    "relu6": lambda x: relay.clip(x, 0, 6),
    "leaky_relu": lambda x: relay.nn.leaky_relu(x, 0.1),
    "prelu": lambda x: relay.nn.prelu(x, constant([0.1, 0, 0.5, 2])),
    "sigmoid": relay.sigmoid,
    "tanh": relay.tanh,
    "exp": relay.exp,
    "log of exp": lambda x: relay.log(relay.exp(x)),
    "sqrt of relu": lambda x: relay.sqrt(relay.nn.relu(x)),
    "erf": relay.erf,
    "softplus": lambda x: relay.log(relay.exp(x) + relay.const(1.0)),
    "elu": elu,
    "selu": lambda x: relay.const(1.05) * elu(x),
    "celu": celu,
    "hard_sigmoid": lambda x: relay.clip(x * relay.const(0.2) + relay.const(0.5), 0, 1),
    "hard_tanh": lambda x: relay.clip(x, -1, 1),
    "atan": relay.atan,
    "ceil": relay.ceil,
    "floor": relay.floor,
    "round": relay.round,
    "trunc": relay.trunc,
    "sign": relay.sign,
    "cast": lambda x: x.astype("float64"),
    "maximum": lambda x: relay.maximum(x, channels_first([0, 1, -1, 0.5])),
    "minimum": lambda x: relay.minimum(x, relay.const(0.3)),
    "bias": lambda x: x + channels_first([1, -2, 3, 0]),
    "bias_add": lambda x: relay.nn.bias_add(x, constant([1, -2, 3, 0])),
    "bias the other way": lambda x: channels_first([1, -2, 3, 0]) + x,
    "minus": lambda x: x - channels_first([1, -2, 3, 0]),
    "scale": lambda x: relay.nn.relu(x) * channels_first([0.5, 2, 0, 1]),
    "divide": lambda x: relay.nn.relu(x) / channels_first([0.5, 2, 3, 1]),
    "fall twice": lambda x: relay.const(1.0) - relay.nn.relu(relay.negative(x)),
    "full-size constant": lambda x: x + constant(np.full((1, 4, 8, 8), 0.25)),
    "softplus of a bias": lambda x: relay.log(
        relay.exp(x + channels_first([1, 2, 3, 4])) + relay.const(1.0)
    ),
}


@pytest.mark.parametrize("name", RISING)
def test_results_are_equal(name):
    mod = conv_net(RISING[name])
    inputs = {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32") * 3}
    report = assert_same_results(mod, inputs)
    (site,) = report.sites
    assert site.status is Status.EXCHANGED, site.explanation
    assert site.evaluations_after < site.evaluations_before


def lowest_out(dtype="float32"):
    return np.finfo(dtype).min


@pytest.mark.parametrize(
    "activation, value, expected",
    [
        (lambda x: relay.log(relay.nn.relu(x)), -1.0, lowest_out()),  # log(0) = -inf
        (lambda x: x * relay.const(2.0), lowest_out(), lowest_out()),  # overflows
        (lambda x: x.astype("float16"), -1e30, lowest_out("float16")),
        (lambda x: x * relay.const(2.0), -np.inf, lowest_out()),
    ],
)
def test_a_finite_value_sent_to_minus_infinity(activation, value, expected):
    """Stock answers the lowest finite value; the exchange clamps to give the same."""
    x = relay.var("x", shape=(1, 1, 4, 4))
    mod = module(max_pool(activation(x)))
    inputs = {"x": np.full((1, 1, 4, 4), value, "float32")}
    (stock,) = run(mod, inputs)
    assert (stock == expected).all()
    report = assert_same_results(mod, inputs)
    (site,) = report.sites
    assert site.status is Status.EXCHANGED
    steps = len(site.chain)
    assert site.evaluations_after * 4 * steps == site.evaluations_before * (steps + 1)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "bias", "elu", "leaky_relu"])
def test_a_clamp_is_added_only_where_it_is_needed(name):
    exchanged, _ = tvm_reorder.reorder(conv_net(RISING[name]), decision="exchange")
    assert "maximum" not in str(exchanged)


def parse(text: str) -> tvm.IRModule:
    return relay.transform.InferType()(tvm.relay.fromtext('#[version = "0.0.5"]\n' + text))


def exchange(mod, **options):
    config = tvm_reorder.ReorderConfig(decision="exchange", **options)
    return tvm_reorder.ReorderActivations(config).as_pass()(mod)


def test_before_and_after():
    before = parse("""
        def @main(%x: Tensor[(1, 3, 8, 8), float32], %w: Tensor[(4, 3, 3, 3), float32],
                  %b: Tensor[(4), float32]) {
          %0 = nn.conv2d(%x, %w, padding=[1, 1, 1, 1], channels=4, kernel_size=[3, 3]);
          %1 = nn.bias_add(%0, %b);
          %2 = nn.relu(%1);
          nn.max_pool2d(%2, pool_size=[2, 2], strides=[2, 2], padding=[0, 0, 0, 0])
        }""")
    expected = parse("""
        def @main(%x: Tensor[(1, 3, 8, 8), float32], %w: Tensor[(4, 3, 3, 3), float32],
                  %b: Tensor[(4), float32]) {
          %0 = nn.conv2d(%x, %w, padding=[1, 1, 1, 1], channels=4, kernel_size=[3, 3]);
          %1 = nn.max_pool2d(%0, pool_size=[2, 2], strides=[2, 2], padding=[0, 0, 0, 0]);
          %2 = nn.bias_add(%1, %b);
          nn.relu(%2)
        }""")
    tvm.ir.assert_structural_equal(exchange(before), expected)


def test_what_is_not_monotone_stays_and_what_follows_it_goes():
    before = parse("""
        def @main(%x: Tensor[(1, 3, 8, 8), float32], %w: Tensor[(4, 3, 3, 3), float32]) {
          %0 = nn.conv2d(%x, %w, padding=[1, 1, 1, 1], channels=4, kernel_size=[3, 3]);
          %1 = sin(%0);
          %2 = tanh(%1);
          nn.max_pool2d(%2, pool_size=[2, 2], strides=[2, 2], padding=[0, 0, 0, 0])
        }""")
    expected = parse("""
        def @main(%x: Tensor[(1, 3, 8, 8), float32], %w: Tensor[(4, 3, 3, 3), float32]) {
          %0 = nn.conv2d(%x, %w, padding=[1, 1, 1, 1], channels=4, kernel_size=[3, 3]);
          %1 = sin(%0);
          %2 = nn.max_pool2d(%1, pool_size=[2, 2], strides=[2, 2], padding=[0, 0, 0, 0]);
          tanh(%2)
        }""")
    tvm.ir.assert_structural_equal(exchange(before), expected)


def test_a_second_user_of_the_convolution_keeps_its_value():
    data = conv2d(image())
    mod = module(relay.Tuple([max_pool(relay.nn.relu(data)), data]))
    inputs = {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32")}
    report = assert_same_results(mod, inputs)
    assert report.sites[0].status is Status.EXCHANGED


def test_a_shared_bias_stays_and_the_activation_goes():
    biased = conv2d(image()) + channels_first([1, 2, 3, 4])
    mod = module(relay.Tuple([max_pool(relay.nn.relu(biased)), biased]))
    site = only_site(mod)
    assert site.chain == ("nn.relu",) and "the next step stays" in site.explanation
    assert_same_results(mod, {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32")})


def test_batch_norm_is_no_obstacle():
    data, params = image(), {}
    for name in ("gamma", "beta", "mean", "var"):
        params[name] = tvm.nd.array(np.abs(RNG.normal(size=4)).astype("float32"))
    variables = [relay.var(name, shape=(4,)) for name in params]
    normal = relay.nn.batch_norm(conv2d(data), *variables)[0]
    mod = module(max_pool(relay.nn.relu(normal)))
    inputs = {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32")}
    for opt_level in (1, 2, 3):
        report = assert_same_results(mod, inputs, params=params, opt_level=opt_level)
        assert report.sites[0].status is Status.EXCHANGED, (opt_level, report.sites[0])
    assert only_site(mod, params).status is Status.EXCHANGED


def test_spans_are_kept_and_carry_the_rule():
    from tvm.ir import SourceName, Span

    span = Span(SourceName("pool_7"), 3, 3, 5, 9)
    pooled = max_pool(relay.nn.relu(conv2d(image())))
    pooled = relay.Call(pooled.op, pooled.args, pooled.attrs, [], span)
    exchanged, report = tvm_reorder.reorder(module(pooled), decision="exchange")
    assert report.sites[0].name == "pool_7"
    pool = exchanged["main"].body.args[0]
    assert pool.op.name == "nn.max_pool2d"
    assert pool.span.source_name.name == "pool_7 tvm_reorder.ExchangeChain"
    assert (pool.span.line, pool.span.column, pool.span.end_column) == (3, 5, 9)
    assert "pool_7" in str(exchanged)  # the text printer crashes on spans it does not know


@pytest.mark.parametrize("name", RISING)
def test_a_second_run_changes_nothing(name):
    once, _ = tvm_reorder.reorder(conv_net(RISING[name]), decision="exchange")
    twice, report = tvm_reorder.reorder(once, decision="exchange")
    folded = tvm.transform.Sequential([relay.transform.FoldConstant()])  # once is left to the build
    tvm.ir.assert_structural_equal(folded(once), folded(twice))
    assert not report.exchanged


def test_the_callers_module_stays_as_it_is():
    mod = conv_net(relay.nn.relu)
    copy = tvm.ir.load_json(tvm.ir.save_json(mod))
    tvm_reorder.reorder(mod, decision="exchange")
    exchange(mod)
    tvm.ir.assert_structural_equal(mod, copy)


def test_inspecting_writes_nothing():
    mod = conv_net(relay.nn.relu)
    same, report = tvm_reorder.reorder(mod, write=False, decision="exchange")
    assert report.sites[0].status is Status.EXCHANGEABLE
    assert tvm.ir.structural_equal(exchange(mod, write=False), mod)
    assert "nn.relu" in str(same["main"].body.args[0])


def test_a_user_can_extend_the_table():
    from tvm_reorder.relay.activations import ACTIVATIONS

    mod = conv_net(relay.tan)
    assert only_site(mod).status is Status.REFUSED
    before = ACTIVATIONS["tan"]
    try:
        tvm_reorder.register_activation("tan", "rising", evaluate=np.tan)
        assert only_site(mod).status is Status.EXCHANGED
    finally:
        ACTIVATIONS["tan"] = before


@pytest.mark.parametrize(
    "options, line",
    [
        ({"direction": "up"}, "direction is 'up' but must be one of 'constant'"),
        ({"direction": "rising", "worst_ulp": -1}, "worst_ulp is -1 but must be"),
    ],
)
def test_extending_the_table_wrongly_is_named(options, line):
    with pytest.raises(ValueError, match=line):
        tvm_reorder.register_activation("my.op", **options)


def conv_transpose(x):
    weight = constant(RNG.normal(size=(3, 4, 3, 3)))
    return relay.nn.conv2d_transpose(x, weight, channels=4, kernel_size=(3, 3), padding=(1, 1))


def grouped(x):
    weight = constant(RNG.normal(size=(6, 1, 3, 3)))
    return relay.nn.conv2d(x, weight, channels=6, kernel_size=(3, 3), padding=(1, 1), groups=3)


@pytest.mark.parametrize("producer", [conv_transpose, grouped])
def test_producers(producer):
    mod = module(max_pool(relay.nn.relu(producer(image()))))
    report = assert_same_results(mod, {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32")})
    assert report.sites[0].status is Status.EXCHANGED


def test_one_dimension():
    x = relay.var("x", shape=(2, 3, 16))
    data = relay.nn.conv1d(x, constant(RNG.normal(size=(4, 3, 3))), channels=4, kernel_size=3)
    pooled = relay.nn.max_pool1d(relay.nn.relu(data), pool_size=(2,), strides=(2,))
    report = assert_same_results(
        module(pooled), {"x": RNG.normal(size=(2, 3, 16)).astype("float32")}
    )
    assert report.sites[0].window == "2/2 on 14 -> 7"


def test_three_dimensions():
    x = relay.var("x", shape=(1, 2, 6, 6, 6))
    weight = constant(RNG.normal(size=(4, 2, 3, 3, 3)))
    data = relay.nn.conv3d(x, weight, channels=4, kernel_size=(3, 3, 3), padding=(1, 1, 1))
    pooled = relay.nn.max_pool3d(relay.tanh(data), pool_size=(2, 2, 2), strides=(2, 2, 2))
    inputs = {"x": RNG.normal(size=(1, 2, 6, 6, 6)).astype("float32")}
    report = assert_same_results(module(pooled), inputs)
    assert report.sites[0].evaluations_before == 8 * report.sites[0].evaluations_after


@pytest.mark.parametrize(
    "pool",
    [
        relay.nn.global_max_pool2d,
        lambda x: relay.nn.adaptive_max_pool2d(x, (3, 3)),
        lambda x: relay.nn.adaptive_max_pool2d(x, (2, 4)),
    ],
)
def test_global_and_adaptive_pools(pool):
    mod = module(pool(relay.sigmoid(conv2d(image()) + channels_first([1, 2, 3, 4]))))
    report = assert_same_results(mod, {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32")})
    assert report.sites[0].status is Status.EXCHANGED


def test_channels_last():
    x = image(layout="NHWC")
    data = conv2d(x, layout="NHWC") + constant([1, -2, 3, 0])
    mod = module(max_pool(relay.nn.relu(data), layout="NHWC"))
    inputs = {"x": RNG.normal(size=(1, 8, 8, 3)).astype("float32")}
    for opt_level in (1, 3):
        report = assert_same_results(mod, inputs, opt_level=opt_level)
        assert report.sites[0].chain == ("add", "nn.relu")


def test_blocked_channels():
    x = relay.var("x", shape=(1, 2, 8, 8, 4))
    bias = constant(RNG.normal(size=(1, 2, 1, 1, 4)))
    scale = constant(np.abs(RNG.normal(size=(1, 2, 1, 1, 4))))
    mod = module(max_pool(relay.nn.relu((x + bias) * scale), layout="NCHW4c"))
    site = only_site(mod)
    assert site.chain == ("multiply", "add", "nn.relu")  # as TVM's SimplifyExpr leaves them
    inputs = {"x": RNG.normal(size=(1, 2, 8, 8, 4)).astype("float32")}
    report = assert_same_results(mod, inputs)
    assert report.sites[0].status is Status.EXCHANGED


def test_explicit_padding_with_the_lowest_value_counts_as_the_pools_own():
    lowest = float(np.finfo("float32").min)
    active = relay.nn.relu(conv2d(image()))
    padded = relay.nn.pad(active, ((0, 0), (0, 0), (0, 1), (0, 1)), pad_value=lowest)
    mod = module(max_pool(padded, size=3))
    report = assert_same_results(mod, {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32")})
    assert report.sites[0].status is Status.EXCHANGED
    other = relay.nn.pad(active, ((0, 0), (0, 0), (0, 1), (0, 1)), pad_value=-1)
    assert only_site(module(max_pool(other, size=3))).status is Status.REFUSED


def test_explicit_padding_takes_the_dtype_it_pads():
    lowest = float(np.finfo("float64").min)
    active = relay.nn.relu(conv2d(image())).astype("float64")
    padded = relay.nn.pad(active, ((0, 0), (0, 0), (0, 1), (0, 1)), relay.const(lowest, "float64"))
    mod = module(max_pool(padded, size=3))
    report = assert_same_results(mod, {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32")})
    assert report.sites[0].chain == ("nn.relu", "cast to float64")


def test_explicit_padding_below_an_adaptive_pool_is_not_the_pools_own():
    lowest = float(np.finfo("float32").min)
    active = relay.nn.relu(conv2d(image()))
    padded = relay.nn.pad(active, ((0, 0), (0, 0), (0, 8), (0, 8)), pad_value=lowest)
    mod = module(relay.nn.adaptive_max_pool2d(padded, (4, 4)))
    assert only_site(mod).status is Status.REFUSED


def test_the_part_above_a_split_product_still_moves():
    scale, bias = relay.var("scale", shape=(4, 1, 1)), channels_first([0.1, 0.2, 0.3, 0.4])
    mod = conv_net(lambda x: relay.tanh(relay.nn.relu(x) * scale + bias))
    inputs = {"x": (1, 3, 8, 8), "scale": (4, 1, 1)}
    inputs = {name: RNG.normal(size=shape).astype("float32") for name, shape in inputs.items()}
    report = assert_same_results(mod, inputs)
    assert report.sites[0].chain == ("tanh",)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_networks_still_build(dtype):
    x = image()
    weight = relay.cast(constant(RNG.normal(size=(4, 3, 3, 3))), dtype)
    data = relay.nn.conv2d(relay.cast(x, dtype), weight, channels=4, kernel_size=(3, 3))
    mod = module(relay.cast(max_pool(relay.nn.relu(data)), "float32"))
    report = assert_same_results(mod, {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32")})
    assert report.sites[0].status is Status.EXCHANGED
    biased = relay.nn.bias_add(data, relay.cast(constant([1, 2, 3, 4]), dtype))
    clamped = module(relay.cast(max_pool(biased), "float32"))
    report = assert_same_results(clamped, {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32")})
    # A bfloat16 kernel rounds where it ends, so only float16's sum is the same behind the pool.
    assert (report.sites[0].status is Status.EXCHANGED) == (dtype == "float16")


def test_pools_keep_their_own_verdicts_when_the_order_changes():
    """The first rule moves the outer pool in front of the inner one."""

    def first_four(value):
        return relay.strided_slice(value, [0, 0, 0, 0], [1, 4, 1, 1])

    x = relay.var("x", shape=(1, 4, 16, 16))
    halves = [relay.nn.relu(conv2d(x, in_channels=4, seed=s)) for s in (0, 1)]
    inner = max_pool(relay.concatenate(halves, axis=1))
    outer = max_pool(relay.nn.relu(x) + first_four(relay.nn.global_max_pool2d(relay.sin(inner))))
    _, report = tvm_reorder.reorder(module(outer), decision="exchange")
    verdicts = {site.name: (site.status, site.rule) for site in report.sites}
    assert len(verdicts) == 3
    assert verdicts["max_pool2d_1"] == (Status.EXCHANGED, "ExchangeConcatenate")
    assert verdicts["global_max_pool2d"][0] is Status.REFUSED
    assert verdicts["max_pool2d_2"] == (Status.EXCHANGED, "ExchangeChain")


def test_pools_inside_claimed_functions_are_left_alone():
    y = relay.var("y", shape=(1, 4, 8, 8))
    claimed = relay.Function([y], max_pool(relay.nn.relu(y))).with_attr("Composite", "other.pool")
    mod = module(relay.Call(claimed, [conv2d(image())]))
    exchanged, report = tvm_reorder.reorder(mod, decision="exchange")
    assert not report.sites
    assert "nn.relu" in str(exchanged).split("nn.max_pool2d")[0]


PASSING = {
    "divide": (lambda x: x / relay.const(-6.0), lambda x: x),
    "negative": (lambda x: x * relay.const(-0.3), relay.negative),
    "copy": (lambda x: x * relay.const(-0.3), relay.copy),
    "cast": (lambda x: x * relay.const(-0.3), lambda x: x.astype("float64").astype("float32")),
    "leaky": (lambda x: x * relay.const(-0.3), lambda x: relay.nn.leaky_relu(x, 1.0)),
    "turned": (lambda x: x * relay.const(0.3), lambda x: relay.nn.leaky_relu(x, -1.0)),
}


@pytest.mark.parametrize("between", PASSING)
@pytest.mark.parametrize("is_behind", [False, True])
def test_a_product_is_seen_through_what_llvm_sees_through(between, is_behind):
    """A product that stays and a sum that would move, or a product moving to a sum: equal results.

    Found by scripts/fuzz.py: a division, which TVM makes a product, and a leaky ReLU of slope -1.
    """
    product, step = PASSING[between]
    x = relay.var("x", shape=(1, 16, 16, 16))
    bias = constant(np.linspace(-1, 1, 16).reshape(1, 16, 1, 1))
    if is_behind:
        mod = module(max_pool(step(product(x))) + bias)
    else:
        mod = module(max_pool(step(product(x)) + bias))
    for seed in range(3):
        data = np.random.default_rng(seed).normal(size=(1, 16, 16, 16)).astype("float32")
        assert_same_results(mod, {"x": data})
