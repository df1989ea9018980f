"""``tvm-reorder bisect`` finds the sites at which a wrong rule was planted."""

import json
import shlex

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tvm_reorder.cli.bisect import find_culprits
from tvm_reorder.cli.main import main
from tvm_reorder.core.monotone import Direction
from tvm_reorder.relay.activations import ACTIVATIONS, Activation

from ..models import save_graph

OPERATORS = ("Tanh", "Sin", "Relu", "Sin")
QUICK = ["-O", "1", "--decision", "exchange"]


@pytest.fixture(scope="session")
def several(tmp_path_factory) -> str:
    """Four branches, each convolution, activation, max pool; a pool's name tells the activation."""
    random = np.random.default_rng(0)
    nodes, weights = [], []
    for index, operator in enumerate(OPERATORS):
        weight = 5 * random.standard_normal((2, 1, 1, 1)).astype("float32")
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        nodes.append(helper.make_node("Conv", ["data", f"w{index}"], [f"c{index}"]))
        nodes.append(helper.make_node(operator, [f"c{index}"], [f"a{index}"]))
        kernel = {"kernel_shape": [2, 2], "strides": [2, 2]}
        name = f"{operator}/{index}"
        nodes.append(helper.make_node("MaxPool", [f"a{index}"], [f"p{index}"], name, **kernel))
    pooled = [f"p{index}" for index in range(len(OPERATORS))]
    nodes.append(helper.make_node("Concat", pooled, ["result"], axis=1))
    tensor = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    inputs, outputs = [tensor("data", [1, 1, 8, 8])], [tensor("result", [1, 8, 4, 4])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, weights)
    return str(save_graph(tmp_path_factory.mktemp("models") / "several.onnx", graph))


@pytest.fixture
def planted(monkeypatch):
    """A wrong rule: sin rises."""
    monkeypatch.setitem(ACTIVATIONS, "sin", Activation(Direction.RISING, np.sin))


def test_all_equal(several, capsys):
    assert main(["bisect", several, *QUICK]) == 0
    captured = capsys.readouterr()
    assert "all outputs equal; 2 sites touched" in captured.out and captured.err == ""


def test_the_sites_of_the_planted_rule_are_found(several, planted, capsys):
    assert main(["bisect", several, *QUICK, "--json", "-"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert [site["name"] for site in result["culprits"]] == ["Sin/1", "Sin/3"]
    assert {site["rule"] for site in result["culprits"]} == {"ExchangeChain"}
    assert result["touched"] == 4 and result["equal"] is False
    (output,) = result["outputs"]
    assert output["max_abs_diff"] > 0.01


def test_what_is_said_and_the_command_that_avoids_it(several, planted, capsys, tmp_path):
    assert main(["bisect", several, "--decision", "fuse", "--skip", "Sin/1"]) == 1
    said = capsys.readouterr().out
    assert "1 of 3 touched sites responsible" in said and "Sin/1" not in said.partition("to l")[0]
    assert "Sin/3: fused, sin" in said and "rule ExchangeChain" in said
    assert "output_0 differs: largest difference" in said
    program, *command = shlex.split(said.splitlines()[-1])
    assert program == "tvm-reorder" and command[0] == "compile"
    command[command.index("OUT.tar")] = str(tmp_path / "out.tar")
    assert main(command) == 0
    avoided = ["bisect", *command[1 : command.index("-o")]]
    assert main(avoided) == 0


names = st.integers(0, 11)


@given(st.sets(names), st.sets(st.tuples(names, names), max_size=2))
def test_a_smallest_set_is_found(alone, together):
    """Sites that are wrong alone, and pairs that are wrong together."""
    sites = [str(n) for n in range(12)]
    builds = []

    def differs(touched):
        on = {int(site) for site in touched}
        builds.append(on)
        return bool(on & alone) or any(on >= set(pair) for pair in together)

    found = find_culprits(sites, differs)
    rest = [site for site in sites if site not in found]
    assert not differs(rest)
    for site in found:
        assert differs([each for each in sites if each in rest or each == site])
    assert {str(n) for n in alone} <= set(found)
    assert len(builds) <= 2 + (len(found) + 1) * 8
