"""Where results differ because of a NaN it is said where that comes from, and what helps."""

import json
import shlex

import numpy as np
import pytest
from tvm import relay

from tvm_reorder.cli.main import main
from tvm_reorder.cli.nan_origin import _list_in_order

from ..models import save_graph
from ..onnx_graphs import CONV, POOL, behind_convolution, make_graph

EXCHANGE = ["--decision", "exchange"]


def compare(graph, tmp_path, *options: str) -> tuple[int, dict]:
    """Exit status and JSON of a comparison."""
    path, found = save_graph(tmp_path / "model.onnx", graph), tmp_path / "found.json"
    status = main(["compare", str(path), "--repeat", "1", *options, "--json", str(found)])
    return status, json.loads(found.read_text())


@pytest.mark.parametrize(
    "nodes, operator",
    [
        ([("Log", "c", "a", {"name": "[log]"})], "log"),
        ([("Sqrt", "c", "s"), ("Tanh", "s", "a")], "sqrt"),
    ],
)
def test_an_operator(nodes, operator, tmp_path, capsys):
    status, found = compare(behind_convolution(*nodes), tmp_path, *EXCHANGE)
    name = nodes[0][3]["name"] if len(nodes[0]) > 3 else nodes[0][2]
    assert status == 1 and found["equal"] is False
    nan = found["nan"]
    assert (nan["operator"], nan["name"], nan["licence"]) == (operator, name, "nan")
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == nan["explanation"]
    assert said.startswith(f"a NaN arises at {operator} {name!r}")
    assert said.endswith("--licence nan keeps results equal")


def test_the_licence_that_is_named_makes_results_equal(tmp_path):
    graph = behind_convolution(("Log", "c", "a"))
    status, found = compare(graph, tmp_path, *EXCHANGE, "--licence", "nan")
    assert status == 0 and found["equal"] and found["nan"] is None
    options = [*EXCHANGE, "--licence", "strict+ulp:2"]
    assert compare(graph, tmp_path, *options)[1]["nan"]["licence"] == "strict+nan+ulp:2"


def test_an_input(tmp_path):
    graph = behind_convolution(("Relu", "c", "a"))
    data = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype("float32")
    data[0, 0, 3, 3] = np.nan  # in part of a window
    np.savez(tmp_path / "inputs.npz", x=data)
    status, found = compare(graph, tmp_path, *EXCHANGE, "--inputs", str(tmp_path / "inputs.npz"))
    assert status == 1
    assert found["nan"]["explanation"].startswith("a NaN stands in the input 'x'")


def test_a_weight(tmp_path):
    # TVM's relu makes 0 of a NaN: results have none, and differ all the same.
    nodes = [("Conv", "x k", "c"), ("Relu", "c", "a"), ("MaxPool", "a", "y", POOL)]
    weight = np.ones((2, 3, 1, 1), "float32")
    slopes = np.where(np.arange(64) % 3, 1, np.nan).astype("float32").reshape(1, 1, 8, 8)
    nodes[1:2] = [("Mul", "c m", "n"), ("Relu", "n", "a")]
    status, found = compare(make_graph(*nodes, k=weight, m=slopes), tmp_path, *EXCHANGE)
    assert (found["nan"] is None) == (status == 0)
    if found["nan"]:
        assert found["nan"]["operator"] == "a constant"


def test_no_nan_no_word(tmp_path, monkeypatch):
    from tvm_reorder.core.monotone import Direction
    from tvm_reorder.relay.activations import ACTIVATIONS, Activation

    monkeypatch.setitem(ACTIVATIONS, "sin", Activation(Direction.RISING, np.sin))
    status, found = compare(behind_convolution(("Sin", "c", "a")), tmp_path, *EXCHANGE)
    assert status == 1 and found["nan"] is None


def test_bisect_names_the_nan_and_the_licence(tmp_path, capsys):
    graph = make_graph(
        CONV,
        ("Relu", "c", "r"),
        ("MaxPool", "r", "p", {**POOL, "name": "first"}),
        ("Conv", "p v b", "d", {"pads": [1] * 4}),
        ("Log", "d", "l"),
        ("MaxPool", "l", "y", {**POOL, "name": "second"}),
    )
    path = str(save_graph(tmp_path / "model.onnx", graph))
    assert main(["bisect", path, *EXCHANGE, "--json", "-"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["nan"]["operator"] == "log"
    assert [site["name"] for site in result["culprits"]] == ["second"]
    assert main(["bisect", path, *EXCHANGE]) == 1
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("a NaN arises at log 'l'") for line in said)
    assert said[-2] == "or to have equal results where a NaN arises:"
    command = shlex.split(said[-1])[2:-2]
    assert command[command.index("--licence") + 1] == "nan"
    assert main(["bisect", *command]) == 0


def test_the_order_is_that_of_execution():
    x = relay.var("x", shape=(4,))
    tree = relay.split(x, 2)
    body = relay.add(relay.exp(tree[0]), relay.log(tree[1]))
    order = _list_in_order(body)
    for expr in order:
        for operand in getattr(expr, "args", ()):
            assert order.index(operand) < order.index(expr)
    assert order[-1].same_as(body) and order[0].same_as(x)
