"""Networks that come with the command line, weights seeded, so that trying needs no file."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relay


def load_builtin(name: str) -> tuple[tvm.IRModule, dict]:
    """A built-in network.

    Parameters
    ----------
    name : str
        ``vgg16``, ``vgg19`` or ``custom``: convolution 3x3, 3 to 64 channels on 224x224, sigmoid,
        max pool 2x2.

    Returns
    -------
    mod : tvm.IRModule
        The network, batch size 1.
    params : dict
        Its weights.
    """
    mod = _make_custom() if name == "custom" else _make_vgg(int(name.removeprefix("vgg")))
    return mod, _draw_weights(mod["main"].params[1:])


def _make_vgg(layers: int) -> tvm.IRModule:
    from tvm.relay.testing import vgg

    return vgg.get_workload(batch_size=1, num_layers=layers)[0]


def _make_custom() -> tvm.IRModule:
    data = relay.var("data", shape=(1, 3, 224, 224))
    weight, bias = relay.var("weight", shape=(64, 3, 3, 3)), relay.var("bias", shape=(64,))
    conv = relay.nn.conv2d(data, weight, padding=(1, 1), channels=64, kernel_size=(3, 3))
    activated = relay.sigmoid(relay.nn.bias_add(conv, bias))
    pooled = relay.nn.max_pool2d(activated, pool_size=(2, 2), strides=(2, 2))
    mod = tvm.IRModule.from_expr(relay.Function([data, weight, bias], pooled))
    return relay.transform.InferType()(mod)


def _draw_weights(params) -> dict:
    """Weights that keep the signal's scale from layer to layer, and biases that are not zero.

    relay.testing's own are all-zero biases and shrinking weights: by the last layer every value
    would be nearly the same, and a wrong exchange could go unseen.
    """
    random = np.random.default_rng(0)
    drawn = {}
    for param in params:
        shape = [int(size) for size in param.checked_type.shape]
        scale = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1
        drawn[param.name_hint] = tvm.nd.array(
            (random.standard_normal(shape) * scale).astype(param.checked_type.dtype)
        )
    return drawn
