"""The fused operator computes what stock TVM's convolution and pool compute, bit for bit."""

import numpy as np
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm import autotvm, relay, te, topi

import tvm_reorder
from tvm_reorder.core.tiles import divisors, make_tiles
from tvm_reorder.relay.op.conv2d_max_pool2d import make_call
from tvm_reorder.relay.op.conv2d_max_pool2d.compute import compute_NCHWc
from tvm_reorder.relay.op.conv2d_max_pool2d.schedule_x86 import schedule_NCHWc

from ..relay.networks import TARGET, channels_first, module, run
from .layers import LANES, LOWEST, Layer, draw_values, layers, make_layer, make_log, reference

# Each example builds several kernels.
some = settings(
    max_examples=settings.default.max_examples // 5,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
seeds = st.integers(0, 2**16)


def assert_close(result, layer: Layer, data, weight) -> None:
    """Within what float32 sums may be off."""
    expected, bound = reference(layer, data, weight)
    assert result.shape == expected.shape
    with np.errstate(invalid="ignore"):  # infinite where both are equal
        is_close = abs(result - expected) <= bound
    np.testing.assert_array_equal(is_close | (result == expected), True)


def run_tile(layer: Layer, blocks, tile, unroll_kw, data, weight, bias) -> np.ndarray:
    """What one way to cut the layer computes, with bias and ReLU behind it."""
    geometry = layer.geometry(*blocks)
    packed, filters, biases = _pack(data, weight, bias, *blocks)
    tensors = [te.placeholder(values.shape) for values in (packed, filters, biases)]
    with tvm.target.Target(TARGET):
        pooled = compute_NCHWc(*tensors[:2], geometry, tile)
        result = topi.nn.relu(topi.add(pooled, tensors[2]))
        schedule = schedule_NCHWc([result], tile, blocks[0], bool(unroll_kw))
        kernel = tvm.build(schedule, [*tensors, result])
    filled = np.full([int(n) for n in result.shape], np.nan, "float32")
    arguments = [tvm.nd.array(values) for values in (packed, filters, biases, filled)]
    kernel(*arguments)
    unpacked = arguments[-1].numpy().transpose(0, 1, 4, 2, 3)
    return unpacked.reshape(unpacked.shape[0], -1, *unpacked.shape[3:])


def _pack(data, weight, bias, in_block, out_block):
    batch, channels, *size = data.shape
    filters, _, *window = weight.shape
    data = data.reshape(batch, channels // in_block, in_block, *size).transpose(0, 1, 3, 4, 2)
    shape = (filters // out_block, out_block, channels // in_block, in_block, *window)
    weight = weight.reshape(shape).transpose(0, 2, 4, 5, 3, 1)
    bias = bias.reshape(1, filters // out_block, 1, 1, out_block)
    return [np.ascontiguousarray(values) for values in (data, weight, bias)]


@pytest.mark.parametrize("unroll_kw", [0, 1])
@settings(some, max_examples=some.max_examples // 2)
@given(st.data(), layers(), seeds, st.booleans())
def test_every_tile_computes_what_stock_computes(unroll_kw, data, layer, seed, infinite):
    """In random channel blocks and either order of summation, stock's and ours the same."""
    unroll_kw &= max(layer.kernel[2:]) > 1  # TVM's schedule for 1x1 kernels has no such knob
    values, weight = draw_values(layer, seed, infinite)
    blocks = [
        data.draw(st.sampled_from([d for d in reversed(divisors(n)) if d <= 2 * LANES]))
        for n in (layer.data[1], layer.kernel[0])
    ]
    bias = np.random.default_rng(seed).normal(size=layer.kernel[0]).astype("float32")
    with autotvm.apply_history_best(make_log(layer, *blocks, unroll_kw)):
        (pooled,) = run(layer.stock(weight), {"x": values})
    assert_close(pooled, layer, values, weight)
    expected = np.maximum(pooled + bias.reshape(-1, 1, 1), np.float32(0))
    tiles = list(make_tiles(layer.geometry(*blocks), LANES))
    for tile in data.draw(st.lists(st.sampled_from(tiles), min_size=2, max_size=2)):
        result = run_tile(layer, blocks, tile, unroll_kw, values, weight, bias)
        np.testing.assert_array_equal(result, expected)


EPILOGUES = {
    "bare": lambda x, bias: x,
    "relu": lambda x, bias: relay.nn.relu(x),
    "bias, relu": lambda x, bias: relay.nn.relu(relay.nn.bias_add(x, bias)),
    "bias, sigmoid": lambda x, bias: relay.sigmoid(relay.nn.bias_add(x, bias)),
    "bias, relu6": lambda x, bias: relay.clip(relay.nn.bias_add(x, bias), 0, 6),
    "leaky": lambda x, bias: relay.nn.leaky_relu(x, 0.1),
}


@some
@given(layers(), seeds, st.booleans(), st.sampled_from(list(EPILOGUES)))
def test_the_pass_fuses_and_results_are_equal(layer, seed, infinite, epilogue):
    """With the default tile; what is not exact, such as ReLU behind padding only, is kept."""
    data, weight = draw_values(layer, seed, infinite)
    bias = relay.const(np.random.default_rng(seed).normal(size=layer.kernel[0]).astype("float32"))
    mod = module(layer.pool(EPILOGUES[epilogue](layer.convolution(weight), bias)))
    (stock,) = run(mod, {"x": data})
    with tvm_reorder.enabled(decision="fuse", licence="strict") as report:
        (result,) = run(mod, {"x": data})
    assert not report.errors
    if epilogue == "bare":
        assert report.fused
    np.testing.assert_array_equal(result, stock)


# --- cases by hand -------------------------------------------------------------------------------


def fused(layer: Layer, weight, bias) -> tvm.IRModule:
    """The operator with bias and ReLU behind it."""
    call = make_call(relay.var("x", shape=layer.data), relay.const(weight), layer.attributes)
    return module(relay.nn.relu(call + channels_first(bias)))


def assert_operator_equals_stock(layer: Layer, opt_level: int = 3) -> None:
    """Stock does bias and ReLU before the pool, the operator behind it."""
    data, weight = draw_values(layer, 0, infinite=False)
    bias = np.linspace(-1, 1, layer.kernel[0])
    activated = relay.nn.relu(layer.convolution(weight) + channels_first(bias))
    (stock,) = run(module(layer.pool(activated)), {"x": data}, opt_level=opt_level)
    (result,) = run(fused(layer, weight, bias), {"x": data}, opt_level=opt_level)
    np.testing.assert_array_equal(result, stock)


SAME, PLAIN = ((1, 1), (1, 1, 1, 1)), ((1, 1), (0, 0, 0, 0))
CASES = {
    "batch, 1x1 kernel": make_layer((3, 16, 9, 9), 32, (1, 1)),
    "channels that are no multiple of a vector": make_layer((1, 7, 8, 8), 13, (3, 3), SAME),
    "blocks of a part of a vector": make_layer((1, 3, 8, 8), 20, (3, 3), SAME),
    "prime width": make_layer((1, 3, 11, 37), 10, (3, 3), SAME),
    "dilation": make_layer((1, 3, 12, 12), 16, (3, 3), ((1, 1), (2, 2, 2, 2), (2, 2))),
    "strides, asymmetric padding": make_layer((1, 3, 21, 21), 16, (5, 5), ((2, 3), (0, 1, 2, 3))),
    "ceil_mode": make_layer((1, 3, 9, 9), 16, (3, 3), SAME, ceil=True),
    "overlapping": make_layer((1, 3, 13, 13), 48, (3, 3), SAME, ((3, 3), (2, 2))),
    "overlapping and padded": make_layer(
        (1, 3, 12, 12), 16, (3, 3), SAME, ((3, 2), (2, 2)), (0, 1, 1, 0)
    ),
    "dilated window": make_layer(
        (1, 3, 12, 12), 16, (3, 3), SAME, ((2, 2), (1, 2)), pool_dilation=(2, 3)
    ),
    "window larger than the convolution": make_layer(
        (1, 3, 5, 5), 16, (3, 3), PLAIN, ((5, 5), (1, 1)), (1, 1, 1, 1)
    ),
    "gaps between windows": make_layer((1, 3, 14, 14), 16, (3, 3), SAME, ((2, 2), (3, 4))),
    "one value": make_layer((1, 1, 1, 1), 1, (1, 1), PLAIN, ((1, 1), (1, 1))),
}


@pytest.mark.parametrize("case", CASES)
def test_the_operator_equals_stock(case):
    assert_operator_equals_stock(CASES[case])


@pytest.mark.parametrize("opt_level", [0, 2, 4])
@pytest.mark.parametrize("case", ["batch, 1x1 kernel", "overlapping and padded"])
def test_the_operator_equals_stock_at_every_level(case, opt_level):
    """Below 3 there is no AlterOpLayout: the operator takes plain tensors, as stock does."""
    assert_operator_equals_stock(CASES[case], opt_level)


PADDING_ONLY = {
    "some": make_layer((1, 3, 4, 4), 16, (1, 1), PLAIN, ((1, 1), (1, 1)), (2, 1, 1, 2)),
    "whole rows": make_layer((1, 3, 4, 4), 16, (3, 3), SAME, ((2, 2), (2, 2)), (2, 0, 2, 0)),
    "all": make_layer((1, 3, 2, 2), 16, (1, 1), PLAIN, ((1, 1), (7, 7)), (3, 3, 2, 2)),
}


@pytest.mark.parametrize("case", PADDING_ONLY)
def test_a_window_of_padding_only_gives_the_lowest_value(case):
    layer = PADDING_ONLY[case]
    data, weight = draw_values(layer, 0, infinite=False)
    (stock,) = run(layer.stock(weight), {"x": data})
    with tvm_reorder.enabled(decision="fuse") as report:
        (result,) = run(layer.stock(weight), {"x": data})
    assert len(report.fused) == 1 and not report.errors
    assert (stock == LOWEST).any()
    np.testing.assert_array_equal(result, stock)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_go_through(value):
    """A window of nothing but -inf gives the lowest finite value, as in stock."""
    layer = CASES["overlapping and padded"]
    data, weight = draw_values(layer, 0, infinite=False)
    data[...] = value
    (stock,) = run(layer.stock(abs(weight)), {"x": data})
    with tvm_reorder.enabled(decision="fuse") as report:
        (result,) = run(layer.stock(abs(weight)), {"x": data})
    assert len(report.fused) == 1
    assert (stock == (value if value > 0 else LOWEST)).all()
    np.testing.assert_array_equal(result, stock)


@pytest.mark.parametrize(
    "attributes, message",
    [
        (dict(pool_size=(9, 9)), "the pool's output is"),
        (dict(kernel_size=(9, 9)), "the convolution's output is"),
    ],
    ids=["pool", "kernel"],
)
def test_a_window_that_does_not_fit_is_refused(attributes, message):
    """The type relation says so in words; TVM passes them on."""
    pool = attributes.get("pool_size", (2, 2)), (2, 2)
    layer = make_layer((1, 3, 4, 4), 16, attributes.get("kernel_size", (3, 3)), SAME, pool)
    _, weight = draw_values(layer, 0, infinite=False)
    with pytest.raises(Exception, match=message):
        fused(layer, weight, np.zeros(16))


def test_a_kernel_of_other_channels_is_refused():
    layer = make_layer((1, 3, 4, 4), 16, (3, 3), SAME)
    weight = np.zeros((16, 5, 3, 3), "float32")
    with pytest.raises(Exception, match="takes 5 channels but must take the data's 3"):
        fused(layer, weight, np.zeros(16))
