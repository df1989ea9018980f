"""Which operator of which node an importer fails at, inside branches too."""

from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper

from tvm_reorder.cli.import_errors import Node, find_nodes

from ..models import save_graph
from ..onnx_graphs import CONV, POOL, make_graph


def inspect(fails, tmp_path, *nodes: tuple, **arrays) -> str:
    """What is said of a model that cannot be imported, without the model's name."""
    path = save_graph(tmp_path / "model.onnx", make_graph(*nodes, **arrays))
    line = fails("inspect", path)
    assert str(path) in line and "need another --model-format" not in line
    return line.partition(f"{str(path)!r}: ")[2]


def test_indices_of_a_max_pool(fails, tmp_path):
    pool = ("MaxPool", "c", "y i", {**POOL, "name": "pool[1]"})
    said = inspect(fails, tmp_path, CONV, pool)
    begin = "TVM's onnx importer fails at the operator MaxPool 'pool[1]' (outputs 'y', 'i')"
    assert said.startswith(begin) and "Number of output mismatch 2 vs 1" in said


def test_an_unknown_operator(fails, tmp_path):
    nodes = [CONV, ("Relu", "c", "r"), ("NoSuchThing", "r", "y", {"name": "odd"})]
    said = inspect(fails, tmp_path, *nodes)
    assert said.startswith(
        "TVM's onnx importer fails at the operator NoSuchThing 'odd' (output 'y')"
    )


def test_an_undefined_input(fails, tmp_path):
    said = inspect(fails, tmp_path, CONV, ("MaxPool", "nowhere", "y", POOL))
    assert said.startswith("TVM's onnx importer fails at the operator MaxPool 'y' (output 'y')")
    assert "KeyError: 'nowhere'" in said


def test_what_the_type_checker_refuses_is_named_and_not_who_asked_it(fails, tmp_path):
    three = np.ones(3, "float32")
    nodes = [CONV, ("Add", "c three", "a", {"name": "adder"}), ("MaxPool", "a", "y", POOL)]
    said = inspect(fails, tmp_path, *nodes, three=three)
    assert "is refused by the type checker at the operator add 'adder' (Incompatible" in said


def test_an_output_that_no_node_makes(fails, tmp_path):
    graph = make_graph(CONV, ("MaxPool", "c", "y", POOL))
    graph.output[0].name = "nowhere"
    said = fails("inspect", save_graph(tmp_path / "model.onnx", graph))
    assert said.endswith("has the output 'nowhere', but must have outputs that a node makes")


@pytest.mark.parametrize("command", ["compare", "compile"])
def test_control_flow(fails, tmp_path, command):
    value = helper.make_tensor_value_info("e", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Relu", ["c"], ["e"])], "branch", [], [value])
    nodes = [
        CONV,
        ("ReduceMax", "c", "m", {"keepdims": 0}),
        ("Cast", "m", "t", {"to": TensorProto.BOOL}),
        ("If", "t", "r", {"then_branch": branch, "else_branch": branch}),
        ("MaxPool", "r", "y", POOL),
    ]
    path = save_graph(tmp_path / "model.onnx", make_graph(*nodes))
    output = ["-o", tmp_path / "model.tar"] if command == "compile" else []
    said = fails(command, path, "--target", "llvm", *output)
    assert "has an If or a Loop but must be without control flow" in said


@pytest.mark.parametrize(
    "operator, outputs, options",
    [("NoSuchThing", ["e"], {}), ("MaxPool", ["e", "i"], {"kernel_shape": [2, 2]})],
)
def test_an_operator_inside_a_branch(fails, tmp_path, operator, outputs, options):
    value = helper.make_tensor_value_info("e", TensorProto.FLOAT, None)
    node = helper.make_node(operator, ["c"], outputs, "inner", **options)
    branch = helper.make_graph([node], "branch", [], [value])
    nodes = [
        CONV,
        ("ReduceMax", "c", "m", {"keepdims": 0}),
        ("Cast", "m", "t", {"to": TensorProto.BOOL}),
        ("If", "t", "y", {"then_branch": branch, "else_branch": branch}),
    ]
    said = inspect(fails, tmp_path, *nodes)
    assert f"fails at the operator {operator} 'inner' (output" in said
    assert "), inside the operator If 'y' (output 'y') (" in said


def test_a_file_that_is_none_is_still_said_to_be_none(fails, tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    line = fails("inspect", tmp_path / "text.onnx")
    assert "cannot be read as onnx" in line and "need another --model-format" in line


# --- the other importers, whose packages need not be there ---------------------------------------


def fail_in(file: str, function: str, **variables) -> list[Node]:
    """What is found of an error in a function of an importer with these variables."""
    lines = [
        f"def {function}({', '.join(variables)}):",
        "    raise ValueError",
        f"{function}(**given)",
    ]
    code = compile("\n".join(lines), f"tvm/relay/frontend/{file}", "exec")
    try:
        exec(code, {"given": variables, "get_tensor_name": lambda graph, index: f"t{index}"})
    except ValueError as error:
        return find_nodes(error)


TENSORS = [SimpleNamespace(tensor_idx=3)]


def test_tflite():
    graph = SimpleNamespace(Operators=["A", "B"].__getitem__, OperatorsLength=lambda: 2)
    self = SimpleNamespace(
        subgraph=graph, get_op_code_str=str, get_output_tensors=lambda operator: TENSORS
    )
    found = fail_in(
        "tflite.py", "convert_op_to_relay", self=self, op_code_str="WHERE", output_tensors=TENSORS
    )
    assert found == [Node("WHERE", "", ("t3",))]
    unknown = {"unsupported_ops_set": {"B"}, "dynamic_range_ops_set": set()}
    assert fail_in("tflite.py", "check_unsupported_ops", self=self, **unknown) == [
        Node("B", "", ("t3",))
    ]


@pytest.mark.parametrize(
    "file, function, variables",
    [
        ("pytorch.py", "convert_operators", {"operator": "odd", "node_name": "n"}),
        (
            "keras.py",
            "keras_op_to_relay",
            {"op_name": "odd", "keras_layer": SimpleNamespace(name="n")},
        ),
        ("tensorflow.py", "_backtrack_construct", {"node": SimpleNamespace(op="odd", name="n")}),
    ],
)
def test_importers_with_names(file, function, variables):
    assert fail_in(file, function, **variables) == [Node("odd", "n")]


def test_paddle():
    operator = SimpleNamespace(type="odd", output_arg_names=["a", "b"])
    (node,) = fail_in("paddlepaddle.py", "ops_to_relay", op=operator)
    assert str(node) == "the operator odd (outputs 'a', 'b')"


def test_an_error_before_the_first_node_names_none():
    assert fail_in("onnx.py", "_construct_nodes", graph=None) == []
    assert fail_in("onnx.py", "something_else", node=None) == []
