"""Tiny ONNX models for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save_network(
    path: Path,
    activations: tuple[str, ...] = ("Relu",),
    pool: str = "MaxPool",
    batch: int | str = 1,
    size: int = 8,
    channels: int = 4,
) -> Path:
    """Convolution 3x3, activations, pool 2x2; written to `path`.

    Parameters
    ----------
    path : Path
        Where to write.
    activations : tuple of str
        ONNX operators, in order.
    pool : str
        ``MaxPool`` or ``AveragePool``.
    batch : int or str
        A name makes the batch dynamic.
    size, channels : int
        Of the image and of the convolution's output.
    """
    random = np.random.default_rng(0)
    weight = random.standard_normal((channels, 3, 3, 3)).astype("float32")
    bias = random.standard_normal(channels).astype("float32")
    nodes = [helper.make_node("Conv", ["data", "weight", "bias"], ["x0"], "conv", pads=[1] * 4)]
    for index, operator in enumerate(activations):
        nodes.append(helper.make_node(operator, [f"x{index}"], [f"x{index + 1}"], operator.lower()))
    last = f"x{len(activations)}"
    kernel = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes.append(helper.make_node(pool, [last], ["result"], "pool", **kernel))
    output = [batch, channels, size // 2, size // 2]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    return save_graph(path, graph)


def save_graph(path: Path, graph: onnx.GraphProto) -> Path:
    """An ONNX graph as a model of an opset that TVM 0.19 reads."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path
