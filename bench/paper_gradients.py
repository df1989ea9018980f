"""Both phases: the exchanged network's forward results and gradients against the original's.

The pass runs on the forward function, then TVM derives the gradients of either function
(``relay.transform.gradient``, as the pass FirstOrderGradient).  The loss is the sum of the outputs
times an input ``seed``.

Where they agree.  TVM's max pool sends a window's whole gradient to one element, the first of the
largest (``topi/nn/pooling.h``, ``pool_grad_impl``: an argmax whose ties go to the lower index),
the activation f multiplies it by its slope.  Before the exchange the first of the largest f(x) is
chosen, after it the first of the largest x.  These are the same element unless f gives several x
of a window the same largest value: a *plateau*.  Then

- with slope 0 on the plateau both gradients are 0 (ReLU below zero, whole windows of it; clip and
  sigmoid where they have saturated), so nothing differs;
- with a slope the gradient arrives at another element.  With TVM's ReLU that takes a largest x of
  exactly 0, where its slope is 1; with sigmoid and tanh it takes two x so close, or so far out,
  that float32 rounds f to one value.

The experiment counts such windows (``moved``, and ``moved_with_slope``), and shows a network full
of them for each activation (``*_ties``); the gradients behind such a window differ, too.

The bias.  Its gradient is a sum over all places: the same numbers in another order after the
exchange, because it stands behind the pool.  It differs in the last digits, and not at all where
all sums are exact (``*_exact``: seeds and weights are multiples of a power of two).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relay
from tvm.contrib import graph_executor

import tvm_reorder
from tvm_reorder.core.window import WindowAxis
from tvm_reorder.relay.facts import read_pool
from tvm_reorder.relay.sites import FunctionGraph

from .paper_builds import Setting
from .quiet import quiet

_BATCH, _SIZE = 2, 16


@dataclass(frozen=True)
class Case:
    """A small network and its data.

    Parameters
    ----------
    activation : str
        A key of `_SLOPES`.
    blocks : int
        Convolution, bias, activation, 2x2 max pool; more than one end in a dense layer.
    grid : float or None
        Weights and seeds are multiples of it, data and biases too if `has_ties`; None for any.
    has_ties : bool
        True draws data that meets the plateaus of the activation.
    """

    activation: str
    blocks: int
    grid: float | None = None
    has_ties: bool = False


CASES = {
    "custom_relu": Case("relu", 1),
    "custom_relu_exact": Case("relu", 1, grid=0.25),
    "custom_relu_ties": Case("relu", 1, grid=1.0, has_ties=True),
    "custom_sigmoid": Case("sigmoid", 1),
    "custom_sigmoid_ties": Case("sigmoid", 1, has_ties=True),
    "lenet_relu": Case("relu", 2),
    "lenet_relu_exact": Case("relu", 2, grid=0.25),
    "lenet_sigmoid": Case("sigmoid", 2),
}
_ACTIVATIONS = {"relu": relay.nn.relu, "sigmoid": relay.sigmoid}

# Slopes as TVM's gradients have them, of x and y = f(x).
_SLOPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "relu": lambda x, y: (x >= 0).astype("float32"),
    "sigmoid": lambda x, y: y * (1 - y),
}
_FAR_OUT = 16.0  # sigmoid of data this much larger lies near 1, where float32 is coarse


def compare_gradients(name: str, setting: Setting) -> dict:
    """Run one of `CASES` before and after the exchange.

    Parameters
    ----------
    name : str
        The case.
    setting : Setting
        What it is compiled for, and the seed of its data.

    Returns
    -------
    dict
        The row.  ``weights_equal``: every gradient but the biases'; ``gradients_equal``: these
        too; ``differing`` of ``values`` numbers in all; ``bias_difference``: relative to the
        largest gradient of that bias.
    """
    case = CASES[name]
    mod = make_network(case)
    licence = setting.licence
    options = {"decision": "exchange", "licence": licence, "target": setting.compiled_for}
    exchanged, report = tvm_reorder.reorder(mod, **options)
    data = draw_values(mod, case, setting.seed)
    (forward, *before), (other, *after) = (
        _run(_differentiate(module), data, setting) for module in (mod, exchanged)
    )
    names = [param.name_hint for param in mod["main"].params]
    pairs = dict(zip(names, zip(before, after, strict=True), strict=True))
    moved, with_slope = count_moved(mod, case.activation, data, setting)
    biases = [pair for name, pair in pairs.items() if name.endswith("_bias")]
    others = [pair for name, pair in pairs.items() if not name.endswith("_bias")]
    return {
        "network": name,
        "target": setting.target,
        "seed": setting.seed,
        "exchanged": sum(site.rule is not None for site in report.sites),
        "forward_equal": bool((forward == other).all()),
        "gradients_equal": all((a == b).all() for a, b in pairs.values()),
        "weights_equal": all((a == b).all() for a, b in others),
        "bias_difference": max(float(abs(a - b).max() / abs(a).max()) for a, b in biases),
        "differing": sum(int((a != b).sum()) for a, b in pairs.values()),
        "values": sum(a.size for a, _ in pairs.values()),
        "differing_in": ", ".join(name for name, (a, b) in pairs.items() if (a != b).any()),
        "moved": moved,
        "moved_with_slope": with_slope,
    }


def make_network(case: Case) -> tvm.IRModule:
    """The typed network, its outputs multiplied by ``seed``."""
    value, channels = relay.var("data", shape=(_BATCH, 3, _SIZE, _SIZE)), 3
    for number in range(1, case.blocks + 1):
        filters = 8 * number
        weight = relay.var(f"conv{number}_weight", shape=(filters, channels, 3, 3))
        bias = relay.var(f"conv{number}_bias", shape=(filters,))
        options = {"channels": filters, "kernel_size": (3, 3), "padding": (1, 1)}
        value = relay.nn.bias_add(relay.nn.conv2d(value, weight, **options), bias)
        value = _ACTIVATIONS[case.activation](value)
        value = relay.nn.max_pool2d(value, (2, 2), strides=(2, 2))
        channels = filters
    if case.blocks > 1:
        features = channels * (_SIZE >> case.blocks) ** 2
        weight = relay.var("fc_weight", shape=(10, features))
        product = relay.nn.dense(relay.nn.batch_flatten(value), weight, units=10)
        value = relay.nn.bias_add(product, relay.var("fc_bias", shape=(10,)))
    value = value * relay.var("seed", shape=relay.transform.InferTypeLocal(value).shape)
    function = relay.Function(relay.analysis.free_vars(value), value)
    return relay.transform.InferType()(tvm.IRModule.from_expr(function))


def draw_values(mod: tvm.IRModule, case: Case, seed: int) -> dict[str, np.ndarray]:
    """Values of all parameters by name, float32."""
    rng = np.random.default_rng(seed)
    values = {}
    for param in mod["main"].params:
        name, shape = param.name_hint, [int(size) for size in param.checked_type.shape]
        drawn = rng.standard_normal(shape, dtype="float32")
        if name.endswith("_weight") and case.grid is None:
            drawn /= np.float32(np.prod(shape[1:]) ** 0.5)
        if name == "data" and case.has_ties and case.grid is None:
            drawn *= np.float32(_FAR_OUT)
        on_grid = case.has_ties or name.endswith("_weight") or name == "seed"
        if case.grid is not None and on_grid:
            drawn = np.round(drawn / case.grid) * np.float32(case.grid)
        values[name] = drawn.astype("float32")
    return values


def _differentiate(mod: tvm.IRModule) -> tvm.IRModule:
    """A module that gives the outputs and the gradients of all parameters."""
    passes = [relay.transform.InferType(), relay.transform.FirstOrderGradient()]
    return tvm.transform.Sequential(passes)(mod)


def _run(mod: tvm.IRModule, data: dict[str, np.ndarray], setting: Setting) -> list[np.ndarray]:
    # TVM says of every gradient of a pool, at length, that it leaves one of its stages out.
    with quiet(), tvm.transform.PassContext(opt_level=3):
        library = relay.build(mod, target=setting.compiled_for)
    module = graph_executor.GraphModule(library["default"](setting.device))
    module.run(**data)
    return [module.get_output(index).numpy() for index in range(module.get_num_outputs())]


def count_moved(
    mod: tvm.IRModule, activation: str, data: dict[str, np.ndarray], setting: Setting
) -> tuple[int, int]:
    """Windows whose first largest f(x) and first largest x are two elements; those with a slope."""
    graph = FunctionGraph(mod["main"])
    pairs = [(pool.args[0].args[0], pool.args[0]) for pool in graph.max_pools]
    body = relay.Tuple([value for pair in pairs for value in pair])
    inputs = relay.analysis.free_vars(body)
    inside = tvm.IRModule.from_expr(relay.Function(inputs, body))
    values = _run(inside, {param.name_hint: data[param.name_hint] for param in inputs}, setting)
    moved = with_slope = 0
    for pool, x, y in zip(graph.max_pools, values[::2], values[1::2], strict=True):
        axes = read_pool(pool, graph).window.axes
        x, y, slope = (_cut(each, axes) for each in (x, y, _SLOPES[activation](x, y)))
        places = [each.argmax(axis=-1)[..., None] for each in (x, y)]
        is_moved = places[0] != places[1]
        slopes = [np.take_along_axis(slope, place, axis=-1) for place in places]
        moved += int(is_moved.sum())
        with_slope += int((is_moved & ((slopes[0] != 0) | (slopes[1] != 0))).sum())
    return moved, with_slope


def _cut(values: np.ndarray, axes: tuple[WindowAxis, ...]) -> np.ndarray:
    """Windows of an NCHW array that neither overlap nor see padding; elements come last."""
    rows, columns = axes
    batch, channels, *_ = values.shape
    shape = (batch, channels, rows.output, rows.kernel, columns.output, columns.kernel)
    windows = values.reshape(shape).transpose(0, 1, 2, 4, 3, 5)
    return windows.reshape(*windows.shape[:4], -1)
