"""The real topologies inside the onnx package, with seeded weights in place of constant ones."""

from __future__ import annotations

import numpy as np
import onnx
import tvm
from tvm import relay

from .harness import light_networks


def load_light(name: str) -> tuple[tvm.IRModule, dict, dict[str, tuple[int, ...]]]:
    """A network of the onnx package, batch 1.

    Parameters
    ----------
    name : str
        Such as ``light_squeezenet``.

    Returns
    -------
    mod : tvm.IRModule
        Relay, weights frozen in it and batch norm simplified.
    params : dict
        Empty, or what the importer did not freeze.
    inputs : dict
        Shapes by name.
    """
    model = with_random_weights(onnx.load(light_networks()[name]))
    mod, params = relay.frontend.from_onnx(model, freeze_params=True)
    # Folded once here: DenseNet's batch norms take TVM a minute and a half, in every build again.
    passes = [
        relay.transform.InferType(),
        relay.transform.SimplifyInference(),
        relay.transform.FoldConstant(),
        relay.transform.InferType(),
    ]
    with tvm.transform.PassContext(opt_level=3):
        mod = tvm.transform.Sequential(passes)(mod)
    inputs = {
        param.name_hint: tuple(int(size) for size in param.checked_type.shape)
        for param in mod["main"].params
        if param.name_hint not in params
    }
    return mod, params, inputs


def with_random_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with seeded weights for its constant ones, and without a final softmax.

    The weights are ``ConstantOfShape`` nodes: with them every channel would be the same.  The
    softmax saturates on random weights, and would hide differences.
    """
    rng = np.random.default_rng(1)
    graph = model.graph
    shapes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        values = _draw(rng, [int(size) for size in shapes[node.input[0]]])
        graph.initializer.append(onnx.numpy_helper.from_array(values, node.output[0]))
        graph.node.remove(node)
    last = graph.node[-1]
    if last.op_type == "Softmax":
        graph.node.remove(last)
        graph.node.add(op_type="Identity", input=last.input, output=last.output)
    return model


def _draw(rng: np.random.Generator, shape: list[int]) -> np.ndarray:
    if len(shape) < 2:  # biases, and batch norm's positive variances
        return rng.uniform(0.5, 1.5, shape).astype("float32")
    return (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype("float32")
