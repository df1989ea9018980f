"""What the paper's experiments count and find, against counts by hand."""

import json

import numpy as np
import pytest
import tvm
from tvm import relay

from bench.paper_builds import Setting, name_layer
from bench.paper_gradients import CASES, _cut, compare_gradients, count_moved, make_network
from bench.paper_graph import KernelGraph
from bench.paper_layers import _place
from bench.paper_operations import count_example, count_module
from tvm_reorder.cli.errors import UsageError
from tvm_reorder.core.window import WindowAxis

SETTING = Setting("llvm", threads=1, iterations=1)


def type_of(body) -> tvm.IRModule:
    function = relay.Function(relay.analysis.free_vars(body), body)
    return relay.transform.InferType()(tvm.IRModule.from_expr(function))


def pooled(size, activation=relay.nn.relu, **options) -> tvm.IRModule:
    data = relay.var("data", shape=size)
    return type_of(relay.nn.max_pool2d(activation(data), **options))


@pytest.mark.parametrize(
    "size, options, evaluations, comparisons",
    [
        # The paper's example: four windows of four values.
        ((1, 1, 4, 4), {"pool_size": 2, "strides": 2}, 16, 4 * 3),
        # Two of everything, in a batch of two: six times the planes.
        ((2, 3, 4, 4), {"pool_size": 2, "strides": 2}, 6 * 16, 6 * 4 * 3),
        # 3x3 with stride 2 on 5x5: four windows of nine values that overlap.
        ((1, 1, 5, 5), {"pool_size": 3, "strides": 2}, 25, 4 * 8),
        # 3x3, stride 2, one of padding on 4x4: along an axis the windows see 2 and 3 values.
        ((1, 1, 4, 4), {"pool_size": 3, "strides": 2, "padding": 1}, 16, (2 + 3) ** 2 - 4),
        # ceil_mode on 5x5: windows of 2, 2 and 1 values along an axis.
        ((1, 1, 5, 5), {"pool_size": 2, "strides": 2, "ceil_mode": True}, 25, 5**2 - 9),
    ],
    ids=["example", "planes", "overlap", "padding", "ceil_mode"],
)
def test_operations_by_hand(size, options, evaluations, comparisons):
    operations = count_module(pooled(size, **options))
    assert operations.operators == ("nn.relu",)
    assert operations.evaluations == (evaluations,)
    assert operations.comparisons == (comparisons,)
    assert operations.total == evaluations + comparisons


def test_the_worked_example():
    (layer, whole) = count_example(SETTING)
    assert (layer["before"], layer["after"]) == (whole["before"], whole["after"]) == (28, 16)


def test_layers_are_called_as_in_the_paper():
    assert name_layer("nn.relu", 0) == "relu1" and name_layer("sigmoid", 4) == "sigmoid5"


def graph_of(*kernels: tuple[str, list[int]]) -> str:
    """Graph JSON of kernels by operator and sources; a None operator is an input."""
    nodes = [
        {
            "name": str(name),
            "op": "null" if name is None else "tvm_op",
            "inputs": [[source, 0, 0] for source in sources],
            **({} if name is None else {"attrs": {"func_name": f"tvmgen_default_fused_{name}"}}),
        }
        for name, sources in kernels
    ]
    shapes = [[1, 4, index + 1] for index in range(len(nodes))]
    rows = list(range(len(nodes) + 1))
    return json.dumps(
        {"nodes": nodes, "node_row_ptr": rows, "attrs": {"shape": ["list_shape", shapes]}}
    )


def test_layers_before_pools():
    kernels = [(None, []), ("nn_relu_3", [0]), ("layout_transform_1", [1])]
    graph = KernelGraph(
        graph_of(*kernels, ("nn_max_pool2d_4", [2])),
        pooled((1, 1, 4, 4), pool_size=2),
    )
    (layer,) = graph.before_pools()
    assert (layer.node, layer.producer, layer.operator) == (1, 0, "nn.relu")
    assert layer.function == "tvmgen_default_fused_nn_relu_3" and layer.shape == (1, 4, 2)
    with pytest.raises(UsageError, match="the layer behind nn_max_pool2d_4 is nothing"):
        graph.behind_pools()


def test_layers_behind_pools():
    kernels = [(None, []), ("nn_max_pool2d", [0]), (None, []), ("add_1_2", [1, 2])]
    graph = KernelGraph(
        graph_of(*kernels, ("sigmoid_1", [3])),
        pooled((1, 1, 4, 4), relay.sigmoid, pool_size=2),
    )
    (layer,) = graph.behind_pools()
    assert (layer.node, layer.producer, layer.operator) == (4, 3, "sigmoid")
    with pytest.raises(UsageError, match="the layer before nn_max_pool2d is an input"):
        graph.before_pools()


def test_a_pool_with_two_readers_has_no_layer_behind():
    kernels = [(None, []), ("nn_max_pool2d", [0]), ("nn_relu", [1]), ("add", [1, 2])]
    graph = KernelGraph(graph_of(*kernels), pooled((1, 1, 4, 4), pool_size=2))
    with pytest.raises(UsageError, match="is nothing but must be one of"):
        graph.behind_pools()


def test_missing_kernels_are_noticed():
    with pytest.raises(RuntimeError, match="max pool kernels are 0 but must be 1"):
        KernelGraph(graph_of((None, []), ("nn_relu", [0])), pooled((1, 1, 4, 4), pool_size=2))


def test_arrays_lie_where_they_should():
    values = np.arange(6000, dtype="float32").reshape(2, 3000)
    for offset in (0, 2048):
        array = _place(values, offset, tvm.cpu())
        assert array.handle.contents.data % 4096 == offset
        assert (array.numpy() == values).all()


def test_windows_of_an_array():
    axes = (WindowAxis(4, 2, 2, 2), WindowAxis(6, 2, 3, 3))
    values = np.arange(24).reshape(1, 1, 4, 6)
    windows = _cut(values, axes)
    assert windows.shape == (1, 1, 2, 2, 6)
    assert windows[0, 0, 1, 0].tolist() == [12, 13, 14, 18, 19, 20]


def test_windows_on_a_plateau():
    """-2 < -1: the first zero of relu is not the largest; nor where 0 itself has a slope."""
    mod = make_network(CASES["custom_relu"])
    shapes = {p.name_hint: [int(s) for s in p.checked_type.shape] for p in mod["main"].params}
    data = {name: np.zeros(shape, "float32") for name, shape in shapes.items()}
    data["conv1_weight"][0, 0, 1, 1] = 1  # the first filter hands the first channel on
    data["data"][0, 0, :2, :2] = [[-2, -1], [-3, -3]]
    data["data"][0, 0, 2:4, 2:4] = [[-2, 0], [-3, -3]]
    data["data"][0, 0, 4:6, 4:6] = [[-2, 5], [-3, -3]]
    assert count_moved(mod, "relu", data, SETTING) == (2, 1)


@pytest.mark.full
@pytest.mark.parametrize("name", CASES)
def test_gradients_differ_where_they_are_said_to(name):
    row = compare_gradients(name, SETTING)
    case = CASES[name]
    assert row["exchanged"] == case.blocks and row["forward_equal"]
    assert row["weights_equal"] == (row["moved_with_slope"] == 0) != case.has_ties
    assert row["gradients_equal"] == (case.grid is not None and not case.has_ties)
    if not case.has_ties:
        assert row["bias_difference"] < 1e-5


def test_the_pool_sends_its_gradient_to_the_first_of_the_largest():
    data = relay.var("data", shape=(1, 1, 2, 2))
    pool = relay.nn.max_pool2d(data, (2, 2), strides=(2, 2))
    mod = relay.transform.FirstOrderGradient()(type_of(pool))
    run = relay.create_executor("graph", mod, target="llvm").evaluate()
    for values, expected in (
        ([[1, 3], [3, 3]], [[0, 1], [0, 0]]),
        ([[2, 2]] * 2, [[1, 0], [0, 0]]),
    ):
        _, (gradient,) = run(np.array(values, "float32").reshape(1, 1, 2, 2))
        assert gradient.numpy()[0, 0].tolist() == expected
