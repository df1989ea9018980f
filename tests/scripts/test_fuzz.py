"""The fuzzer: its graphs, what it finds, shrinks, saves and replays; and 96 graphs."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from tvm import relay

from bench.fuzz import session
from bench.fuzz.graph import draw_inputs, make_graph, make_module
from bench.fuzz.recipe import GROUP, draw_recipe
from bench.fuzz.run import How, build, fit_target
from bench.fuzz.shrink import shrink
from bench.fuzz.steps import ELEMENTWISE, KINDS
from bench.fuzz.trial import Outcome, examine
from bench.fuzz.value import DTYPES, Value
from tvm_reorder.cli.errors import UsageError
from tvm_reorder.core.monotone import Direction
from tvm_reorder.relay import passes
from tvm_reorder.relay.activations import ACTIVATIONS, Activation
from tvm_reorder.relay.rules.exchange_chain import ExchangeChain

ROOT = Path(__file__).parents[2]
SIMPLE = {
    **{"seed": 0, "index": 0, "decision": "exchange", "licence": "equal", "opt_level": 3},
    **{"executor": "graph", "target": "llvm", "layout": "NCHW", "dtype": "float32", "batch": 1},
    **{"size": [4, 4], "values": ["normal"]},
}
POOL = ["max_pool", {}]


def recipe(*steps, **changes) -> dict:
    return {**SIMPLE, "steps": [[name, *rest] if rest else [name, {}] for name, *rest in steps]
            + [POOL], **changes}  # fmt: skip


def fuzz(*options, cwd) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "scripts.fuzz", *map(str, options)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_96_graphs_without_a_difference(tmp_path):
    """Of a seed without convolutions, which take long to compile."""
    done = fuzz("--graphs", 96, "--seed", 165, "--jobs", 2, "--log", "log.json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    log = json.loads((tmp_path / "log.json").read_text())
    assert sum(log["graphs"].values()) == 96 and log["failures"] == []
    assert log["graphs"]["equal"] > 10 and log["graphs"].get("invalid", 0) < 10
    assert log["sites"]["exchanged"] > 10 and len(log["sites"]) > 5
    assert log["drawn"]["nn.max_pool2d"] > 20 and log["source"] == "random"
    assert log["reference"]["checked"] > 1000
    assert "no difference" in done.stdout and "graphs/s" in done.stdout
    assert log["machine"]["processor"] and not (tmp_path / "fuzz-failures").exists()


def test_a_graph_is_the_same_wherever_and_whenever_it_is_drawn():
    script = "import json; from bench.fuzz.recipe import draw_recipe; "
    script += "print(json.dumps([draw_recipe(3, k) for k in range(40)]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    drawn = [draw_recipe(3, k) for k in range(40)]
    assert json.loads(done.stdout) == drawn
    assert draw_recipe(3, 39) == drawn[39] and draw_recipe(4, 39) != drawn[39]
    shared = ("decision", "licence", "opt_level", "executor", "target")
    for group in (drawn[:GROUP], drawn[GROUP : 2 * GROUP]):
        assert len({tuple(each[name] for name in shared) for each in group}) == 1


def test_most_graphs_are_typed():
    typed = 0
    for each in (draw_recipe(11, k) for k in range(100)):
        try:
            graph = make_graph(each)
            make_module([graph])
        except Exception:
            continue
        typed += 1
        for name, values in draw_inputs(each, graph.inputs, "special").items():
            assert (values.shape, str(values.dtype)) == graph.inputs[name]
    assert typed >= 97


@pytest.fixture
def planted(monkeypatch):
    """A wrong rule: sin rises."""
    monkeypatch.setitem(ACTIVATIONS, "sin", Activation(Direction.RISING, np.sin))


def test_a_planted_rule_is_found_shrunk_saved_and_replayed(planted, tmp_path, capsys, monkeypatch):
    wide = recipe(
        ["add", {"constant": {"values": [0.5, -1.0, 2.0, 3.7], "shape": "channel"}}],
        ["fork", {"branches": [[["exp", {}]], [["tanh", {}]]], "axis": 3}],
        ["sin"],
        layout="NHWC",
        size=[6, 5],
        licence="ulp:16",
        executor="vm",
        values=["normal", "ties"],
    )
    wide["steps"].append(["tanh", {}])
    innocent = [recipe([name]) for name in ("nn.relu", "tanh", "sigmoid")]
    group = [{**each, "licence": "ulp:16", "executor": "vm"} for each in (*innocent, wide)]
    outcome = examine(group)
    assert outcome.graphs == {"equal": 3, "differs": 1}
    (file,) = session._save_failures(outcome, tmp_path)
    saved = json.loads(file.read_text())
    assert saved["shrunk"]["steps"] == [["sin", {}], POOL]
    assert saved["shrunk"]["layout"] == "NCHW" and saved["recipe"]["layout"] == "NHWC"
    assert saved["verdict"] == "differs" and "became" in saved["detail"] and saved["machine"]
    assert session.replay(file) == 1
    assert "differs: output 0" in capsys.readouterr().out
    monkeypatch.undo()
    assert session.replay(file) == 0
    assert "no difference" in capsys.readouterr().out


def test_what_only_the_reference_can_tell(planted):
    """The licence ulp:any does not ask for what stock TVM gives."""
    assert examine([recipe(["sin"], licence="ulp:any")]).graphs == {"wrong": 1}


def test_a_fault_of_both_builds_is_found_by_the_reference(monkeypatch):
    from bench.fuzz import judge, trial

    def broken(mod, how):
        run = build(mod, how)
        return lambda inputs: [values + 1 for values in run(inputs)]

    for module in (judge, trial):
        monkeypatch.setattr(module, "build", broken)
    monkeypatch.setattr(trial, "build_ours", lambda mod, how, config: (broken(mod, how), None))
    outcome = examine([recipe(["tanh"])])
    assert outcome.graphs == {"both wrong": 1} and "outside [" in outcome.failures[0]["detail"]


def test_what_tvm_itself_simplifies_inexactly_is_no_fault():
    """SimplifyExpr drops the first of two casts behind a clip."""
    steps = [["clip"], ["cast", {"dtype": "uint8"}], ["cast", {"dtype": "float32"}], ["nn.relu"]]
    assert examine([recipe(*steps)]).graphs == {"simplified": 1}


def test_what_tvms_executors_disagree_on_is_no_fault(monkeypatch):
    """Here AOT's results are off by another number in each build."""
    from bench.fuzz import trial

    def shifted(run, how, shift):
        return lambda inputs: [values + shift * (how.executor == "aot") for values in run(inputs)]

    ours = trial.build_ours
    monkeypatch.setattr(trial, "build", lambda mod, how: shifted(build(mod, how), how, 1))
    monkeypatch.setattr(
        trial,
        "build_ours",
        lambda mod, how, config: (shifted(ours(mod, how, config)[0], how, 2), None),
    )
    outcome = examine([recipe(["tanh"], executor="aot")])
    assert outcome.graphs == {"executors differ": 1} and not outcome.failures


@pytest.mark.parametrize(
    "owner, name",
    [(passes, "name_pools"), (ExchangeChain, "check")],
    ids=["on the whole module", "at a site"],
)
def test_a_pass_that_fails_is_a_failure(owner, name, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("broken")

    monkeypatch.setattr(owner, name, broken)
    outcome = examine([recipe(["nn.relu"])])
    assert outcome.graphs == {"pass failed": 1} and "broken" in outcome.failures[0]["detail"]


def test_a_fault_of_the_fuzzer_is_no_crash_of_the_compiler(monkeypatch):
    from bench.fuzz import judge

    monkeypatch.setattr(judge, "evaluate", lambda *arguments: 1 / 0)
    outcome = examine([recipe(["nn.relu"])])
    assert outcome.graphs == {"not judged": 1}
    assert "ZeroDivisionError" in outcome.failures[0]["detail"]


def test_what_a_licence_leaves_open_is_no_difference():
    forgets = recipe(["sqrt"], values=["special"], size=[8, 8])
    outcome = examine([{**forgets, "index": k} for k in range(8)])
    assert outcome.graphs == {"open": 8}


@pytest.mark.parametrize("licence, verdict", [("equal", "open"), ("strict", "equal")])
def test_a_window_of_infinities_is_open_where_the_licence_says_so(licence, verdict):
    scaled = recipe(["multiply", {"constant": 0.5}], values=["infinities"], licence=licence)
    assert examine([scaled]).graphs in ({verdict: 1}, {"untouched": 1})


def test_a_compiler_that_dies_takes_one_graph_along(monkeypatch):
    from bench.fuzz import workers

    class Dying:
        """Says what a process would, and dies of graph 1."""

        def __init__(self):
            self.restart()

        def restart(self):
            self.job, self.phase = None, ""
            self.connection = object()

        def give(self, job):
            self.job, self.phase = job, "ours"

        def hear(self):
            if any(each["index"] == 1 for each in self.job):
                return None
            job, self.job = self.job, None
            return Outcome(graphs=Counter(equal=len(job)))

        def stop(self):
            pass

    monkeypatch.setattr(workers, "Worker", Dying)
    monkeypatch.setattr(workers, "wait", list)
    job = [recipe(["nn.relu"], index=k) for k in range(4)]
    outcome = Outcome()
    for each in workers.examine_all(iter([job]), 1):
        outcome.add(each)
    assert outcome.graphs == {"equal": 3, "ours crashes": 1}
    assert outcome.failures[0]["recipe"]["index"] == 1


def has_two_casts(each: dict) -> bool:
    return json.dumps(each["steps"]).count('"cast"') >= 2


def test_shrinking_keeps_what_matters():
    inner = ["fork", {"branches": [[["cast", {"dtype": "int8"}], ["exp", {}]], []], "axis": 2}]
    big = recipe(
        ["tanh"],
        inner,
        ["add", {"constant": {"values": [3.7, 2.0], "shape": "channel"}}],
        ["cast", {"dtype": "float16"}],
        licence="strict",
        batch=3,
    )
    small = shrink(big, has_two_casts, most=400)
    assert small["steps"] == [["cast", {}], ["cast", {}]] and small["licence"] == "equal"
    assert small["batch"] == 1 and len(small["values"]) == 1
    kept = shrink(big, lambda each: "values" in json.dumps(each["steps"]), most=400)
    assert kept["steps"] == [["add", {"constant": {"values": [1.0]}}]]


def fitting_dtypes(name: str) -> list[str]:
    return [dtype for dtype in DTYPES if KINDS[name].takes(dtype)]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_builds_with_and_without_its_parameters(name):
    """On every dtype that it takes; what it leaves has the dtype that it says."""
    for dtype in fitting_dtypes(name):
        for parameters in ({}, KINDS[name].draw(Random(0), dtype)):
            steps = [["cast", {"dtype": dtype}], [name, parameters]]
            graph = make_graph({**SIMPLE, "steps": steps})
            given = KINDS[name].gives(parameters, dtype)
            left = Value(graph.outputs[-1], "").dtype
            assert left == ("float32" if given == "bfloat16" else given), (dtype, parameters)


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_an_elementwise_kind_keeps_the_shape(name):
    dtype = fitting_dtypes(name)[0]
    parameters = KINDS[name].draw(Random(1), dtype)
    graph = make_graph({**SIMPLE, "steps": [["cast", {"dtype": dtype}], [name, parameters]]})
    assert Value(graph.outputs[-1], "NCHW").shape == (1, 4, 4, 4)


@pytest.mark.parametrize("executor", ["graph", "aot", "vm"])
def test_every_executor_runs(executor):
    graph = make_graph(recipe(["tanh"], ["side", {}]))
    mod = make_module([graph])
    inputs = draw_inputs(SIMPLE, graph.inputs, "normal")
    side, pooled = build(mod, How(3, executor))(inputs)
    np.testing.assert_allclose(side, np.tanh(inputs["x_0"]), rtol=1e-5)
    assert np.array_equal(pooled, side.reshape(1, 4, 2, 2, 2, 2).max((3, 5)))


def test_a_target_is_one_that_the_machine_runs(monkeypatch):
    from bench.fuzz import run

    monkeypatch.setattr(run, "list_runnable_targets", lambda: ["llvm", "llvm -mcpu=core-avx2"])
    assert fit_target("llvm -mcpu=skylake-avx512") == "llvm -mcpu=core-avx2"
    assert fit_target("llvm") == "llvm"


def test_a_let_stands_around_all_results():
    mod = make_module([make_graph(recipe(["tanh"], ["let"]))])
    assert isinstance(mod["main"].body, relay.Let)


@pytest.mark.parametrize(
    "content, said",
    [
        ("hello", "is no JSON"),
        ("{}", "lacks 'shrunk'"),
        ('{"shrunk": {}}', "lacks 'decision'"),
        (json.dumps({"shrunk": SIMPLE}), "lacks 'steps'"),
    ],
)
def test_a_file_that_cannot_be_replayed(content, said, tmp_path):
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(UsageError, match=said):
        session.replay(tmp_path / "file.json")
    with pytest.raises(UsageError, match="cannot be read"):
        session.replay(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "options",
    [
        ["--graphs", "0"],
        ["--seed", "-1"],
        ["--log", "absent/x"],
        ["--source", "elsewhere"],
        ["--source", "nnsmith", "--nnsmith", "absent"],
        ["--models", "absent"],
    ],
)
def test_bad_usage_is_one_line(options, tmp_path):
    done = fuzz(*options, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert list(tmp_path.iterdir()) == []
