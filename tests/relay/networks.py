"""Small networks around one pool, and how to run them."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import tvm_reorder
from tvm_reorder.cli.measure import count_kernels

from ..targets import WIDEST

TARGET = WIDEST  # with FMA, if there is one: contraction must not change results
SPATIAL_AXES = {"NCW": (2,), "NCHW": (2, 3), "NHWC": (1, 2), "NCHW4c": (2, 3), "NCDHW": (2, 3, 4)}


def constant(values, dtype="float32") -> relay.Constant:
    """A Relay constant."""
    return relay.const(np.asarray(values, dtype=dtype), dtype)


def module(body: relay.Expr) -> tvm.IRModule:
    """A typed module that computes an expression of its free variables."""
    mod = tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body))
    return relay.transform.InferType()(mod)


def conv2d(data, channels=4, in_channels=3, seed=0, dtype="float32", layout="NCHW", **options):
    """A 3x3 convolution with seeded weights."""
    shape = (channels, in_channels, 3, 3) if layout == "NCHW" else (3, 3, in_channels, channels)
    rng = np.random.default_rng(seed)
    weight = rng.integers(-3, 4, shape) if dtype.startswith("int") else rng.normal(size=shape)
    return relay.nn.conv2d(
        data,
        constant(weight, dtype),
        channels=channels,
        kernel_size=(3, 3),
        padding=(1, 1),
        data_layout=layout,
        kernel_layout="OIHW" if layout == "NCHW" else "HWIO",
        **options,
    )


def image(size=8, channels=3, dtype="float32", layout="NCHW") -> relay.Var:
    """The network's input ``x``."""
    shape = (1, channels, size, size) if layout == "NCHW" else (1, size, size, channels)
    return relay.var("x", shape=shape, dtype=dtype)


def max_pool(data, size=2, stride=2, **options) -> relay.Call:
    """A square 2-D max pool."""
    return relay.nn.max_pool2d(data, pool_size=(size, size), strides=(stride, stride), **options)


def conv_net(activation, **pool) -> tvm.IRModule:
    """conv -> activation -> 2x2 max pool on an 8x8 picture."""
    return module(max_pool(activation(conv2d(image())), **pool))


def channels_first(values) -> relay.Constant:
    """A per-channel constant for NCHW, shape (C, 1, 1)."""
    return constant(np.reshape(values, (-1, 1, 1)))


def only_site(mod, params=None, **options):
    """The one site of a module."""
    _, report = tvm_reorder.reorder(mod, params, **{"decision": "exchange", **options})
    (site,) = report.sites
    return site


def build(mod, *, params=None, opt_level=3, target=TARGET):
    """The module built for the graph executor, in the context around the call."""
    with tvm.transform.PassContext(opt_level=opt_level):
        return relay.build(mod, target, params=params)


def execute(library, inputs) -> list[np.ndarray]:
    """Outputs of a built module."""
    executor = GraphModule(library["default"](tvm.cpu()))
    executor.run(**inputs)
    return [executor.get_output(i).numpy() for i in range(executor.get_num_outputs())]


def run(mod, inputs, **options) -> list[np.ndarray]:
    """Outputs of a module, built with `build`'s options."""
    return execute(build(mod, **options), inputs)


def kernels(mod, **options) -> int:
    """Fused kernels of a module, built with `build`'s options."""
    return count_kernels(build(mod, **options).get_graph_json())


def assert_same_results(mod, inputs, *, params=None, opt_level=3, **options):
    """Stock and rewritten results compare equal; returns the rewritten run's report.

    Rewrites wherever it is exact, whether it pays or not, unless `options` say otherwise.
    """
    stock = run(mod, inputs, params=params, opt_level=opt_level)
    with tvm_reorder.enabled(**{"decision": "exchange", **options}) as report:
        exchanged = run(mod, inputs, params=params, opt_level=opt_level)
    assert not report.errors
    for before, after in zip(stock, exchanged):
        assert before.dtype == after.dtype and before.shape == after.shape
        np.testing.assert_array_equal(after, before)
    return report
