"""The benchmark of other ranks and dtypes, on tiny networks.  Nothing is timed that is asserted."""

import json

import pytest
from tvm import relay

from bench import harness, world, world_networks
from bench.harness import run_main

TINY = {
    "line": lambda batch: world_networks.make_plain(1, 32, 8, relay.sigmoid, batch),
    "volume": lambda batch: world_networks.make_plain(3, 8, 4, relay.tanh, batch),
    "global": lambda batch: world_networks.make_global(8, 16, batch),
    "quantised": lambda batch: world_networks.make_quantised(8, 16, batch),
    "half": lambda batch: world_networks.make_mixed("float16", relay.sigmoid, 8, 8, batch),
    "brain": lambda batch: world_networks.make_mixed("bfloat16", relay.nn.relu, 8, 8, batch),
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(world, "NETWORKS", TINY)
    return tmp_path


def run(monkeypatch, results, *arguments) -> int:
    command = ["bench.world", "--threads", "2", "--repeat", "1", "--results", str(results)]
    monkeypatch.setattr("sys.argv", [*command, *arguments])
    return run_main(world.main)


@pytest.mark.full
def test_every_kind_of_network_is_exchanged_and_equal(results, monkeypatch, capsys):
    assert run(monkeypatch, results, "--decision", "exchange") == 0
    rows = json.loads((results / "world.json").read_text())["rows"]
    assert [row["network"] for row in rows] == list(TINY)
    for row in rows:
        assert row["bit_equal"] and len(row["time_ms"]["stock"]) == 1
        assert row["sites"][0]["status"] == "exchanged", row["network"]
    table = capsys.readouterr().out
    assert table.count("bit-equal") == len(TINY) and "exchange by option" in table


def test_rows_of_one_network_complete_the_table(results, monkeypatch):
    for name in ("quantised", "line"):
        assert run(monkeypatch, results, name) == 0
    rows = {row["network"]: row for row in json.loads((results / "world.json").read_text())["rows"]}
    assert set(rows) == {"quantised", "line"}
    assert "4 times the bytes of int8" in rows["quantised"]["decisions"][0]


def test_an_unknown_name_is_one_line(results, monkeypatch, capsys):
    assert run(monkeypatch, results, "nothing") == 2
    assert capsys.readouterr().err.startswith("error: network is 'nothing' but must be one of line")
    assert list(results.iterdir()) == []


@pytest.mark.parametrize("name", world_networks.NETWORKS)
def test_networks_are_typed(name):
    network = world_networks.NETWORKS[name](2)
    assert network.mod["main"].checked_type.ret_type.shape[0] == 2
    assert network.draw()["x"].shape == network.shape
