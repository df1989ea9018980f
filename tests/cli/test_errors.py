"""Each bad input: status 2, one line that names the thing, and no file left behind."""

import os

import numpy as np
import pytest
from onnx import TensorProto, helper

from tvm_reorder.cli import targets
from tvm_reorder.cli.errors import first_line

from ..models import save_graph, save_network


def test_model_that_is_none(fails, model, tmp_path):
    assert "'absent.onnx' does not exist" in fails("inspect", "absent.onnx")
    assert "is a folder" in fails("inspect", tmp_path)
    files = {"empty.onnx": b"", "text.onnx": b"hello\n", "cut.onnx": _first_half(model)}
    for name, content in {**files, "model.foo": b"?", "text.relay": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
    assert "is an empty file" in fails("inspect", tmp_path / "empty.onnx")
    assert "cannot be read as onnx" in fails("inspect", tmp_path / "text.onnx")
    assert "cannot be read as onnx" in fails("inspect", tmp_path / "cut.onnx")
    assert "suffix '.foo' but must have one of" in fails("inspect", tmp_path / "model.foo")
    assert "version information" in fails("inspect", tmp_path / "text.relay")


def _first_half(path: str) -> bytes:
    with open(path, "rb") as file:
        content = file.read()
    return content[: len(content) // 2]


def test_unsupported_operator(fails, tmp_path):
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
    node = helper.make_node("NoSuchOperator", ["data"], ["result"])
    graph = helper.make_graph([node], "network", [value("data")], [value("result")])
    assert "NoSuchOperator" in fails("inspect", save_graph(tmp_path / "unknown.onnx", graph))


def test_input_shapes(fails, model, tmp_path):
    path = save_network(tmp_path / "dynamic.onnx", batch="N")
    assert "input 'data'" in (line := fails("inspect", path)) and "(?, 3, 8, 8)" in line
    assert "data:[1,3,8,8]" in line
    assert "'other'" in fails("inspect", path, "--input-shapes", "other:[1,3,8,8]")
    assert "'rubbish'" in fails("inspect", path, "--input-shapes", "rubbish")
    assert "(?, 3, 8, 8)" in fails("inspect", model, "--input-shapes", "data:[-1,3,8,8]")
    assert "fixed" in fails("inspect", "custom", "--input-shapes", "data:[1,3,8,8]")
    line = fails("inspect", model, "--input-shapes", "data:[1,3,8]")
    assert "gives 'data' 3 sizes but" in line and "has 4 there" in line
    assert "must name inputs of" in fails("inspect", path, "--input-shapes", "other:[1,3,8,8]")


def test_relay_text_needs_its_inputs_named(fails, tmp_path):
    path = tmp_path / "model.relay"
    path.write_text('#[version = "0.0.5"]\ndef @main(%x: Tensor[(1, 4), float32]) { nn.relu(%x) }')
    assert "--input-shapes" in (line := fails("inspect", path)) and "'x'" in line
    assert "must name inputs" in fails("inspect", path, "--input-shapes", "y:[1,4]")


@pytest.mark.parametrize(
    "target, said",
    [
        ("nonsense", "'nonsense'"),
        ("", "it is empty"),
        ("llvm -no-such-option=1", "no-such-option"),
        ("llvm -mcpu=nonsense", "processor 'nonsense'"),
        ("llvm -mtriple=nonsense", "triple 'nonsense'"),
        ("reorder, llvm", "must be"),
    ],
)
def test_target(fails, model, target, said):
    assert said in fails("inspect", model, "--target", target)


def test_target_that_cannot_run_here_or_be_built(fails, model, tmp_path):
    assert "cuda or llvm target" in fails("compare", model, "--target", "c")
    for arguments in (["compare", model], ["tune-sites", model, "-o", tmp_path / "sites.jsonl"]):
        assert "no CUDA GPU that TVM can use" in fails(*arguments, "--target", "cuda")
    assert "must name its architecture" in fails("inspect", model, "--target", "cuda")
    out = tmp_path / "out.tar"
    assert "built with" in fails("compile", model, "-o", out, "--target", "cuda -arch=sm_80")
    assert not out.exists()


def test_inputs(fails, model, tmp_path):
    def saved(**arrays):
        np.savez(tmp_path / "inputs.npz", **arrays)
        return tmp_path / "inputs.npz"

    right = np.zeros((1, 3, 8, 8), "float32")
    run = lambda path: fails("compare", model, "--inputs", path)
    assert "'other'" in run(saved(other=right))
    assert "lacks 'data'" in run(saved())
    assert "(1, 3, 4, 4) but must have (1, 3, 8, 8)" in run(saved(data=right[..., :4, :4]))
    assert "float64 but must have float32" in run(saved(data=right.astype("float64")))
    (tmp_path / "text.npz").write_text("hello")
    assert "cannot be read" in run(tmp_path / "text.npz")
    assert "does not exist" in run(tmp_path / "absent.npz")


def test_outputs_are_checked_before_the_work(fails, model, tmp_path, monkeypatch):
    from tvm_reorder.cli import models

    monkeypatch.setattr(models, "load_model", lambda *_: pytest.fail("the work has begun"))
    assert "must exist" in fails("compile", model, "-o", tmp_path / "absent" / "out.tar")
    assert "is a folder" in fails("compile", model, "-o", tmp_path)
    assert "must exist" in fails("inspect", model, "--json", tmp_path / "absent" / "x.json")
    assert "is a folder" in fails("compare", model, "--json", tmp_path)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["inspect", "m", "--licence", "bitwise"], "licence is 'bitwise' but must be"),
        (["inspect", "m", "--licence", "nonsense"], "licence is 'nonsense' but must be"),
        (["compare", "m", "--repeat", "0"], "--repeat: '0'"),
        (["compare", "m", "--threads", "0"], "--threads: '0'"),
        (["compare", "m", "--threads", "99999"], "the cores there are"),
        (["compare", "m", "--seed", "-1"], "--seed"),
        (["inspect", "m", "--opt-level", "9"], "--opt-level"),
        (["inspect"], "MODEL"),
        (["nonsense"], "'nonsense'"),
        ([], "COMMAND"),
    ],
)
def test_usage(fails, arguments, said):
    assert said in fails(*arguments)


def test_first_line_of_a_tvm_error():
    backtrace = 'Traceback (most recent call last):\n  1: a\n  File "x.cc", line 1\n'
    assert first_line(RuntimeError(f"{backtrace}ValueError: wrong\nmore")) == "wrong"
    assert first_line(RuntimeError("")) == "RuntimeError"


@pytest.mark.parametrize("name", ["compare", "bisect"])
def test_code_that_this_processor_cannot_run(fails, model, monkeypatch, name):
    """It would end the process, without a line."""
    monkeypatch.setattr(targets, "_read_flags", lambda: {"sse4_1", "sse4_2", "avx"})
    line = fails(name, model, "--target", "llvm -mcpu=x86-64-v3")
    assert "'llvm -mcpu=x86-64-v3'" in line and "lacks avx2, bmi, bmi2" in line
    line = fails(name, model, "--target", "llvm -mattr=+avx512f")
    assert "avx512f" in line


@pytest.mark.parametrize("features", ["avx2", "+avx2,fma", "+", "+avx2,,-fma"])
def test_features_without_a_sign(fails, model, features):
    """LLVM would end the process."""
    assert "-mattr must be like" in fails("inspect", model, "--target", f"llvm -mattr={features}")


@pytest.mark.parametrize("count", ["abc", "0", "-3", "9999999"])
def test_threads_of_the_environment(fails, model, monkeypatch, count):
    monkeypatch.setenv("TVM_NUM_THREADS", count)
    line = fails("inspect", model)
    assert f"TVM_NUM_THREADS is '{count}' but must be" in line


def test_paths_that_are_no_models(fails, tmp_path):
    assert "'' does not exist" in fails("inspect", "")
    assert "is no regular file" in fails("inspect", os.devnull)
    assert "cannot be read" in fails("inspect", "x" * 300)
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be read" in fails("inspect", tmp_path / "loop")


def test_a_result_does_not_take_the_place_of_a_model(fails, model, tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(open(model, "rb").read())
    assert "exists and is no JSON" in fails("inspect", model, "--json", other)
    assert other.read_bytes() == open(model, "rb").read()
    assert "is empty but must be a file's name" in fails("compile", model, "-o", "")
    if os.path.isdir("/proc/self"):  # even root writes nothing there
        assert "must be writable, and isn't" in fails("compile", model, "-o", "/proc/x.tar")
