"""The onnx package's nine real topologies: every site is found, every result is equal."""

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
import tvm
from tvm import relay

import tvm_reorder

from .networks import kernels, run

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
    rng = np.random.default_rng(0)
    inputs = {
        variable.name_hint: rng.normal(size=[int(n) for n in variable.checked_type.shape]).astype(
            variable.checked_type.dtype
        )
        for variable in relay.transform.InferType()(mod)["main"].params
    }
    count = sum(node.op_type == "MaxPool" for node in model.graph.node)
    return mod, params, inputs, count


@pytest.mark.parametrize("name", NETWORKS)
def test_every_site_is_found(name):
    mod, params, _, count = load(name)
    _, report = tvm_reorder.reorder(mod, params)
    assert (len(report.sites), len(report.exchanged)) == NETWORKS[name], str(report)
    assert len(report.sites) == count


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
    return model


def check_results(name: str, opt_level: int) -> None:
    mod, params, inputs, count = load(name)
    stock = run(mod, inputs, params=params, opt_level=opt_level)
    with tvm_reorder.enabled(opt_level=0) as report:
        exchanged = run(mod, inputs, params=params, opt_level=opt_level)
    assert len(report.sites) == count and report.exchanged
    for before, after in zip(stock, exchanged):
        assert np.isfinite(before).all() and np.unique(before).size > 100  # not equal for nothing
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", NETWORKS)
def test_results_are_equal(name):
    check_results(name, opt_level=3)


@pytest.mark.full
@pytest.mark.parametrize("opt_level", [0, 1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_results_are_equal_at_lower_levels(name, opt_level):
    check_results(name, opt_level)


@pytest.mark.parametrize("name", ["squeezenet", "vgg19"])
def test_no_kernel_is_added(name):
    mod, params, _, _ = load(name)
    stock = kernels(mod, params=params)
    with tvm_reorder.enabled() as report:
        assert kernels(mod, params=params) <= stock
    assert report.exchanged


def test_vgg19_moves_bias_and_activation():
    mod, params, _, _ = load("vgg19")
    with tvm_reorder.enabled() as report, tvm.transform.PassContext(opt_level=3):
        relay.build(mod, "llvm", params=params)
    assert [site.chain for site in report.sites] == [("add", "nn.relu")] * 5
