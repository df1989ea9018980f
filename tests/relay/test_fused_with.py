"""Kernels of elementwise operators alone: found, and their products and sums rounded as ever."""

import re

import numpy as np
import pytest
import tvm
from tvm import relay

from tvm_reorder import Status
from tvm_reorder.relay.fused_with import is_elementwise_kernel
from tvm_reorder.relay.sites import FunctionGraph

from .networks import conv2d, image, module
from .test_contraction import CLASSES, PRODUCERS, compare, draw_network, image_of, runs_here

RUNS = [target for target in CLASSES.values() if runs_here(target)]
ELEMENTWISE = [name for name, (_, _, row) in PRODUCERS.items() if row == "elementwise"]
SEEDS = [pytest.param(seed, marks=pytest.mark.full if seed > 3 else ()) for seed in range(40)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_random_products_and_sums_on_them_are_equal(name, seed):
    mod, inputs, text = draw_network(name, 1000 + seed)
    for opt_level in (1, 3):
        same, report = compare(mod, inputs, RUNS[-1], opt_level)
        assert same, f"{text}: {report}"


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_batch_norm_on_them_moves(name):
    """A product and a sum behind tanh: refused as long as nobody knew how their kernel rounds."""
    x = image_of("NCHW")
    value = relay.tanh(PRODUCERS[name][1](x)) * relay.const(1.7) + relay.const(0.3)
    mod = module(relay.nn.max_pool2d(value, (2, 2), (2, 2)))
    rng = np.random.default_rng(0)
    inputs = {
        v.name_hint: rng.normal(size=[int(n) for n in v.checked_type.shape]).astype("float32")
        for v in mod["main"].params
    }
    same, report = compare(mod, inputs, RUNS[-1], 3)
    (site,) = report.sites
    assert same and site.status is Status.EXCHANGED and site.chain == ("tanh", "multiply", "add")


@pytest.mark.parametrize("instructions", ["avx2", "avx512"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_they_round_a_product_and_a_sum_once(name, instructions):
    """Every product on the data is in a fused multiply-add."""
    x = image_of("NCHW")
    value = relay.nn.relu(PRODUCERS[name][1](x)) * relay.const(1.7) + relay.const(0.3)
    with tvm.transform.PassContext(opt_level=3):
        text = relay.build(module(value), CLASSES[instructions]).get_lib().get_source("ll")
    assert re.search(r"llvm\.fmuladd", text)
    code = re.findall(r"= fadd (?:<\d+ x )?float.*", text)
    assert not any("1.7" in line for line in code)


def wide():
    return image(channels=4)


KINDS = {
    "an input": (lambda x: x, True),
    "a convolution": (lambda x: conv2d(x, 4, 4), False),
    "a sum of inputs": (lambda x: x + relay.var("y", shape=(1, 4, 8, 8)), True),
    "a residual sum": (lambda x: conv2d(x, 4, 4) + x, False),
    "a gate": (lambda x: x * relay.sigmoid(relay.mean(x, [2, 3], keepdims=True)), True),
    "a reduction": (lambda x: relay.sum(x, 1, keepdims=True), True),
    "a concatenation": (lambda x: relay.concatenate([x, x], 1), False),
    "a value of one, used twice": (
        lambda x: (lambda t: t * relay.sin(t))(relay.concatenate([x, x], 1)),
        False,
    ),
    "a part": (lambda x: relay.split(x, 2, 1)[0], False),
    "an upsampling": (lambda x: relay.sin(relay.nn.upsampling(x, 2, 2)), False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_a_kernel_of_elementwise_operators(kind):
    make, expected = KINDS[kind]
    value = make(wide())
    graph = FunctionGraph(module(relay.tanh(value))["main"])
    (base,) = graph.function.body.args
    assert is_elementwise_kernel(graph, base, 1) is expected


def test_what_somebody_else_reads_comes_from_memory():
    joined = relay.concatenate([wide(), wide()], 1)
    graph = FunctionGraph(module(relay.Tuple([relay.tanh(joined), relay.exp(joined)]))["main"])
    assert is_elementwise_kernel(graph, graph.function.body.fields[0].args[0], 1)
