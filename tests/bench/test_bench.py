"""The benchmarks' own parts: networks, merged results, ratios, the peak.  Nothing is timed."""

import json

import pytest
import tvm
from tvm import relay

from bench import harness, networks
from bench.harness import merge_rows, read_rows, write_results
from bench.peak import measure_peak
from bench.ratio import Ratio

KEY = ("network", "batch")
QUICK = [name for name in networks.NETWORKS if not name.startswith("light_")]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    return tmp_path


def count_max_pools(mod) -> int:
    found = []
    relay.analysis.post_order_visit(mod["main"], found.append)
    pool = relay.op.get("nn.max_pool2d")
    return sum(isinstance(expr, relay.Call) and expr.op == pool for expr in found)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", QUICK)
def test_networks_are_typed_and_pooled(name, batch, monkeypatch):
    monkeypatch.setattr(networks, "_draw_weights", lambda params, gain: {})  # VGG's take seconds
    network = networks.load_network(name, batch)
    assert count_max_pools(network.mod) == networks.NETWORKS[name].max_pools
    assert [shape[0] for shape in network.inputs.values()] == [batch]
    assert network.mod["main"].checked_type.ret_type.shape[0] == batch


def test_light_network():
    network = networks.load_network("light_squeezenet")
    assert count_max_pools(network.mod) == networks.NETWORKS["light_squeezenet"].max_pools
    assert network.mod["main"].checked_type.ret_type.shape[0] == 1


def test_every_light_network_is_listed():
    listed = [name for name in networks.NETWORKS if name.startswith("light_")]
    assert listed == list(harness.light_networks())


@pytest.mark.parametrize("name, batch", [("light_squeezenet", 8), ("no_such_network", 1)])
def test_what_there_is_not(name, batch):
    with pytest.raises(ValueError, match="but must be"):
        networks.load_network(name, batch)


def test_all_networks_are_those_of_the_batch():
    assert networks.choose_networks([], 1) == list(networks.NETWORKS)
    assert networks.choose_networks([], 8) == QUICK


def test_weights_keep_their_seed_and_variances_are_positive():
    first, second = (networks.load_network("tiny_yolo").params for _ in range(2))
    assert all((first[name].numpy() == second[name].numpy()).all() for name in first)
    assert first["conv0_bn_moving_var"].numpy().min() > 0


def test_sigmoid_swaps_every_relu(monkeypatch):
    monkeypatch.setattr(networks, "_draw_weights", lambda params, gain: {})
    text = networks.load_network("vgg16_sigmoid").mod.astext(show_meta_data=False)
    assert "nn.relu" not in text and text.count("sigmoid(") == 15


def test_a_new_row_replaces_its_older_one():
    old = [{"network": "a", "batch": 1, "ms": 1}, {"network": "b", "batch": 1, "ms": 2}]
    new = [{"network": "a", "batch": 1, "ms": 3}, {"network": "a", "batch": 8, "ms": 4}]
    assert [row["ms"] for row in merge_rows(old, new, KEY)] == [3, 2, 4]


def test_runs_over_subsets_complete_one_table(results, capsys):
    assert read_rows("table") == []
    for name in ("a", "b"):
        rows = merge_rows(read_rows("table"), [{"network": name, "batch": 1}], KEY)
        table = [["network"], *([row["network"]] for row in rows)]
        write_results("table", {"rows": rows}, table, peak=117.0)
    document = json.loads((results / "table.json").read_text())
    assert [row["network"] for row in document["rows"]] == ["a", "b"]
    assert document["machine"]["peak_gflops"] == 117.0
    assert "| b |" in (results / "table.md").read_text()
    assert "| a |" in capsys.readouterr().out
    assert sorted(path.name for path in results.iterdir()) == ["table.json", "table.md"]


def test_ratio_pairs_the_rounds():
    ratio = Ratio.of([2.0, 4.0, 6.0], [1.0, 2.0, 2.0])
    assert (ratio.median, ratio.lower, ratio.upper) == (2.0, 2.0, 2.5)
    assert str(Ratio.of([3.0], [2.0])) == "1.500 (1.500-1.500)"


def test_peak_is_a_speed():
    assert 0 < measure_peak(1) < float("inf")


def test_peak_of_more_threads_than_there_are():
    with pytest.raises(ValueError, match="threads is 1000"):
        measure_peak(1000)


def test_share_of_the_saving():
    from bench.sites import ideal_ms

    row = {"multiply_adds": 10**9, "evaluations_ns": 4e6, "threads": 2}
    assert ideal_ms(row, peak=200.0) == 10.0 + 2.0
    assert ideal_ms({"multiply_adds": None}, peak=200.0) is None


def test_networks_need_no_tuned_log():
    with harness.schedules_of(None):
        assert isinstance(tvm.autotvm.DispatchContext.current, tvm.autotvm.FallbackContext)
