"""Outside a build: what TVM's later passes would fold is kept from them, and costs no kernel."""

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.cli.measure import count_kernels
from tvm_reorder.tvmc import reorder_partition

from .networks import (
    TARGET,
    build,
    channels_first,
    conv2d,
    execute,
    image,
    max_pool,
    module,
)

RNG = np.random.default_rng(3)
SCALES, SHIFTS = RNG.uniform(0.5, 1.5, 16), RNG.normal(size=16)


def convolve(data, in_channels=16):
    return conv2d(data, channels=16, in_channels=in_channels, seed=in_channels)


def scaled_and_shifted(data):
    return relay.tanh(data) * channels_first(SCALES) + channels_first(SHIFTS)


NETS = {
    "a scale and a convolution": lambda x: convolve(max_pool(scaled_and_shifted(x))),
    "two sums": lambda x: (
        max_pool(relay.tanh(x) + channels_first(SHIFTS)) + channels_first(SHIFTS * 0.7)
    ),
    "two scales": lambda x: (
        max_pool(relay.tanh(x) * channels_first(SCALES)) * channels_first(SCALES)
    ),
}


def as_pass(mod):
    config = tvm_reorder.ReorderConfig(decision="exchange")
    return tvm_reorder.ReorderActivations(config).as_pass()(relay.transform.InferType()(mod))


def as_function(mod):
    return tvm_reorder.reorder(mod, decision="exchange", target=TARGET)[0]


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
@pytest.mark.parametrize("way", [as_function, as_pass, reorder_partition])
def test_results_are_equal_outside_a_build(way, make):
    mod = module(make(convolve(image(32), 3)))
    inputs = {"x": RNG.normal(size=(1, 3, 32, 32)).astype("float32")}
    with tvm.target.Target(TARGET):
        reordered = way(mod)
    assert "copy(" in str(reordered)
    for before, after in zip(execute(build(mod), inputs), execute(build(reordered), inputs)):
        np.testing.assert_array_equal(after, before)


def test_a_guard_costs_no_kernel():
    mod = module(convolve(max_pool(scaled_and_shifted(convolve(image(32), 3)))))
    with tvm_reorder.enabled(decision="exchange"):
        inside = build(mod)
    outside = build(as_function(mod))
    assert count_kernels(outside.get_graph_json()) == count_kernels(inside.get_graph_json())


def test_what_nothing_folds_is_not_guarded():
    activated = module(convolve(max_pool(relay.nn.relu(convolve(image(32), 3)))))
    assert "copy(" not in str(as_function(activated))
    result = module(max_pool(scaled_and_shifted(convolve(image(32), 3))))
    assert "copy(" not in str(as_function(result))


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("way", ["a sum", "a product"])
def test_a_bias_that_has_become_a_sum_is_not_merged_in_the_build(way, write):
    """The prefix makes it one behind SimplifyExpr, and comes a second time."""
    bias = relay.const(SHIFTS.astype("float32"))
    value = relay.nn.bias_add(convolve(image(32), 3), bias)
    merged = value + channels_first(SHIFTS) if way == "a sum" else value * channels_first(SCALES)
    mod = module(max_pool(relay.nn.relu(relay.tanh(merged) if way == "a product" else merged)))
    inputs = {"x": RNG.normal(size=(1, 3, 32, 32)).astype("float32")}
    with tvm.target.Target(TARGET), tvm.transform.PassContext(opt_level=3):
        reordered, report = tvm_reorder.reorder(mod, decision="exchange", write=write)
    assert report.sites
    (before,), (after,) = (execute(build(each), inputs) for each in (mod, reordered))
    assert np.array_equal(before, after)
    counts = [count_kernels(build(each).get_graph_json()) for each in (mod, reordered)]
    assert counts[0] == counts[1]


def normalise(value, seed=0):
    rng = np.random.default_rng(seed)
    mean, gamma, beta = (relay.const(rng.normal(size=16).astype("float32")) for _ in range(3))
    variance = relay.const(rng.uniform(0.1, 2, 16).astype("float32"))
    return relay.nn.batch_norm(value, gamma, beta, mean, variance)[0]


LEFT = {
    "a sum and a product": lambda x: (convolve(x, 3) + relay.const(0.3)) * relay.const(1.7),
    "two batch norms": lambda x: normalise(normalise(convolve(x, 3)), 1),
    "a bias and a batch norm": lambda x: normalise(
        relay.nn.bias_add(convolve(x, 3), relay.const(SHIFTS.astype("float32")))
    ),
    "an average behind": lambda x: relay.nn.avg_pool2d(
        relay.nn.relu((convolve(x, 3) + relay.const(0.3)) * relay.const(1.7)), (2, 2), (2, 2)
    ),
    "a scale in front": lambda x: convolve((x + relay.const(0.3)) * relay.const(1.7), 3),
}


@pytest.mark.parametrize("name", LEFT)
def test_the_prefix_changes_nothing_when_it_comes_again(name):
    """Of what the pass leaves alone, too, next to a site that it exchanges."""
    x = image(32)
    mod = module(relay.Tuple([max_pool(relay.nn.relu(convolve(x, 3))), LEFT[name](x)]))
    inputs = {"x": RNG.normal(size=(1, 3, 32, 32)).astype("float32")}
    with tvm.target.Target(TARGET), tvm.transform.PassContext(opt_level=3):
        reordered, report = tvm_reorder.reorder(mod, decision="exchange")
    assert report.exchanged
    built = [build(each) for each in (mod, reordered)]
    for before, after in zip(*(execute(library, inputs) for library in built)):
        assert np.array_equal(before, after)
    counts = [count_kernels(library.get_graph_json()) for library in built]
    assert counts[0] == counts[1]
