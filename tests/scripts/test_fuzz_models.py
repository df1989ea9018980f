"""ONNX models as a source of graphs: max pools are put in, and NNSmith generates them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bench.fuzz.onnx_graph import import_graph
from bench.fuzz.onnx_pools import decode, draw_model_recipe, drop_node, encode, insert_pools
from bench.fuzz.trial import examine
from tvm_reorder.cli.errors import UsageError

ROOT = Path(__file__).parents[2]
SHAPE = [1, 3, 6, 6]


def make_model(
    *nodes, shape=None, inputs=("x",), output="y", gives=TensorProto.FLOAT
) -> onnx.ModelProto:
    kind = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape or SHAPE)  # noqa: E731
    graph = helper.make_graph(
        [helper.make_node(name, list(given), [made]) for name, given, made in nodes],
        "model",
        [kind(name) for name in inputs],
        [helper.make_tensor_value_info(output, gives, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


CHAIN = make_model(("Tanh", ["x"], "a"), ("Sigmoid", ["a"], "b"), ("Relu", ["b"], "y"))


def save(folder: Path, *models: onnx.ModelProto) -> list[Path]:
    for number, model in enumerate(models):
        onnx.save(model, folder / f"{number}.onnx")
    return sorted(folder.glob("*.onnx"))


def test_pools_are_put_in_and_the_rest_falls_away():
    model = onnx.shape_inference.infer_shapes(CHAIN)
    for seed in range(40):
        changed = insert_pools(model, Random(seed))
        onnx.checker.check_model(changed, full_check=True)
        names = [node.op_type for node in changed.graph.node]
        assert "MaxPool" in names
        ends = {each.name for each in changed.graph.output}
        used = {name for node in changed.graph.node for name in node.input}
        made = {name for node in changed.graph.node for name in node.output}
        assert made <= used | ends, "a node that nothing needs"


def test_what_stood_behind_the_tensor_stands_behind_the_pool():
    model = onnx.shape_inference.infer_shapes(CHAIN)
    orders = {
        tuple(node.op_type for node in insert_pools(model, Random(seed)).graph.node)
        for seed in range(200)
    }
    assert ("Tanh", "MaxPool", "Sigmoid", "Relu") in orders


@pytest.mark.parametrize("shape", [[12], [4, 6], [1, 2, 3, 4, 5, 2]])
def test_any_rank_is_pooled(shape):
    model = make_model(("Tanh", ["x"], "y"), shape=shape)
    recipe = {"onnx": encode(insert_pools(onnx.shape_inference.infer_shapes(model), Random(1)))}
    graph = import_graph(recipe, "g0")
    assert list(graph.inputs) == ["g0_0"]
    assert graph.inputs["g0_0"] == (tuple(shape), "float32")


def test_whole_numbers_are_cast_first():
    model = make_model(("ArgMax", ["x"], "y"), gives=TensorProto.INT64)
    model = onnx.shape_inference.infer_shapes(model)
    drawn = (insert_pools(model, Random(seed)).graph.node for seed in range(20))
    names = [[node.op_type for node in nodes] for nodes in drawn]
    assert any(each[:2] == ["ArgMax", "Cast"] and "MaxPool" in each for each in names)
    assert all("MaxPool" not in each or "Cast" in each for each in names)


def test_a_recipe_is_the_same_each_time_and_fails_like_any_other(tmp_path):
    (file,) = save(tmp_path, CHAIN)
    first = draw_model_recipe(file, 4, 7)
    assert draw_model_recipe(file, 4, 7) == first != draw_model_recipe(file, 4, 8)
    assert json.loads(json.dumps(first)) == first
    outcome = examine([first | {"licence": "equal", "decision": "exchange", "opt_level": 3}])
    assert outcome.graphs.total() == 1 and not outcome.failures
    assert outcome.drawn["nn.max_pool2d"] + outcome.drawn["nn.max_pool1d"] >= 0


def test_a_node_less_each_time():
    model = make_model(("Tanh", ["x"], "a"), ("Sigmoid", ["a"], "b"), ("Relu", ["b"], "y"))
    smaller = [decode(text) for text in drop_node(encode(onnx.shape_inference.infer_shapes(model)))]
    names = [[node.op_type for node in each.graph.node] for each in smaller]
    assert names == [["Sigmoid", "Relu"], ["Tanh", "Relu"]]
    for each in smaller:
        onnx.checker.check_model(each, full_check=True)


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "0.onnx").write_text("hello")
    with pytest.raises(UsageError, match=r"0\.onnx is no ONNX model"):
        draw_model_recipe(tmp_path / "0.onnx", 0, 0)


def run_fuzz(*options, cwd) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "scripts.fuzz", *map(str, options)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_a_folder_of_models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    second = make_model(("Add", ["x", "z"], "a"), ("Exp", ["a"], "y"), inputs=("x", "z"))
    save(folder, CHAIN, second)
    options = ["--models", folder, "--graphs", 6, "--seed", 3, "--jobs", 1, "--log", "log.json"]
    done = run_fuzz(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    log = json.loads((tmp_path / "log.json").read_text())
    assert log["source"] == "models" and sum(log["graphs"].values()) == 6
    assert not log["graphs"].get("invalid") and log["failures"] == []


# Stands for the Python of NNSmith's environment: writes a model to each file that it is given.
FAKE = """#!{python}
import sys
if {fails}:
    sys.exit("no solver")
for file in sys.argv[4:]:
    open(file, "wb").write(bytes.fromhex("{model}"))
"""


def make_environment(folder: Path, fails: bool) -> Path:
    python = folder / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    model = CHAIN.SerializeToString().hex()
    python.write_text(FAKE.format(python=sys.executable, fails=fails, model=model))
    python.chmod(0o755)
    return python.parents[1]


def test_nnsmith_is_asked_for_models(tmp_path):
    environment = make_environment(tmp_path, fails=False)
    options = ["--source", "nnsmith", "--nnsmith", environment, "--graphs", 2, "--log", "log.json"]
    done = run_fuzz(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    log = json.loads((tmp_path / "log.json").read_text())
    assert log["source"] == "nnsmith" and sum(log["graphs"].values()) == 2


def test_an_nnsmith_that_fails_is_named(tmp_path):
    environment = make_environment(tmp_path, fails=True)
    options = ["--source", "nnsmith", "--nnsmith", environment, "--graphs", 2]
    done = run_fuzz(*options, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "NNSmith generated no model" in done.stderr and "no solver" in done.stderr


def test_the_environment_script_names_what_is_wrong(tmp_path):
    script = ROOT / "scripts" / "nnsmith_env.sh"
    for arguments in (["--help"], ["a", "b"], [str(tmp_path)]):
        done = subprocess.run([script, *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr


def test_values_reach_the_inputs_of_a_model(tmp_path):
    (file,) = save(tmp_path, CHAIN)
    graph = import_graph(draw_model_recipe(file, 0, 0), "g3")
    assert set(graph.inputs) == {"g3_0"} and np.prod(graph.inputs["g3_0"][0]) == np.prod(SHAPE)
