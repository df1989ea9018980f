"""``tvm-reorder certify``: what it prints and keeps, and each way in which it cannot work."""

import json

import pytest

from tvm_reorder.certify import store
from tvm_reorder.certify.certifier import make_key
from tvm_reorder.certify.functions import build_function
from tvm_reorder.cli.main import main
from tvm_reorder.core.certificates import Certificate

from ..certify.functions import PLAIN
from ..models import save_network

HALF = ["--dtype", "float16", "--target", "llvm"]


@pytest.fixture(autouse=True)
def own(monkeypatch, tmp_path):
    monkeypatch.setenv(store.FOLDER_VARIABLE, str(tmp_path / "own"))
    monkeypatch.setattr(store, "_read_shipped", lambda: {})
    return tmp_path / "own"


def test_a_table_a_cache_and_a_list(own, tmp_path, capsys):
    path = tmp_path / "list.json"
    arguments = ["certify", "relu", "softsign", "leaky_relu:0.2", *HALF]
    assert main([*arguments, "--json", str(path)]) == 0
    said = capsys.readouterr().out
    assert "nn.relu(x)" in said and "rising" in said and "2,026" in said
    found = [Certificate.from_dict(data) for data in json.loads(path.read_text())]
    assert [f.worst_ulp for f in found] == [0, 2, 0] and found[2].constants == ((0.2).hex(),)
    assert sorted(own.iterdir()) == sorted(store.user_path(f.key) for f in found)
    assert main(arguments) == 0
    assert "known already" in capsys.readouterr().out


def test_force_walks_again(own, capsys):
    key = make_key(build_function("relu", "float16"), PLAIN)
    assert main(["certify", "relu", *HALF]) == 0
    path = store.user_path(key)
    path.write_text("edited")
    assert main(["certify", "relu", *HALF, "--force"]) == 0
    assert store.read_certificate(path, key).steps == 0


def test_an_edited_certificate_is_named_in_one_line(own, tmp_path, capsys):
    model = save_network(tmp_path / "sigmoid.onnx", ("Sigmoid",))
    path = store.user_path(make_key(build_function("sigmoid", "float32"), PLAIN))
    path.parent.mkdir()
    path.write_text('{"schema": 2}')
    assert main(["compare", str(model), "--target", "llvm", "--repeat", "1"]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"tvm-reorder: note: the certificate {path} has been changed")
    assert said.endswith("it is not used")


def test_fast_math_is_certified_at_level_four(capsys):
    assert main(["certify", "tanh", "--dtype", "float16", "--opt-level", "4", "--json", "-"]) == 0
    (data,) = json.loads(capsys.readouterr().out)
    assert (data["op"], data["opt_level"]) == ("fast_tanh(x)", 4)


def test_bad_input(fails, model, tmp_path):
    assert "'nonsense' but must be one of relu, leaky_relu" in fails("certify", "nonsense")
    assert "'float64' but must be one of float32" in fails("certify", "relu", "--dtype", "float64")
    assert "'relu:1' but must be like 'relu'" in fails("certify", "relu:1")
    assert "LOW must not exceed HIGH" in fails("certify", "clip:6:0")
    assert "'x' but must be a finite number" in fails("certify", "leaky_relu:x")
    assert "opt_level is 0 but must be 1 or more" in fails("certify", "gelu", "-O", "0")
    assert "--skip is given but must go with --model" in fails("certify", "relu", "--skip", "x")
    unknown = fails("certify", "--model", model, "--only", "x")
    assert "--only names 'x' but must name a max pool: '" in unknown
    assert "nothing is given" in fails("certify")
    assert "cuda or llvm target" in fails("certify", "relu", "--target", "c")
    assert "must exist" in fails("certify", "relu", "--json", tmp_path / "absent" / "x.json")
    arm = "llvm -mtriple=aarch64-linux-gnu"
    assert "this machine" in fails("certify", "relu", "--target", arm)
    assert "'absent.onnx' does not exist" in fails("certify", "--model", "absent.onnx")


def test_a_model_without_candidates(fails, tmp_path):
    path = save_network(tmp_path / "relu.onnx", ("Relu",))
    assert "has no function above a max pool to certify" in fails("certify", "--model", path)
    path = save_network(tmp_path / "sigmoid.onnx", ("Sigmoid",))
    assert "has no function" in fails("certify", "--model", path, "--skip", "max_pool2d")
    path = save_network(tmp_path / "average.onnx", ("Sigmoid",), pool="AveragePool")
    assert "has no function above a max pool to certify" in fails("certify", "--model", path)


def test_an_interrupted_sweep_is_kept_and_goes_on(own, fails, monkeypatch, capsys):
    from tvm_reorder.certify import certifier, sweep
    from tvm_reorder.cli import steps

    monkeypatch.setattr(sweep, "BLOCK", 4096)
    monkeypatch.setattr(certifier, "CHUNK", 1024)
    advance, done = steps.Steps.advance, []

    def interrupt(self):
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(steps.Steps, "advance", interrupt)
    line = fails("certify", "relu", "--dtype", "float16")
    assert "interrupted: 0 of 1 functions are certified" in line and "goes on from there" in line
    assert [path.suffix for path in own.iterdir()] == [".part"]
    kept = len(json.loads(next(own.iterdir()).read_text())["blocks"])
    done.extend([1] * 10)
    before = len(done)
    assert main(["certify", "relu", "--dtype", "float16"]) == 0
    assert len(done) - before == 16 - kept
    assert [path.suffix for path in own.iterdir()] == [".json"]
