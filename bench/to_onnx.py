"""The benchmarks' networks as ONNX, so that other compilers get the very same weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tvm import relay
from tvm.relay.expr_functor import ExprFunctor

from .networks import Network

_OPSET = 13  # TVM 0.19's importer and every peer know it
_IR_VERSION = 8  # as old as the opset, for readers older than the onnx package in use

# Without options on either side.
_SAME = {
    "nn.relu": "Relu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "add": "Add",
    "nn.batch_flatten": "Flatten",
    "nn.global_avg_pool2d": "GlobalAveragePool",
}


def to_onnx(network: Network) -> onnx.ModelProto:
    """A network as an ONNX model, its input and weights under their own names.

    Parameters
    ----------
    network : Network
        Relay and weights; one input, one output.

    Raises
    ------
    ValueError
        If an operator has no counterpart here.
    """
    function = network.mod["main"]
    writer = _Writer()
    output = writer.visit(function.body)
    weights = [
        numpy_helper.from_array(value.numpy(), name) for name, value in network.params.items()
    ]
    graph = helper.make_graph(
        writer.nodes,
        "network",
        [_describe(name, shape) for name, shape in network.inputs.items()],
        [_describe(output, [int(size) for size in function.body.checked_type.shape])],
        weights + writer.constants,
    )
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)


def _describe(name: str, shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


class _Writer(ExprFunctor):
    """Nodes in the order of their use; each visit gives the name of a value."""

    def __init__(self):
        super().__init__()
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def visit_var(self, var):
        return var.name_hint

    def visit_tuple_getitem(self, item):
        if item.index != 0:
            raise ValueError(f"output {item.index} of a call has no counterpart in ONNX")
        return self.visit(item.tuple_value)

    def visit_call(self, call):
        name = call.op.name
        if name == "nn.bias_add":
            return self._write_biased(call)
        if name == "nn.dropout":
            return self.visit(call.args[0])
        if name not in _SAME and name not in _WRITERS:
            raise ValueError(f"operator {name} has no counterpart in ONNX")
        inputs = list(map(self.visit, call.args))
        if name in _SAME:
            return self.write(_SAME[name], inputs)
        return _WRITERS[name](self, call, inputs)

    def _write_biased(self, call):
        """Bias as the third input, as every exporter has it: peers fuse it best from there."""
        inner, bias = call.args
        if not isinstance(inner, relay.Call) or inner.op.name not in ("nn.conv2d", "nn.dense"):
            raise ValueError("nn.bias_add behind neither nn.conv2d nor nn.dense is not supported")
        inputs = [*map(self.visit, inner.args), self.visit(bias)]
        return _WRITERS[inner.op.name](self, inner, inputs)

    def write(self, op: str, inputs: list[str], **attributes) -> str:
        """Append a node; the name of its output."""
        output = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def write_constant(self, value: np.ndarray) -> str:
        """Append a constant; its name."""
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def _write_conv(writer: _Writer, call: relay.Call, inputs: list[str]) -> str:
    attrs = call.attrs
    if (attrs.data_layout, attrs.kernel_layout) != ("NCHW", "OIHW"):
        raise ValueError(f"layout of nn.conv2d is {attrs.data_layout} but must be NCHW")
    return writer.write(
        "Conv",
        inputs,
        kernel_shape=_ints(call.args[1].checked_type.shape[2:]),
        strides=_ints(attrs.strides),
        pads=_ints(attrs.padding),
        dilations=_ints(attrs.dilation),
        group=int(attrs.groups),
    )


def _write_pool(writer: _Writer, call: relay.Call, inputs: list[str]) -> str:
    attrs = call.attrs
    return writer.write(
        "MaxPool",
        inputs,
        kernel_shape=_ints(attrs.pool_size),
        strides=_ints(attrs.strides),
        pads=_ints(attrs.padding),
        dilations=_ints(attrs.dilation),
        ceil_mode=int(attrs.ceil_mode),
    )


def _write_batch_norm(writer: _Writer, call: relay.Call, inputs: list[str]) -> str:
    attrs = call.attrs
    data, gamma, beta, mean, var = inputs
    channels = int(call.args[1].checked_type.shape[0])
    if not attrs.scale:
        gamma = writer.write_constant(np.ones(channels, "float32"))
    if not attrs.center:
        beta = writer.write_constant(np.zeros(channels, "float32"))
    inputs = [data, gamma, beta, mean, var]
    return writer.write("BatchNormalization", inputs, epsilon=float(attrs.epsilon))


def _write_dense(writer: _Writer, call: relay.Call, inputs: list[str]) -> str:
    return writer.write("Gemm", inputs, transB=1)


def _write_leaky_relu(writer: _Writer, call: relay.Call, inputs: list[str]) -> str:
    return writer.write("LeakyRelu", inputs, alpha=float(call.attrs.alpha))


_WRITERS: dict[str, Callable[[_Writer, relay.Call, list[str]], str]] = {
    "nn.conv2d": _write_conv,
    "nn.dense": _write_dense,
    "nn.max_pool2d": _write_pool,
    "nn.batch_norm": _write_batch_norm,
    "nn.leaky_relu": _write_leaky_relu,
}


def _ints(values) -> list[int]:
    return [int(value) for value in values]
