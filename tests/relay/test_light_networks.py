"""The onnx package's nine real topologies: every site is found, every result is equal."""

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.cli.measure import count_kernels

from .networks import build, execute

FOLDER = Path(onnx.backend.test.__file__).parent / "data" / "light"

# network: (max pools, exchanged ones at opt_level 3)
NETWORKS = {
    "bvlc_alexnet": (3, 1),
    "densenet121": (1, 1),
    "inception_v1": (13, 3),
    "inception_v2": (5, 2),
    "resnet50": (1, 1),
    "shufflenet": (1, 1),
    "squeezenet": (3, 3),
    "vgg19": (5, 5),
    "zfnet512": (3, 1),
}


def load(name: str):
    """Module, parameters and seeded inputs of one network, and its number of max pools."""
    model = with_random_weights(onnx.load(FOLDER / f"light_{name}.onnx"))
    mod, params = relay.frontend.from_onnx(model, freeze_params=True)
    # Folded once here: DenseNet's batch norms take TVM a minute and a half, in every build again.
    folding = [relay.transform.SimplifyInference(), relay.transform.FoldConstant()]
    with tvm.transform.PassContext(opt_level=3):
        mod = tvm.transform.Sequential([relay.transform.InferType(), *folding])(mod)
    rng = np.random.default_rng(0)
    inputs = {
        variable.name_hint: rng.normal(size=[int(n) for n in variable.checked_type.shape]).astype(
            variable.checked_type.dtype
        )
        for variable in relay.transform.InferType()(mod)["main"].params
    }
    count = sum(node.op_type == "MaxPool" for node in model.graph.node)
    return mod, params, inputs, count


def with_random_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with seeded weights in place of its constant ones (ConstantOfShape)."""
    rng = np.random.default_rng(1)
    graph = model.graph
    shapes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    constant = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    for node in constant:
        shape = [int(n) for n in shapes[node.input[0]]]
        if len(shape) < 2:
            values = rng.uniform(0.5, 1.5, shape)  # biases, and batch norm's positive variances
        else:
            values = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        tensor = onnx.numpy_helper.from_array(values.astype("float32"), node.output[0])
        graph.initializer.append(tensor)
        graph.node.remove(node)
    last = graph.node[-1]
    if last.op_type == "Softmax":  # saturates on random weights, and would hide differences
        graph.node.remove(last)
        graph.node.add(op_type="Identity", input=last.input, output=last.output)
    return model


def check_network(name: str, opt_level: int) -> None:
    """Sites, results and kernels of one network."""
    mod, params, inputs, count = load(name)
    stock = build(mod, params=params, opt_level=opt_level)
    with tvm_reorder.enabled(opt_level=0, decision="fuse") as report:
        exchanged = build(mod, params=params, opt_level=opt_level)
    assert (len(report.sites), len(report.exchanged)) == NETWORKS[name], str(report)
    assert len(report.sites) == count
    kernels = [count_kernels(library.get_graph_json()) for library in (stock, exchanged)]
    assert kernels[1] <= kernels[0]
    for before, after in zip(execute(stock, inputs), execute(exchanged, inputs)):
        assert np.isfinite(before).all() and np.unique(before).size > 100  # not equal for nothing
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", NETWORKS)
def test_sites_results_and_kernels(name):
    check_network(name, opt_level=3)


@pytest.mark.full
@pytest.mark.parametrize("opt_level", [0, 1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_lower_levels(name, opt_level):
    check_network(name, opt_level)


def test_vgg19_moves_bias_and_activation():
    mod, params, _, _ = load("vgg19")
    _, report = tvm_reorder.reorder(mod, params, write=False, decision="fuse")
    assert [site.chain for site in report.sites] == [("add", "nn.relu")] * 5
