"""The table of functions: what it says of one of each kind."""

import json

import pytest
import tvm

from bench import directions, harness
from bench.harness import run_main

TARGET = tvm.target.Target("llvm -mcpu=skylake-avx512")


@pytest.mark.parametrize(
    "name, direction, certificate, licence",
    [
        ("relu", "rising", "0 ulp", "equal"),
        ("clip", "-", "by proof", "equal"),
        ("softsign", "rising", "2 ulp", "ulp:2"),
        ("silu", "valley", "2 ulp", "ulp:2"),
        ("asin", "-", "none", "ulp:any"),
        ("sin", "-", "none", "refused"),
    ],
)
def test_a_row(name, direction, certificate, licence):
    row = directions.describe(name, TARGET)
    assert list(row.values())[:4] == [name, direction, certificate, licence]
    assert (
        row["decision"] == "not-monotone"
        if licence == "refused"
        else " by model" in row["decision"]
    )


def test_the_table_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(directions, "MAKERS", {"relu": None})
    monkeypatch.setattr("sys.argv", ["bench.directions", "--results", str(tmp_path)])
    assert run_main(directions.main) == 0
    assert json.loads((tmp_path / "directions.json").read_text())["rows"][0]["function"] == "relu"
    assert "| relu | rising |" in capsys.readouterr().out


def test_an_unknown_target_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench.directions", "--target", "nothing"])
    assert run_main(directions.main) == 2
    assert capsys.readouterr().err.count("\n") == 1
