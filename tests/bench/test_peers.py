"""The comparison with peers: ONNX files, workers, what is said of them.  Nothing is timed."""

import importlib.util
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relay

from bench import harness, networks, peer_environments, peers
from bench.peer_contestants import CONTESTANTS, Contestant, Job, Loaded
from bench.peer_environments import PeerError, find_python
from bench.peer_process import WorkerProcess
from bench.peer_table import best_of, compare_all, say_restless, tabulate
from bench.peer_worker import serve
from bench.to_onnx import to_onnx

# Doubles its input; ends at once when asked to load a model called "fatal".
FAKE = """
import os, sys
import numpy as np
from bench.peer_contestants import Contestant, Loaded
from bench.peer_worker import serve, take_stdout

def load(job):
    if job.model == "fatal":
        os.write(2, b"no such model\\n")
        os._exit(3)
    data = np.load(job.data)
    print("libraries talk")
    return Loaded(lambda: 2 * data, lambda output: output)

serve(Contestant(load, ("numpy",)), sys.stdin, take_stdout())
"""


def make_tiny() -> networks.Network:
    data = relay.var("data", shape=(1, 4, 10, 10))
    value = relay.nn.relu(networks._conv(data, "conv", 8, 3))
    value = relay.nn.batch_flatten(networks._pool(value))
    return networks._finish(networks._function(networks._dense(value, "fc", 5)), "relu")


def make_branched() -> networks.Network:
    """All the operators that `make_tiny` lacks."""
    from tvm.relay.testing import layers

    data = relay.var("data", shape=(1, 4, 9, 9))
    left = layers.batch_norm_infer(data, name="bn", epsilon=1e-3, scale=False)
    right = relay.sigmoid(relay.nn.leaky_relu(relay.tanh(data), alpha=0.1))
    value = relay.nn.max_pool2d(left + right, (2, 2), strides=(1, 1), padding=(0, 0, 1, 1))
    value = relay.nn.dropout(relay.nn.global_avg_pool2d(value))
    return networks._finish(networks._function(value), "relu")


def run(mod, params, inputs) -> np.ndarray:
    with tvm.transform.PassContext(opt_level=3):
        executor = relay.create_executor("graph", mod, target="llvm")
        return executor.evaluate()(**inputs, **params).numpy()


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "data.npy", np.ones((2, 3), "float32"))
    (tmp_path / "fake.py").write_text(FAKE)
    return tmp_path


@pytest.fixture
def start(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(peers.__file__).parent.parent))
    command = [sys.executable, str(folder / "fake.py")]
    return lambda: WorkerProcess("fake", command, folder, threads=1)


@pytest.mark.parametrize("make", [make_tiny, make_branched])
def test_onnx_gives_the_same_answer(make):
    network = make()
    inputs = networks.draw_inputs(network)
    mod, params = relay.frontend.from_onnx(to_onnx(network), freeze_params=True)
    expected = run(network.mod, network.params, inputs)
    np.testing.assert_allclose(run(mod, params, inputs), expected, rtol=1e-5, atol=1e-6)


def test_biases_are_inputs_of_their_layers():
    ops = [node.op_type for node in to_onnx(make_tiny()).graph.node]
    assert ops == ["Conv", "Relu", "MaxPool", "Flatten", "Gemm"]


def test_every_quick_network_has_an_onnx_file(monkeypatch):
    monkeypatch.setattr(networks, "_draw_weights", lambda params, gain: {})
    for name in networks.NETWORKS:
        if not name.startswith("light_"):
            assert to_onnx(networks.load_network(name)).graph.node, name


def test_an_operator_without_counterpart():
    data = relay.var("data", shape=(1, 4))
    network = networks._finish(networks._function(relay.exp(data)), "relu")
    with pytest.raises(ValueError, match="operator exp has no counterpart in ONNX"):
        to_onnx(network)


def test_a_worker_loads_runs_and_saves(start, folder):
    with start() as worker:
        reply = worker.load(model="", data=str(folder / "data.npy"), threads=1)
        assert reply["versions"] == {"numpy": np.__version__} and reply["load_s"] >= 0
        assert (worker.output() == 2).all()
        assert all(worker.milliseconds(2) >= 0 for _ in range(2))
        assert worker.idle_load() is None or worker.idle_load() >= 0


def test_a_worker_that_ends_leaves_its_last_words(start):
    with start() as worker, pytest.raises(PeerError, match="^fake: ended with 3: no such model$"):
        worker.load(model="fatal", data="", threads=1)


def test_a_failure_is_one_line_and_the_worker_goes_on():
    def load(job):
        raise RuntimeError("first\nsecond")

    requests = ['{"do": "run", "number": 1}', '{"do": "dance"}']
    requests.append('{"do": "load", "model": "", "data": "", "threads": 1}')
    replies = StringIO()
    serve(Contestant(load, ()), requests, replies)
    assert [json.loads(line)["error"] for line in replies.getvalue().splitlines()] == [
        "ValueError: run before load",
        "ValueError: do is 'dance' but must be one of load, run, save",
        "RuntimeError: first second",
    ]


def test_a_missing_peer_is_one_line_and_the_rest_goes_on(tmp_path, monkeypatch):
    def refuse(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "hint\nERROR: no match\nmore\n")

    monkeypatch.setattr(peer_environments.subprocess, "run", refuse)
    (tmp_path / "ort" / "bin").mkdir(parents=True)
    (tmp_path / "ort" / "bin" / "python").touch()
    (tmp_path / "ort" / "installed").write_text("onnxruntime")
    commands, failed = peers.find_peers(["torch", "ort"], tmp_path)
    assert list(commands) == ["ort"]
    assert failed == ["torch: not installed: ERROR: no match"]


def test_half_an_installation_is_made_anew(tmp_path, monkeypatch):
    calls = []

    def install(command, **options):
        calls.append(command[1:3])
        (tmp_path / "ort" / "bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "ort" / "bin" / "python").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(peer_environments.subprocess, "run", install)
    (tmp_path / "ort" / "bin").mkdir(parents=True)
    (tmp_path / "ort" / "bin" / "python").touch()
    for _ in range(2):
        assert find_python("ort", tmp_path) == tmp_path / "ort" / "bin" / "python"
    assert calls == [["-m", "venv"], ["-m", "pip"]]


def test_measure_and_tabulate(folder, start, monkeypatch):
    """Fakes in place of all contestants but ours, in this process."""
    network = make_tiny()
    contestants = {"peer": "stock", "absent": None, "stock": "stock", "ours": "ours"}

    class Inside:
        def __init__(self, name, command, folder, threads):
            self.name, self._contestant = name, contestants[name]

        def load(self, **job):
            if self._contestant is None:
                raise PeerError(f"{self.name}: no wheel")
            self._loaded = CONTESTANTS[self._contestant].load(Job(**job))
            return {"versions": {"tvm": "0.19"}, "settings": self._loaded.settings}

        def output(self):
            return self._loaded.read(self._loaded.run())

        def milliseconds(self, number):
            return {"peer": 30.0, "stock": 20.0, "ours": 10.0}[self.name]

        idle_load = lambda self: 0.0
        __enter__ = lambda self: self
        close = __exit__ = lambda self, *_: None

    monkeypatch.setattr(peers, "WorkerProcess", Inside)
    row, failed = peers.measure(network, {"peer": [], "absent": []}, threads=1, repeat=2)
    assert failed == ["absent: no wheel"]
    assert row["best_peer"] == "peer" and len(row["differences"]) == 3
    assert row["contestants"]["ours"]["settings"]["actions"]
    table = tabulate([{"network": "tiny", "batch": 1, "threads": 1, **row}])
    assert [line[3] for line in table[1:]] == ["peer", "stock", "ours"]
    assert table[3][6] == "3.000 (3.000-3.000)"
    assert "stock" in table[1][8]


def test_differences_and_the_best():
    outputs = {"a": np.array([1.0, -2.0], "float32"), "b": np.array([1.0, -1.5], "float32")}
    (difference,) = compare_all(outputs)
    assert difference["pair"] == ["a", "b"]
    assert (difference["absolute"], difference["relative"]) == (0.5, 0.25)
    outputs["b"] = outputs["b"][:1]
    assert compare_all(outputs)[0]["absolute"] is None
    assert best_of({"a": [3.0], "b": [2.0], "ours": [1.0]}, ["a", "b", "absent"]) == "b"
    assert best_of({"ours": [1.0]}, []) is None


def test_who_does_not_rest_is_named():
    contestants = {"a": {"idle_load": 0.01}, "b": {"idle_load": 1.5}, "c": {"idle_load": None}}
    assert say_restless(contestants) == ["b: kept 1.50 processors busy between its turns"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["no_such_network"], "but must be one of"),
        (["light_vgg19"], "network is 'light_vgg19' but must be one of"),
        (["lenet", "--peers", "ort,abacus"], "peer is 'abacus' but must be one of ort"),
        (["lenet", "--repeat", "0"], "repeat is 0 but must be at least 1"),
        (["lenet", "--tuned-log", "nowhere.log"], "tuned log nowhere.log is not a file"),
    ],
)
def test_wrong_options(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["peers", *arguments])
    with pytest.raises(SystemExit):
        peers.main()
    assert message in capsys.readouterr().err


def test_main_writes_the_table(tmp_path, monkeypatch, capsys):
    times = {"versions": {"tvm": "0.19"}, "idle_load": 0.0, "time_ms": [2.0]}
    row = {"contestants": {"ours": times}, "differences": [], "best_peer": None}
    monkeypatch.setattr(sys, "argv", ["peers", "lenet", "--peers", "ort"])
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(peers, "find_peers", lambda *_: ({}, ["ort: not installed: no way"]))
    monkeypatch.setattr(peers, "measure", lambda *_: (row, []))
    assert peers.main() == 1
    shown = capsys.readouterr()
    assert (
        shown.err == "ort: not installed: no way\n" and "| ours | tvm 0.19 | 2.000 |" in shown.out
    )
    (saved,) = json.loads((tmp_path / "peers.json").read_text())["rows"]
    assert saved["missing"] == ["ort"] and saved["network"] == "lenet"


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="no PyTorch here")
@pytest.mark.parametrize("make", [make_tiny, make_branched])
def test_pytorch_gives_the_same_answer(make, tmp_path):
    import onnx
    import torch

    from bench.peer_torch import OnnxModule

    network = make()
    inputs = networks.draw_inputs(network)
    onnx.save(to_onnx(network), tmp_path / "model.onnx")
    with torch.no_grad():
        output = OnnxModule(str(tmp_path / "model.onnx"))(torch.from_numpy(inputs["data"]))
    expected = run(network.mod, network.params, inputs)
    np.testing.assert_allclose(output.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_loaded_needs_no_settings():
    assert Loaded(lambda: None, lambda _: None).settings == {}
