"""``tvm-reorder inspect``."""

import json

from tvm_reorder.cli.main import main

from ..models import save_network


def test_table_names_chain_window_verdict(model, capsys):
    assert main(["inspect", model]) == 0
    out = capsys.readouterr().out
    assert "sigmoid" in out and "2x2/2x2 on 8x8 -> 4x4" in out and "512 -> 128" in out
    assert "1 max pool: 1 fusable" in out


def test_average_pools_are_listed_apart(tmp_path, capsys):
    path = save_network(tmp_path / "average.onnx", pool="AveragePool")
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "no max pool" in out and "other pools" in out and "avg_pool2d" in out


def test_json_to_standard_output_comes_alone(model, capsys):
    assert main(["inspect", model, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sites"][0]["status"] == "fusable"
    assert found["other_pools"] == []


def test_json_to_a_file(model, tmp_path, capsys):
    path = tmp_path / "report.json"
    assert main(["inspect", model, "--json", str(path)]) == 0
    assert json.loads(path.read_text())["model"] == model
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]
    assert "1 max pool: " in capsys.readouterr().out


def test_dynamic_shape_with_input_shapes(tmp_path, capsys):
    path = save_network(tmp_path / "dynamic.onnx", batch="N")
    assert main(["inspect", str(path), "--input-shapes", "data:[1,3,8,8]"]) == 0


def test_builtin_custom(capsys):
    assert main(["inspect", "custom"]) == 0
    assert "6,422,528 -> 1,605,632" in capsys.readouterr().out
