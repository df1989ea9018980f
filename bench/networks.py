"""The networks of the benchmarks, by name and batch, with seeded weights.

Weights keep the signal alive from layer to layer: in a network whose last values are all nearly
the same, a wrong rewrite could go unseen.  Every network takes float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import tvm
from tvm import relay
from tvm.relay.expr_functor import ExprMutator

from .light import load_light

_CLASSES = 1000

# Standard deviation of a weight times the square root of its fan-in.  sigmoid and tanh flatten
# the signal by their slopes, 1/4 and below 1, and would lose it in sixteen layers.
_GAIN = {"relu": 2**0.5, "leaky_relu": 2**0.5, "tanh": 1.6, "sigmoid": 8.0}
_ACTIVATIONS: dict[str, Callable[[relay.Expr], relay.Expr]] = {
    "relu": relay.nn.relu,
    "leaky_relu": partial(relay.nn.leaky_relu, alpha=0.1),
    "tanh": relay.tanh,
    "sigmoid": relay.sigmoid,
}


class Network(NamedTuple):
    """A network ready to build.

    Parameters
    ----------
    mod : tvm.IRModule
        Typed Relay.
    params : dict
        Weights by name.
    inputs : dict
        Shapes of the inputs by name.
    """

    mod: tvm.IRModule
    params: dict
    inputs: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Entry:
    """A network of the benchmarks.

    Parameters
    ----------
    factory : callable
        Batch to `Network`.
    max_pools : int
        How many there are.
    batches : tuple of int or None
        The only batches there are; None if any will do.
    """

    factory: Callable[[int], Network]
    max_pools: int
    batches: tuple[int, ...] | None = None

    def supports(self, batch: int) -> bool:
        """True if the network exists at this batch."""
        return self.batches is None or batch in self.batches


def load_network(name: str, batch: int = 1) -> Network:
    """A network by name.

    Raises
    ------
    ValueError
        If there is none of this name, or not at this batch.
    """
    choose_networks([name], batch)
    return NETWORKS[name].factory(batch)


def choose_networks(names: list[str], batch: int) -> list[str]:
    """The networks named, or all that exist at this batch if none is.

    Raises
    ------
    ValueError
        As `load_network`, before any of them is loaded.
    """
    for name in names:
        if name not in NETWORKS:
            raise ValueError(f"network is {name!r} but must be one of {', '.join(NETWORKS)}")
        if not NETWORKS[name].supports(batch):
            batches = " or ".join(map(str, NETWORKS[name].batches))
            raise ValueError(f"batch of {name} is {batch} but must be {batches}")
    return names or [name for name, entry in NETWORKS.items() if entry.supports(batch)]


def draw_inputs(network: Network, seed: int = 0) -> dict[str, np.ndarray]:
    """Standard normal inputs."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(shape, dtype="float32") for name, shape in network.inputs.items()
    }


def _vgg(layers: int, activation: str, batch: int) -> Network:
    from tvm.relay.testing import vgg

    function = vgg.get_net(batch, (3, 224, 224), _CLASSES, "float32", layers)
    # Without the softmax: it saturates on random weights, and would hide differences.
    function = relay.Function(function.params, function.body.args[0])
    return _finish(_Swap(_ACTIVATIONS[activation]).visit(function), activation)


class _Swap(ExprMutator):
    """Puts another activation in the place of every relu."""

    def __init__(self, activation: Callable[[relay.Expr], relay.Expr]):
        super().__init__()
        self._activation = activation

    def visit_call(self, call):
        new = super().visit_call(call)
        return self._activation(new.args[0]) if new.op == _RELU else new


_RELU = relay.op.get("nn.relu")


def _resnet18(batch: int) -> Network:
    from tvm.relay.testing import resnet

    function = resnet.get_net(batch, _CLASSES, num_layers=18)
    return _finish(relay.Function(function.params, function.body.args[0]), "relu")


def _custom(activation: str, batch: int) -> Network:
    """The paper's network: one convolution on 224x224."""
    data = relay.var("data", shape=(batch, 3, 224, 224))
    value = _ACTIVATIONS[activation](_conv(data, "conv", 64, 3))
    return _finish(_function(_pool(value)), activation)


def _lenet(batch: int) -> Network:
    value = relay.var("data", shape=(batch, 1, 32, 32))
    for name, channels in (("conv1", 6), ("conv2", 16)):
        value = _pool(relay.tanh(_conv(value, name, channels, 5, padding=0)))
    value = relay.nn.batch_flatten(value)
    for name, units in (("fc1", 120), ("fc2", 84)):
        value = relay.tanh(_dense(value, name, units))
    return _finish(_function(_dense(value, "fc3", 10)), "tanh")


def _tiny_yolo(batch: int) -> Network:
    """Tiny-YOLOv2's layers: six pooled blocks, the sixth pool 2x2 with stride 1."""
    value = relay.var("data", shape=(batch, 3, 416, 416))
    for index, channels in enumerate((16, 32, 64, 128, 256)):
        value = _pool(_darknet_block(value, f"conv{index}", channels))
    value = _darknet_block(value, "conv5", 512)
    # One row and column at the far end only, so that 13x13 stays 13x13.
    value = relay.nn.max_pool2d(value, (2, 2), strides=(1, 1), padding=(0, 0, 1, 1))
    for name in ("conv6", "conv7"):
        value = _darknet_block(value, name, 1024)
    return _finish(_function(_conv(value, "conv8", 125, 1, padding=0)), "leaky_relu")


def _darknet_block(value: relay.Expr, name: str, channels: int) -> relay.Expr:
    from tvm.relay.testing import layers

    value = layers.conv2d(value, channels=channels, kernel_size=(3, 3), padding=(1, 1), name=name)
    value = layers.batch_norm_infer(value, name=f"{name}_bn", epsilon=1e-5)
    return _ACTIVATIONS["leaky_relu"](value)


def _conv(value: relay.Expr, name: str, channels: int, kernel: int, padding: int = 1) -> relay.Expr:
    weight, bias = relay.var(f"{name}_weight"), relay.var(f"{name}_bias")
    options = {"channels": channels, "kernel_size": (kernel, kernel), "padding": (padding,) * 2}
    return relay.nn.bias_add(relay.nn.conv2d(value, weight, **options), bias)


def _dense(value: relay.Expr, name: str, units: int) -> relay.Expr:
    product = relay.nn.dense(value, relay.var(f"{name}_weight"), units=units)
    return relay.nn.bias_add(product, relay.var(f"{name}_bias"))


def _pool(value: relay.Expr) -> relay.Expr:
    return relay.nn.max_pool2d(value, pool_size=(2, 2), strides=(2, 2))


def _function(body: relay.Expr) -> relay.Function:
    return relay.Function(relay.analysis.free_vars(body), body)


def _finish(function: relay.Function, activation: str) -> Network:
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(function))
    data, *weights = sorted(mod["main"].params, key=lambda param: param.name_hint != "data")
    return Network(mod, _draw_weights(weights, _GAIN[activation]), {"data": _shape(data)})


def _draw_weights(params: list[relay.Var], gain: float) -> dict:
    rng = np.random.default_rng(0)
    return {
        param.name_hint: tvm.nd.array(_draw(rng, param.name_hint, _shape(param), gain))
        for param in params
    }


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    if name.endswith(("_gamma", "_var")):  # a variance must be positive; about one keeps the scale
        return rng.uniform(0.5, 1.5, shape).astype("float32")
    scale = gain / np.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.1
    return rng.standard_normal(shape, dtype="float32") * np.float32(scale)


def _shape(param: relay.Var) -> tuple[int, ...]:
    return tuple(int(size) for size in param.checked_type.shape)


def _light(name: str, batch: int) -> Network:
    assert batch == 1, batch
    return Network(*load_light(name))


# Max pools of the onnx package's networks, whose shapes are fixed at batch 1.
_LIGHT_POOLS = {
    "light_bvlc_alexnet": 3,
    "light_densenet121": 1,
    "light_inception_v1": 13,
    "light_inception_v2": 5,
    "light_resnet50": 1,
    "light_shufflenet": 1,
    "light_squeezenet": 3,
    "light_vgg19": 5,
    "light_zfnet512": 3,
}

NETWORKS: dict[str, Entry] = {
    **{f"custom_{kind}": Entry(partial(_custom, kind), 1) for kind in ("relu", "sigmoid", "tanh")},
    **{
        f"vgg{layers}_{kind}": Entry(partial(_vgg, layers, kind), 5)
        for layers in (16, 19)
        for kind in ("relu", "tanh", "sigmoid")
    },
    "vgg11_relu": Entry(partial(_vgg, 11, "relu"), 5),
    "resnet18": Entry(_resnet18, 1),
    "lenet": Entry(_lenet, 2),
    "tiny_yolo": Entry(_tiny_yolo, 6),
    **{
        name: Entry(partial(_light, name), pools, batches=(1,))
        for name, pools in _LIGHT_POOLS.items()
    },
}
