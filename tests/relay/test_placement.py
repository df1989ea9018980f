"""Where TVM computes the steps above a pool, by what they read: counted in builds."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.cli.measure import count_kernels
from tvm_reorder.core.workload import Home
from tvm_reorder.relay.extract import extract_sites

from .networks import (
    TARGET,
    constant,
    conv2d,
    execute,
    image,
    max_pool,
    module,
)

RNG = np.random.default_rng(17)
PRODUCER, ANOTHER_POOL, COPY, ALONE, THIS_POOL = Home


def pooled(value) -> relay.Expr:
    """tanh, which no rewrite of TVM's touches, and a pool."""
    return max_pool(relay.tanh(value))


def wide() -> relay.Var:
    """An input with as many channels as the convolutions have filters."""
    return image(size=8, channels=4)


def other() -> relay.Var:
    """A second input."""
    return relay.var("y", shape=(1, 4, 8, 8))


def transposed():
    weight = constant(RNG.normal(size=(3, 4, 3, 3)))
    return relay.nn.conv2d_transpose(
        image(), weight, channels=4, kernel_size=(3, 3), padding=(1, 1)
    )


def used_twice(value):
    """A pool over the value's tanh, and the value once more."""
    return relay.Tuple([pooled(value), relay.exp(relay.nn.softmax(value))])


def squeeze_and_excite(value):
    weight, squeezed = constant(RNG.normal(size=(4, 4, 1, 1))), relay.nn.global_avg_pool2d(value)
    return value * relay.sigmoid(relay.nn.conv2d(squeezed, weight, channels=4, kernel_size=(1, 1)))


def instance_norm(value):
    mean = relay.mean(value, axis=[2, 3], keepdims=True)
    spread = relay.variance(value, axis=[2, 3], keepdims=True)
    return (value - mean) / relay.sqrt(spread + relay.const(1e-5))


def flat_prelu(value):
    """As the ONNX importer writes it."""
    slopes = constant(np.repeat([0.1, 0.2, 0.3, 0.4], 64))
    bent = relay.nn.prelu(relay.reshape(value, [-1]), slopes, axis=0)
    return relay.reshape(bent, [1, 4, 8, 8])


def joined(*branches):
    return relay.concatenate(branches, axis=1)


def padded(value):
    return relay.nn.pad(value, [[0, 0]] * 2 + [[1, 1]] * 2, np.finfo("float32").min)


def there_and_back(value):
    """tanh between two transposes, of which the second undoes the first."""
    last = relay.tanh(relay.transpose(value, [0, 2, 3, 1]))
    return relay.transpose(last, [0, 3, 1, 2])


def in_three_dimensions(value):
    """Batched matrix products, pooled along their last axis."""
    products = relay.nn.batch_matmul(relay.reshape(value, [4, 8, 8]), constant(np.eye(8)[None]))
    return relay.nn.max_pool1d(relay.tanh(products), pool_size=(2,), strides=(2,))


# What the pool's steps read: their home, and the body of the network.
KINDS = {
    "convolution": (PRODUCER, lambda: pooled(conv2d(image()))),
    "transposed convolution": (PRODUCER, lambda: pooled(transposed())),
    "matrix product": (PRODUCER, lambda: in_three_dimensions(wide())),
    "softmax": (PRODUCER, lambda: pooled(relay.nn.softmax(wide(), axis=1))),
    "residual sum of convolutions": (
        PRODUCER,
        lambda: pooled(conv2d(image()) + conv2d(image(), seed=1)),
    ),
    "residual sum with an input": (
        PRODUCER,
        lambda: pooled(conv2d(image()) + other()),
    ),
    "input": (ALONE, lambda: pooled(wide())),
    "convolution with a second user": (ALONE, lambda: used_twice(conv2d(image()))),
    "sum with a second user": (
        ALONE,
        lambda: used_twice(conv2d(image()) + other()),
    ),
    "opaque operator": (ALONE, lambda: pooled(relay.nn.lrn(wide()))),
    "reduction over channels": (
        ALONE,
        lambda: pooled(relay.sum(wide(), axis=1, keepdims=True)),
    ),
    "part of a split": (
        ALONE,
        lambda: relay.Tuple([pooled(part) for part in relay.split(wide(), 2, axis=1)]),
    ),
    "flattened prelu on a convolution": (ALONE, lambda: max_pool(flat_prelu(conv2d(image())))),
    "function that does not rise": (COPY, lambda: pooled(relay.sin(wide()))),
    "residual sum of inputs": (COPY, lambda: pooled(wide() + other())),
    "squeeze and excite": (COPY, lambda: pooled(squeeze_and_excite(conv2d(image())))),
    "instance norm": (COPY, lambda: pooled(instance_norm(conv2d(image())))),
    "concatenation": (COPY, lambda: pooled(joined(other(), conv2d(image())))),
    "upsampling": (COPY, lambda: pooled(relay.nn.upsampling(wide(), 2, 2))),
    "input, padded": (COPY, lambda: max_pool(padded(relay.tanh(wide())))),
    "convolution, padded": (PRODUCER, lambda: max_pool(padded(relay.tanh(conv2d(image()))))),
    "convolution, moved": (
        COPY,
        lambda: max_pool(relay.transpose(relay.tanh(conv2d(image())), [0, 1, 3, 2])),
    ),
    "convolution, moved there and back": (ALONE, lambda: max_pool(there_and_back(conv2d(image())))),
    "max pool": (ANOTHER_POOL, lambda: pooled(max_pool(wide()))),
    "average pool": (
        ANOTHER_POOL,
        lambda: pooled(relay.nn.avg_pool2d(wide(), (3, 3), padding=(1, 1))),
    ),
    "branches on convolutions": (
        PRODUCER,
        lambda: max_pool(joined(relay.tanh(conv2d(image())), relay.tanh(conv2d(image(), seed=1)))),
    ),
    "branches, one of them on an input": (
        COPY,
        lambda: max_pool(joined(relay.tanh(conv2d(image())), relay.tanh(other()))),
    ),
    "reduction, input": (THIS_POOL, lambda: relay.max(relay.tanh(wide()), axis=[2, 3])),
    "reduction, sum of inputs": (
        THIS_POOL,
        lambda: relay.max(relay.tanh(wide() + other()), axis=[2, 3], keepdims=True),
    ),
    "reduction, convolution": (
        PRODUCER,
        lambda: relay.max(relay.tanh(conv2d(image())), axis=[2, 3]),
    ),
    "reduction, max pool": (
        ANOTHER_POOL,
        lambda: relay.max(relay.tanh(max_pool(wide())), axis=[2, 3]),
    ),
}


def build(mod):
    """In the layouts of the network: transforms at its borders are no part of a site."""
    with tvm.transform.PassContext(opt_level=3, disabled_pass=["AlterOpLayout"]):
        return relay.build(mod, TARGET)


def named_apart(body) -> tvm.IRModule:
    """A module whose free variables of one name are one variable."""
    variables = {v.name_hint: v for v in relay.analysis.free_vars(body)}
    same = {v: variables[v.name_hint] for v in relay.analysis.free_vars(body)}
    return module(relay.bind(body, same))


def make(kind: str) -> tvm.IRModule:
    return named_apart(KINDS[kind][1]())


def draw(mod) -> dict:
    return {
        v.name_hint: RNG.normal(size=[int(n) for n in v.checked_type.shape]).astype("float32")
        for v in mod["main"].params
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_home_of_each_kind_and_what_an_exchange_does_to_the_kernels(kind):
    home, mod = KINDS[kind][0], make(kind)
    stock, inputs = build(mod), draw(mod)
    with tvm_reorder.enabled(decision="exchange") as report:
        exchanged = build(mod)
    site = report.exchanged[0]
    assert site.workload.home is home, site.explanation
    assert site.workload.is_reduction == kind.startswith("reduction, ")
    for before, after in zip(execute(stock, inputs), execute(exchanged, inputs)):
        np.testing.assert_array_equal(after, before)
    saved = len(report.exchanged) * (int(home is ALONE) - site.workload.is_reduction)
    kernels = [count_kernels(library.get_graph_json()) for library in (stock, exchanged)]
    assert kernels[0] - kernels[1] == saved


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_is_cut_where_its_kernels_begin(kind):
    """What is measured of a site is decided about the same kernel as in the model."""
    prepared, report = tvm_reorder.reorder(make(kind), write=False, target=TARGET)
    site = extract_sites(prepared, report)[-1]
    _, again = tvm_reorder.reorder(site.mod, write=False, target=TARGET)
    cut, whole = (each.workload for each in (again.sites[-1], site))
    assert replace(cut, source=whole.source) == whole  # what was cut off is an input now
