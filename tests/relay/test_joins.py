"""Two maps of the same x joined by a sum, a maximum or a minimum: what goes, and what stays."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status

from .networks import (
    assert_same_results,
    channels_first,
    constant,
    conv2d,
    conv_net,
    execute,
    image,
    max_pool,
    module,
    only_site,
    run,
)

RNG = np.random.default_rng(23)
SLOPES = [0.25, -0.2, 0, -3]


def scalar(value):
    return relay.const(np.float32(value))


def with_slopes(x):
    return x * channels_first(SLOPES)


def keras_prelu(x):
    return channels_first(np.negative(SLOPES)) * relay.nn.relu(relay.negative(x)) + relay.nn.relu(x)


def keras_prelu_by_difference(x):
    return relay.nn.relu(x) - channels_first(SLOPES) * relay.nn.relu(relay.negative(x))


def tensorflow_prelu(x, slopes=SLOPES):
    return relay.nn.relu(x) + channels_first(slopes) * (x - relay.abs(x)) * scalar(0.5)


def soft_shrink(x):
    return relay.nn.relu(x - scalar(0.5)) - relay.nn.relu(scalar(-0.5) - x)


VALLEYS = {
    "abs as a maximum": lambda x: relay.maximum(x, relay.negative(x)),
    "a slope below 0": lambda x: relay.maximum(x, x * scalar(-0.5)),
    "the slope first": lambda x: relay.maximum(x * scalar(-3), x),
    "two slopes": lambda x: relay.maximum(x * scalar(-2), x * scalar(0.5)),
    "slopes by channel": lambda x: relay.maximum(x, with_slopes(x)),
    "two by channel": lambda x: relay.maximum(with_slopes(x), x * channels_first([-1, 2, -3, 4])),
    "the largest of three": lambda x: relay.maximum(
        relay.maximum(x, relay.negative(x)), x * scalar(0.5) + scalar(1)
    ),
    "three with a constant": lambda x: relay.maximum(
        relay.maximum(x, relay.negative(x)), scalar(0.5)
    ),
    "capped": lambda x: relay.minimum(relay.maximum(x, relay.negative(x)), scalar(2)),
    "a library function": lambda x: relay.maximum(relay.tanh(x), relay.negative(x)),
    "abs as a sum": lambda x: relay.nn.relu(x) + relay.nn.relu(relay.negative(x)),
    "prelu of Keras": keras_prelu,
    "prelu by a difference": keras_prelu_by_difference,
    "prelu of TensorFlow": tensorflow_prelu,
    "abs turned around twice": lambda x: relay.abs(relay.negative(x)) + relay.abs(x),
    "relu of a difference": lambda x: relay.maximum(relay.nn.relu(x), scalar(-1) - x),
}
RISING = {
    "leaky relu as a maximum": lambda x: relay.maximum(x, x * scalar(0.1)),
    "a slope of 0": lambda x: relay.maximum(x, x * scalar(0)),
    "the smaller of two": lambda x: relay.minimum(x, x * scalar(0.5)),
    "by channel": lambda x: relay.minimum(x, x * channels_first([0.5, 2, 1, 0])),
    "soft shrink": soft_shrink,
    "clip": lambda x: relay.minimum(relay.maximum(x, scalar(-1)), scalar(1)),
    "relu6": lambda x: relay.minimum(relay.nn.relu(x), scalar(6)),
    "a sum": lambda x: x + relay.nn.relu(x),
    "prelu of TensorFlow": lambda x: tensorflow_prelu(x, [0.1, 0.2, 0, 1]),
    "x and its abs": lambda x: x + relay.abs(x),
    "prelu with slopes from 0": lambda x: (
        relay.nn.relu(x) - channels_first([0.1, 0.2, 0, 1]) * relay.nn.relu(relay.negative(x))
    ),
}
FALLING = {
    "the larger of two": lambda x: relay.maximum(relay.negative(x), x * scalar(-0.5)),
    "the smaller of two": lambda x: relay.minimum(relay.negative(x), x * scalar(-0.5)),
    "a sum": lambda x: relay.nn.relu(relay.negative(x)) - x,
}
HILLS = {
    "the smaller of x and -x": lambda x: relay.minimum(x, relay.negative(x)),
    "a slope below 0": lambda x: relay.minimum(x, x * scalar(-0.5)),
    "slopes by channel": lambda x: relay.minimum(x, with_slopes(x)),
    "less an abs": lambda x: scalar(1) - relay.maximum(x, relay.negative(x)),
    "prelu turned around": lambda x: relay.negative(keras_prelu(x)),
    "a hill in a maximum": lambda x: relay.maximum(
        relay.minimum(x, relay.negative(x)), x * scalar(0.5) - scalar(1)
    ),
    "a sum of two sides": lambda x: relay.minimum(x, scalar(0)) - relay.nn.relu(x),
}


def draw():
    return {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32") * 3}


@pytest.mark.parametrize("name", VALLEYS)
def test_a_valley_is_taken_at_both_ends(name):
    (site,) = assert_same_results(conv_net(VALLEYS[name]), draw()).sites
    assert site.status is Status.EXCHANGED and site.ends.is_both, site.explanation


@pytest.mark.parametrize("name", RISING)
def test_what_rises_is_taken_at_the_maximum(name):
    (site,) = assert_same_results(conv_net(RISING[name]), draw()).sites
    assert site.status is Status.EXCHANGED and site.ends.is_maximum, site.explanation


@pytest.mark.parametrize("name", FALLING)
def test_what_falls_is_taken_at_the_minimum(name):
    (site,) = assert_same_results(conv_net(FALLING[name]), draw()).sites
    assert site.status is Status.EXCHANGED and site.ends.signs == (-1,), site.explanation


@pytest.mark.parametrize("name", HILLS)
def test_a_hill_stays(name):
    site = only_site(conv_net(HILLS[name]), licence="ulp:any")
    assert site.status is Status.REFUSED, site.explanation
    assert site.refusal.reason is Reason.NOT_MONOTONE, site.explanation


EVERY = {f"{kind} {n}": f for kind, table in (("V", VALLEYS), ("R", RISING), ("F", FALLING))
         for n, f in table.items()}  # fmt: skip
EXTREMES = np.array(
    [np.inf, -np.inf, 3.4028235e38, -3.4028235e38, 1e-45, -1e-45, 0.0, -0.0, 1, -1, 0.5, 7]
)


def passed_on(dtype="float32", channels=4):
    """A convolution that passes its input on: 1x1, of one channel each, all weights 1."""
    x = relay.var("x", shape=(1, channels, 8, 8), dtype=dtype)
    weight = constant(np.ones((channels, 1, 1, 1)), dtype)
    return relay.nn.conv2d(x, weight, channels=channels, kernel_size=(1, 1), groups=channels)


def extreme_input(dtype="float32", alone=False):
    with np.errstate(over="ignore"):
        values = RNG.choice(EXTREMES, size=(1, 4, 8, 8)).astype(dtype)
    if alone:  # windows of one infinity
        values[:, :, :4, :4], values[:, :, 4:, :4] = -np.inf, np.inf
    else:
        values[:, :, ::2, ::2] = RNG.normal(size=(1, 4, 4, 4))
    return values


def assert_same_numbers(function, licence, values, dtype="float32"):
    """Equal results wherever the function gives no NaN in a window."""
    mod = module(max_pool(function(passed_on(dtype))))
    (stock,) = run(mod, {"x": values})
    with tvm_reorder.enabled(decision="exchange", licence=licence) as report:
        (ours,) = run(mod, {"x": values})
    (active,) = run(module(function(passed_on(dtype))), {"x": values})
    windows = np.isnan(active.reshape(1, 4, 4, 2, 4, 2)).any(axis=(3, 5))
    np.testing.assert_array_equal(ours[~windows], stock[~windows])
    return report.sites[0]


@pytest.mark.parametrize("name", EVERY)
def test_extreme_values(name):
    assert_same_numbers(EVERY[name], "equal", extreme_input())


STRICT = ["V abs as a maximum", "V prelu of Keras", "V slopes by channel", "R clip", "F a sum"]
MIXED = {
    "prelu of both signs": lambda x: relay.nn.prelu(x, constant(SLOPES)),
    "prelu of a negative": lambda x: relay.nn.prelu(relay.negative(x), constant(SLOPES)),
    "prelu of valleys": lambda x: relay.nn.prelu(x, constant([-0.5, -1, -2, -3])),
    "clipped": lambda x: relay.nn.prelu(relay.clip(x, -2, 3), constant(SLOPES)),
    **{name: EVERY[name] for name in STRICT},
}


@pytest.mark.parametrize("name", MIXED)
def test_windows_of_one_infinity_under_the_strict_licence(name):
    site = assert_same_numbers(MIXED[name], "strict", extreme_input(alone=True))
    if name.startswith("prelu of both") or name.startswith("prelu of a"):
        assert site.refusal.reason is Reason.NEGATIVE_INFINITY, site.explanation
    if name in ("prelu of valleys", "clipped", "V abs as a maximum"):
        assert site.status is Status.EXCHANGED, site.explanation


@pytest.mark.parametrize("name", ["prelu of both signs", "clipped"])
def test_halves_under_the_strict_licence(name):
    half = {
        "prelu of both signs": lambda x: relay.nn.prelu(x, constant(SLOPES, "float16")),
        "clipped": lambda x: relay.nn.prelu(relay.clip(x, -2, 3), constant(SLOPES, "float16")),
    }
    values = extreme_input("float16", alone=True)
    site = assert_same_numbers(half[name], "strict", values, "float16")
    assert (site.status is Status.EXCHANGED) == (name == "clipped"), site.explanation


def test_integers():
    x = image(dtype="int8")
    data = conv2d(x, dtype="int8", out_dtype="int32")
    body = relay.maximum(data, data * relay.const(-2, "int32"))
    inputs = {"x": RNG.integers(-128, 128, (1, 3, 8, 8)).astype("int8")}
    (site,) = assert_same_results(module(max_pool(body)), inputs).sites
    assert site.status is Status.EXCHANGED and site.ends.is_both, site.explanation


@pytest.mark.parametrize("dtype", ["int16", "uint8", "bool"])
def test_a_direction_is_guessed_on_integers(dtype):
    """~x is a function of integers alone; a guess in float64 ended in an error."""
    x = relay.var("x", shape=(1, 4, 8, 8), dtype=dtype)
    body = relay.minimum(x, constant(1, dtype)) + relay.bitwise_not(x)
    values = RNG.integers(0, 2 if dtype == "bool" else 100, (1, 4, 8, 8)).astype(dtype)
    report = assert_same_results(module(max_pool(body)), {"x": values})
    assert len(report.sites) == 1


def onnx_model(nodes, initializers=(), opset=14):
    """conv -> nodes -> max pool, imported."""
    weight = RNG.normal(size=(4, 3, 3, 3)).astype("float32")
    first = helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    last = helper.make_node("MaxPool", ["y"], ["out"], kernel_shape=[2, 2], strides=[2, 2])
    graph = helper.make_graph(
        [first, *nodes, last],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 4, 4])],
        [onnx.numpy_helper.from_array(v, n) for n, v in (("w", weight), *initializers)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return relay.frontend.from_onnx(model, {"x": (1, 3, 8, 8)}, freeze_params=True)


def test_the_largest_of_x_and_minus_x_from_onnx():
    nodes = [helper.make_node("Neg", ["c"], ["n"]), helper.make_node("Max", ["c", "n"], ["y"])]
    mod, params = onnx_model(nodes)
    (site,) = assert_same_results(mod, draw(), params=params).sites
    assert site.status is Status.EXCHANGED and site.ends.is_both, site.explanation


def test_the_largest_of_three_from_onnx():
    half = np.array(0.5, "float32")
    nodes = [
        helper.make_node("Neg", ["c"], ["n"]),
        helper.make_node("Mul", ["c", "half"], ["h"]),
        helper.make_node("Max", ["c", "n", "h"], ["y"]),
    ]
    mod, params = onnx_model(nodes, [("half", half)])
    (site,) = assert_same_results(mod, draw(), params=params).sites
    assert site.status is Status.EXCHANGED and site.ends.is_both, site.explanation


def test_the_exchanged_valley_is_built_twice():
    mod = conv_net(VALLEYS["abs as a maximum"])
    assert len(execute(relay.build(mod, "llvm"), draw())) == 1
    exchanged, report = tvm_reorder.reorder(mod, decision="exchange")
    assert report.exchanged and str(exchanged).count("nn.max_pool2d(") == 2


def thresholded(alpha):
    return helper.make_node("ThresholdedRelu", ["c"], ["y"], alpha=alpha)


def shrunk(lambd, bias):
    return helper.make_node("Shrink", ["c"], ["y"], lambd=lambd, bias=bias)


@pytest.mark.parametrize(
    "node, ends",
    [
        (thresholded(0.5), "the maximum"),
        (thresholded(-0.5), "both ends"),
        (shrunk(0.5, 0.0), "the maximum"),
        (shrunk(0.5, 0.25), "the maximum"),
        (shrunk(0.5, 0.5), "the maximum"),  # soft shrink; the importer has the bias once
    ],
)
def test_functions_with_comparisons_from_onnx(node, ends):
    mod, params = onnx_model([node])
    for level in (1, 3):
        (site,) = assert_same_results(mod, draw(), params=params, opt_level=level).sites
        assert site.status is Status.EXCHANGED and str(site.ends) == ends, site.explanation


def test_a_function_that_jumps_down_needs_a_certificate():
    mod, params = onnx_model([shrunk(0.5, 0.75)])
    site = only_site(mod, params, licence="ulp:any")
    assert site.refusal.reason is Reason.UNPROVEN
    assert "tvm-reorder certify --model MODEL" in site.explanation


CHOSEN = {
    "threshold of PyTorch": lambda x: relay.where(
        relay.greater(x, relay.full_like(x, scalar(1))), x, relay.full_like(x, scalar(0.5))
    ),
    "elu": lambda x: relay.where(relay.greater(x, scalar(0)), x, relay.exp(x) - scalar(1)),
    "leaky": lambda x: relay.where(relay.less(x, scalar(0)), x * scalar(0.1), x),
    "a valley": lambda x: relay.where(relay.less(x, scalar(0)), x * scalar(-0.1), x),
    "slopes by channel": lambda x: relay.where(relay.less(x, scalar(0)), with_slopes(x), x),
    "a floor of -inf": lambda x: relay.where(relay.greater(x, scalar(0)), x, scalar(-np.inf)),
    "a step": lambda x: relay.where(relay.greater(x, scalar(0.3)), scalar(1), scalar(-1)),
    "a mask": lambda x: relay.cast(relay.greater_equal(x, scalar(0)), "float32"),
    "a mask of relu": lambda x: relay.cast(relay.cast(relay.nn.relu(x), "bool"), "float32"),
    "zeros": lambda x: relay.where(
        relay.greater(x, relay.zeros_like(x)), x, relay.zeros([1, 4, 8, 8], "float32")
    ),
    "bounds by channel, first": lambda x: relay.where(
        relay.less(channels_first([0, 0.3, 1, 2]), x), x, relay.zeros_like(x)
    ),
    "two conditions": lambda x: relay.where(
        relay.logical_and(relay.greater(x, scalar(-1)), relay.less_equal(x, scalar(1))),
        scalar(0),
        x,
    ),
}


@pytest.mark.parametrize("name", CHOSEN)
@pytest.mark.parametrize("level", [1, 3])
def test_choices(name, level):
    (site,) = assert_same_results(conv_net(CHOSEN[name]), draw(), opt_level=level).sites
    assert site.status is Status.EXCHANGED, site.explanation


@pytest.mark.parametrize("name", CHOSEN)
def test_choices_at_extreme_values(name):
    if name != "zeros":
        assert_same_numbers(CHOSEN[name], "equal", extreme_input())


def test_choices_of_integers():
    data = conv2d(image(dtype="int8"), dtype="int8", out_dtype="int32")
    zero = relay.const(0, "int32")
    body = relay.where(relay.greater(data, zero), data, zero)
    inputs = {"x": RNG.integers(-128, 128, (1, 3, 8, 8)).astype("int8")}
    (site,) = assert_same_results(module(max_pool(body)), inputs).sites
    assert site.status is Status.EXCHANGED and site.ends.is_maximum, site.explanation


def test_a_choice_between_tensors_stays():
    def chosen(x):
        return relay.where(relay.greater(x, scalar(0)), x, conv2d(image(), seed=3))

    site = only_site(conv_net(chosen))
    assert site.refusal.reason in (Reason.UNKNOWN_OPERATOR, Reason.VARIES_IN_WINDOW)
