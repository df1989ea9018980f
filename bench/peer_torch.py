"""An ONNX network of ours as a PyTorch module, for an environment without TVM."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

Weights = dict[str, torch.Tensor]


class OnnxModule(nn.Module):
    """Layers of `torch.nn` in the order of the ONNX nodes.

    Parameters
    ----------
    path : str
        ONNX file with one input and one output.

    Raises
    ------
    ValueError
        If an operator has no counterpart here.
    """

    def __init__(self, path: str):
        super().__init__()
        graph = onnx.load(path).graph
        weights = {
            tensor.name: torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
            for tensor in graph.initializer
        }
        self._input, self._output = graph.input[0].name, graph.output[0].name
        self._wiring = [
            ([name for name in node.input if name not in weights], node.output[0])
            for node in graph.node
        ]
        self._layers = nn.ModuleList(_make_layer(node, weights) for node in graph.node)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        values = {self._input: data}
        for layer, (inputs, output) in zip(self._layers, self._wiring):
            values[output] = layer(*(values[name] for name in inputs))
        return values[self._output]


class _Add(nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left + right


def _make_layer(node: onnx.NodeProto, weights: Weights) -> nn.Module:
    if node.op_type not in _MAKERS:
        raise ValueError(f"operator {node.op_type} has no counterpart in PyTorch here")
    options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    found = [weights[name] for name in node.input if name in weights]
    return _MAKERS[node.op_type](options, *found).eval()


def _make_conv(options: dict, weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Module:
    top, left, bottom, right = options["pads"]
    if (top, left) != (bottom, right):
        raise ValueError(f"pads of Conv are {options['pads']} but must be symmetric")
    layer = nn.Conv2d(
        weight.shape[1] * options["group"],
        weight.shape[0],
        tuple(options["kernel_shape"]),
        tuple(options["strides"]),
        (top, left),
        tuple(options["dilations"]),
        options["group"],
        bias is not None,
    )
    return _fill(layer, weight=weight, bias=bias)


def _make_dense(options: dict, weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    return _fill(layer, weight=weight, bias=bias)


def _make_norm(options: dict, *values: torch.Tensor) -> nn.Module:
    names = ("weight", "bias", "running_mean", "running_var")
    layer = nn.BatchNorm2d(len(values[0]), eps=options["epsilon"])
    return _fill(layer, **dict(zip(names, values)))


def _make_pool(options: dict) -> nn.Module:
    top, left, bottom, right = options["pads"]
    arguments = [tuple(options[name]) for name in ("kernel_shape", "strides")]
    rest = {"dilation": tuple(options["dilations"]), "ceil_mode": bool(options["ceil_mode"])}
    if (top, left) == (bottom, right):
        return nn.MaxPool2d(*arguments, padding=(top, left), **rest)
    border = nn.ConstantPad2d((left, right, top, bottom), -torch.inf)
    return nn.Sequential(border, nn.MaxPool2d(*arguments, **rest))


def _fill(layer: nn.Module, **values: torch.Tensor | None) -> nn.Module:
    present = {name: value for name, value in values.items() if value is not None}
    layer.load_state_dict(present, strict=False)
    return layer


_MAKERS: dict[str, Callable[..., nn.Module]] = {
    "Conv": _make_conv,
    "Gemm": _make_dense,
    "BatchNormalization": _make_norm,
    "MaxPool": _make_pool,
    "GlobalAveragePool": lambda options: nn.AdaptiveAvgPool2d(1),
    "Flatten": lambda options: nn.Flatten(),
    "Relu": lambda options: nn.ReLU(),
    "LeakyRelu": lambda options: nn.LeakyReLU(options["alpha"]),
    "Tanh": lambda options: nn.Tanh(),
    "Sigmoid": lambda options: nn.Sigmoid(),
    "Add": lambda options: _Add(),
}
