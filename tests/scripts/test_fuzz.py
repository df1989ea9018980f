"""The fuzzer: its graphs, what it finds, shrinks, saves and replays; and 200 graphs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.fuzz import session
from bench.fuzz.graph import draw_inputs, make_graph, make_module
from bench.fuzz.recipe import GROUP, JOINS, draw_recipe
from bench.fuzz.shrink import shrink
from bench.fuzz.steps import CHANNELS, STEP_NAMES, apply_step
from bench.fuzz.trial import Outcome, examine
from tvm_reorder.cli.errors import UsageError
from tvm_reorder.core.monotone import Direction
from tvm_reorder.relay.activations import ACTIVATIONS, Activation

ROOT = Path(__file__).parents[2]
SIMPLE = {
    **{"seed": 0, "index": 0, "decision": "exchange", "licence": "equal", "opt_level": 3},
    **{"layout": "NCHW", "dtype": "float32", "size": [4, 4], "producer": None, "after": []},
    "values": ["normal"],
}
POOL = {"kind": "max", "kernel": [2, 2], "strides": [2, 2], "padding": [0] * 4, "dilation": [1, 1]}
POOL["ceil_mode"] = False


def recipe(*steps, **changes) -> dict:
    stage = {"join": "chain", "steps": [list(step) for step in steps], "pool": POOL}
    return {**SIMPLE, "stages": [stage], **changes}


def fuzz(*options, cwd) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "scripts.fuzz", *map(str, options)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_200_graphs_without_a_difference(tmp_path):
    """Of a seed without convolutions, which take long to compile."""
    done = fuzz("--graphs", 200, "--seed", 165, "--jobs", 2, "--log", "log.json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    log = json.loads((tmp_path / "log.json").read_text())
    assert sum(log["graphs"].values()) == 200 and log["failures"] == []
    assert log["graphs"]["equal"] > 50 and log["graphs"].get("invalid", 0) < 10
    assert log["sites"]["exchanged"] > 40 and len(log["sites"]) > 10
    assert "no difference" in done.stdout and "graphs/s" in done.stdout
    assert log["machine"]["processor"] and not (tmp_path / "fuzz-failures").exists()


def test_a_graph_is_the_same_wherever_and_whenever_it_is_drawn():
    script = "import json; from bench.fuzz.recipe import draw_recipe; "
    script += "print(json.dumps([draw_recipe(3, k) for k in range(40)]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    drawn = [draw_recipe(3, k) for k in range(40)]
    assert json.loads(done.stdout) == drawn
    assert draw_recipe(3, 39) == drawn[39] and draw_recipe(4, 39) != drawn[39]
    for group in (drawn[:GROUP], drawn[GROUP : 2 * GROUP]):
        assert len({(r["decision"], r["licence"], r["opt_level"]) for r in group}) == 1


def test_most_graphs_are_typed_and_everything_is_drawn():
    drawn = [draw_recipe(11, k) for k in range(600)]
    stages = [stage for each in drawn for stage in each["stages"]]
    assert {step[0] for stage in stages for step in stage["steps"]} == STEP_NAMES
    assert {stage["join"] for stage in stages} == set(JOINS)
    typed = 0
    for each in drawn[:100]:
        graph = make_graph(each)
        make_module([graph])
        for name, values in draw_inputs(each, graph.inputs, "special").items():
            assert (values.shape, str(values.dtype)) == graph.inputs[name]
        typed += 1
    assert typed == 100


@pytest.fixture
def planted(monkeypatch):
    """A wrong rule: sin rises."""
    monkeypatch.setitem(ACTIVATIONS, "sin", Activation(Direction.RISING, np.sin))


def test_a_planted_rule_is_found_shrunk_saved_and_replayed(planted, tmp_path, capsys, monkeypatch):
    wide = recipe(
        ["bias", [0.5, -1.0, 2.0, 3.7]],
        ["sin"],
        ["relu"],
        ["scale", [0.5, 1.0, 2.0, 0.1]],
        layout="NHWC",
        size=[6, 5],
        licence="strict",
        values=["normal", "ties"],
        after=[["tanh"]],
    )
    innocent = [recipe([name]) for name in ("relu", "tanh", "sigmoid")]
    group = [{**each, "licence": "strict"} for each in (*innocent, wide)]
    outcome = examine(group)
    assert outcome.graphs == {"equal": 3, "differs": 1}
    (file,) = session._save_failures(outcome, tmp_path)
    saved = json.loads(file.read_text())
    (stage,) = saved["shrunk"]["stages"]
    assert stage["steps"] == [["sin"]] and saved["shrunk"]["after"] == []
    assert saved["shrunk"]["layout"] == "NCHW" and saved["recipe"]["layout"] == "NHWC"
    assert saved["verdict"] == "differs" and "became" in saved["detail"] and saved["machine"]
    assert session.replay(file) == 1
    assert "differs: output 0" in capsys.readouterr().out
    monkeypatch.undo()
    assert session.replay(file) == 0
    assert "no difference" in capsys.readouterr().out


def test_a_pass_that_fails_is_a_failure(monkeypatch):
    from tvm_reorder.relay import passes

    def broken(graph, pools):
        raise RuntimeError("broken")

    monkeypatch.setattr(passes, "fuse", broken)
    outcome = examine([recipe(["relu"])])
    assert outcome.graphs == {"pass failed": 1} and "broken" in outcome.failures[0]["detail"]


def test_what_a_licence_leaves_open_is_no_difference():
    forgets = recipe(["sqrt"], values=["special"], size=[8, 8])
    outcome = examine([{**forgets, "index": k} for k in range(8)])
    assert outcome.graphs == {"open": 8}


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
            return Outcome(graphs=type(Outcome().graphs)(equal=len(job)))

        def stop(self):
            pass

    monkeypatch.setattr(workers, "Worker", Dying)
    monkeypatch.setattr(workers, "wait", list)
    job = [recipe(["relu"], index=k) for k in range(4)]
    outcome = Outcome()
    for each in workers.examine_all(iter([job]), 1):
        outcome.add(each)
    assert outcome.graphs == {"equal": 3, "ours crashes": 1}
    assert outcome.failures[0]["recipe"]["index"] == 1


def test_shrinking_keeps_what_matters():
    big = draw_recipe(0, 5)
    small = shrink(big, lambda each: len(each["stages"][0]["steps"]) >= 1, most=400)
    assert len(small["stages"]) == 1 and len(small["stages"][0]["steps"]) == 1
    assert small["producer"] is None and small["after"] == [] and len(small["values"]) == 1


@pytest.mark.parametrize("name", sorted(STEP_NAMES - {"wide", "to_float", "cast"}))
def test_every_step_builds_relay(name):
    from random import Random

    from tvm import relay

    from bench.fuzz.steps import _DRAWN

    x = relay.var("x", shape=(1, CHANNELS, 4, 4))
    numbers = _DRAWN[name](Random(0), "float32") if name in _DRAWN else []
    assert isinstance(apply_step([name, *numbers], x, "float32", 1, 4), relay.Call)


@pytest.mark.parametrize(
    "content, said",
    [("hello", "is no JSON"), ("{}", "lacks 'shrunk'"), ('{"shrunk": {}}', "lacks 'after'")],
)
def test_a_file_that_cannot_be_replayed(content, said, tmp_path):
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(UsageError, match=said):
        session.replay(tmp_path / "file.json")
    with pytest.raises(UsageError, match="cannot be read"):
        session.replay(tmp_path / "absent.json")


@pytest.mark.parametrize("options", [["--graphs", "0"], ["--seed", "-1"], ["--log", "absent/x"]])
def test_bad_usage_is_one_line(options, tmp_path):
    done = fuzz(*options, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
