"""ONNX's own node tests of pools, activations and composites through TVM's importer.

A pool gets a sigmoid in front of it and an activation a max pool behind it, so that there is
something to exchange; the data are the tests' own.  Stock and ours must give the same.
"""

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import TensorProto, helper, numpy_helper
from tvm import relay

import tvm_reorder
from tvm_reorder.relay.floor_division import mend_floor_division

from .networks import build, execute

NODES = Path(onnx.backend.test.__file__).parent / "data" / "node"
POOLS = [
    *("maxpool_1d_default", "maxpool_2d_ceil", "maxpool_2d_default", "maxpool_2d_dilations"),
    *("maxpool_2d_ceil_output_size_reduce_by_one", "maxpool_2d_pads", "maxpool_2d_same_lower"),
    *("maxpool_2d_precomputed_pads", "maxpool_2d_precomputed_same_upper", "maxpool_2d_uint8"),
    *("maxpool_2d_precomputed_strides", "maxpool_2d_strides", "maxpool_3d_default"),
    *("maxpool_3d_dilations", "maxpool_with_argmax_2d_precomputed_pads", "globalmaxpool"),
    *("globalmaxpool_precomputed", "lppool_2d_default"),
]
ACTIVATIONS = [
    *("abs", "celu", "clip", "clip_default_int8_min", "clip_default_max", "elu", "erf"),
    *("gelu_default_2", "gelu_default_2_expanded", "gelu_tanh_2_expanded", "hardsigmoid"),
    *("hardsigmoid_expanded_ver18", "hardswish", "hardswish_expanded", "leakyrelu"),
    *("leakyrelu_expanded", "prelu_broadcast", "prelu_example", "relu", "selu"),
    *("elu_expanded_ver18", "selu_expanded_ver18", "sigmoid", "softplus"),
    *("softplus_expanded_ver18", "softsign", "softsign_expanded_ver18", "tanh"),
    *("thresholdedrelu", "thresholdedrelu_expanded_ver18", "prelu_broadcast_expanded"),
]
# What TVM 0.19's importer says.
UNREADABLE = {"maxpool_with_argmax_2d_precomputed_pads": "Number of output mismatch"}
# Rising, proven, and under a pool that makes them cheaper.
EXCHANGED = frozenset(
    [
        *("maxpool_1d_default", "maxpool_2d_ceil", "maxpool_2d_default", "maxpool_2d_dilations"),
        *("maxpool_2d_precomputed_same_upper", "maxpool_2d_precomputed_strides"),
        *("maxpool_2d_strides", "maxpool_3d_default", "maxpool_3d_dilations", "globalmaxpool"),
        *("globalmaxpool_precomputed", "celu", "clip", "clip_default_max", "elu", "erf"),
        *("hardsigmoid", "hardsigmoid_expanded_ver18", "leakyrelu", "relu", "selu", "sigmoid"),
        *("softplus", "softplus_expanded_ver18", "tanh"),
    ]
)


def read(name: str):
    """A node test's model and its inputs by name."""
    folder = NODES / f"test_{name}"
    model = onnx.load(str(folder / "model.onnx"))
    for node in model.graph.node:
        _spell_out(node)
    inputs = {}
    for number, value in enumerate(model.graph.input):
        tensor = onnx.load_tensor(str(folder / "test_data_set_0" / f"input_{number}.pb"))
        inputs[value.name] = numpy_helper.to_array(tensor)
    return model, inputs


def _spell_out(node) -> None:
    """A Constant given as a float or ints as a tensor: TVM's importer reads no other."""
    for attribute in list(node.attribute) if node.op_type == "Constant" else ():
        value = helper.get_attribute_value(attribute)
        if attribute.name.startswith("value_"):
            dtype = "float32" if "float" in attribute.name else "int64"
            tensor = numpy_helper.from_array(np.array(value, dtype))
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", tensor))


def with_sigmoid(model):
    """The model behind a sigmoid, or behind max(x, 3) for integers."""
    graph = model.graph
    name = graph.input[0].name
    for node in graph.node:
        node.input[:] = ["active" if each == name else each for each in node.input]
    is_float = graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    operator, more = ("Sigmoid", []) if is_float else ("Max", ["three"])
    if more:
        graph.initializer.append(numpy_helper.from_array(np.array(3, "uint8"), "three"))
    graph.node.insert(0, helper.make_node(operator, [name, *more], ["active"]))
    return model


def with_pool(model):
    """The model with its result, (batch, channels, extents...), pooled by twos."""
    graph = model.graph
    output = graph.output[0]
    extents = [each.dim_value for each in output.type.tensor_type.shape.dim][2:]
    kernel = [min(2, extent) for extent in extents]
    window = {"kernel_shape": kernel, "strides": kernel}
    graph.node.append(helper.make_node("MaxPool", [output.name], ["pooled"], **window))
    kind = output.type.tensor_type.elem_type
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("pooled", kind, None))
    return model


def assert_same(model, inputs):
    shapes = {name: values.shape for name, values in inputs.items()}
    with mend_floor_division():
        mod, params = relay.frontend.from_onnx(model, shapes, freeze_params=True)
        stock = execute(build(mod, params=params), inputs)
    with tvm_reorder.enabled(decision="exchange") as report:
        ours = execute(build(mod, params=params), inputs)
    assert not report.errors
    print("EXCH", len(report.exchanged), [s.refusal and s.refusal.reason.value for s in report])
    for before, after in zip(stock, ours):
        np.testing.assert_array_equal(after, before)
    return report


def skip_unreadable(name, model, inputs):
    if name not in UNREADABLE:
        return
    with pytest.raises(Exception, match=UNREADABLE[name]):
        relay.frontend.from_onnx(model, {n: v.shape for n, v in inputs.items()})
    pytest.skip(f"TVM's importer cannot read it: {UNREADABLE[name]}")


@pytest.mark.parametrize("name", POOLS)
def test_pool(name):
    model, inputs = read(name)
    skip_unreadable(name, model, inputs)
    report = assert_same(with_sigmoid(model), inputs)
    assert report.exchanged or name not in EXCHANGED


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    model, inputs = read(name)
    skip_unreadable(name, model, inputs)
    report = assert_same(with_pool(model), inputs)
    assert report.exchanged or name not in EXCHANGED
