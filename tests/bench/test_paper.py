"""The paper's experiments, all of them, on a tiny network.  Nothing is said of times."""

import json
import sys

import numpy as np
import pytest
import tvm
from tvm import relay

from bench import harness, networks, paper, paper_gradients, paper_pictures
from bench.paper_builds import Setting, build
from bench.paper_graph import KernelGraph

TINY = "tiny_sigmoid"
TARGET = "llvm"
SIZES = ((1, 3, 12, 12), (8, 12), (16, 6))  # the input; channels and extent of the activations


def make_tiny(batch: int) -> networks.Network:
    """Two pooled blocks, and a dense layer with an activation that stands before no pool."""
    value = relay.var("data", shape=(batch, *SIZES[0][1:]))
    value = networks._pool(relay.sigmoid(networks._conv(value, "conv1", 8, 3)))
    value = networks._pool(relay.sigmoid(networks._conv(value, "conv2", 16, 3)))
    value = relay.sigmoid(networks._dense(relay.nn.batch_flatten(value), "fc", 10))
    return networks._finish(networks._function(value), "sigmoid")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, TINY, networks.Entry(make_tiny, 2))
    monkeypatch.setenv("TVM_NUM_THREADS", "2")  # put back after main has set it


@pytest.fixture
def setting():
    return Setting(TARGET, threads=1, iterations=2)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs main with arguments; gives its status and what it has written."""
    monkeypatch.setattr(harness, "RESULTS", tmp_path)

    def run(*arguments):
        command = ["bench/paper.py", *arguments, "--target", TARGET, "--results", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", [*command, "--iterations", "2"])
        status = harness.run_main(paper.main)
        path = tmp_path / "paper.json"
        return status, json.loads(path.read_text()) if path.exists() else None

    return run


def test_layers_and_forward_pass(run, capsys):
    status, document = run("tables", "totals", "--network", TINY)
    assert status == 0 and document["target"] == TARGET and document["seed"] == 0
    assert [row["layer"] for row in document["layers"]] == ["sigmoid1", "sigmoid2"]
    for row, (channels, extent) in zip(document["layers"], SIZES[1:], strict=True):
        assert np.prod(row["shape_before"]) == channels * extent**2
        assert np.prod(row["shape_after"]) == channels * (extent // 2) ** 2
        assert row["operator"] == "sigmoid" and row["theoretical"] == 4.0
        assert len(row["before_ms"]) == len(row["after_ms"]) == 2
    ways = {(row["fusing"], row["decision"]): row for row in document["totals"]}
    assert list(ways) == [("apart", "exchange"), ("fused", "exchange"), ("fused", "auto")]
    assert all(row["equal"] for row in ways.values())
    apart = ways["apart", "exchange"]["kernels"]
    assert apart["stock"] == apart["ours"] > ways["fused", "auto"]["kernels"]["stock"]
    shown = capsys.readouterr().out
    assert "| Table 1 | tiny_sigmoid | 1 | 1 | llvm | sigmoid2 |" in shown
    assert "mean of the layers" in shown and "bit-equal" in shown


def test_a_second_run_adds_to_the_document(run, setting):
    layer = {**setting.place("other", 2), "layer": "sigmoid1", "paper": [3.9, 4.0]}
    layer |= {"operator": "sigmoid", "shape_before": [4], "shape_after": [1], "theoretical": 4.0}
    layer |= {"before_ms": [4.0], "after_ms": [1.0]}
    layers = [layer, layer | {"network": TINY}]
    lists = {name: [] for name in paper.KEYS}
    harness.save_results("paper", lists | {"layers": layers}, [["none"]])
    status, document = run("batches", "--network", TINY, "--batch", "2")
    rows = [(row["network"], row["batch"], row["layer"]) for row in document["layers"]]
    assert rows == [("other", 2, "sigmoid1"), (TINY, 2, "sigmoid1"), (TINY, 2, "sigmoid2")]
    assert status == 0 and document["layers"][0] == layer
    assert document["layers"][1]["shape_before"][0] == 2


def test_every_batch_is_planned(setting):
    steps = list(paper.plan(["batches", "tables", "batches"], [TINY], None, setting))
    assert [name.rpartition(" ")[2] for name, *_ in steps] == ["1", "2", "4", "8", "16", "1"]
    (step,) = paper.plan(["totals"], [TINY], [4], setting)
    assert step[:2] == (f"forward pass of {TINY}, batch 4", "totals")


def test_pictures(run, monkeypatch):
    monkeypatch.setattr(paper_pictures, "REAL", 3)
    monkeypatch.setattr(paper_pictures, "RANDOM", 2)
    status, document = run("pictures", "--network", TINY)
    assert status == 0
    assert [(row["fusing"], row["decision"]) for row in document["pictures"]] == [
        ("apart", "exchange"),
        ("fused", "auto"),
    ]
    for row in document["pictures"]:
        assert (row["real"], row["random"], row["classes"]) == (3, 2, 10)
        assert row["identical"] == row["identical_bits"] == 5


def test_pictures_are_real_and_random_and_seeded():
    pictures = paper_pictures.draw_pictures((8, 10), seed=1)
    assert len(pictures) == 100
    assert {(picture.shape, str(picture.dtype)) for picture in pictures} == {
        ((1, 3, 8, 10), "float32")
    }
    assert len({picture.tobytes() for picture in pictures}) == 100
    again, other = (paper_pictures.draw_pictures((8, 10), seed) for seed in (1, 2))
    assert all((a == b).all() for a, b in zip(pictures, again, strict=True))
    assert not any((a == b).all() for a, b in zip(pictures, other, strict=True))


def test_without_scikit_learn_the_rest_goes_on(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    status, document = run("pictures", "operations", "--network", TINY)
    assert status == 2 and document["pictures"] == [] and len(document["operations"]) == 5
    assert "pip install scikit-learn pillow\n" in capsys.readouterr().err


def test_a_score_that_differs_is_counted():
    one, two = np.zeros((1, 3), "float32"), np.array([[0, 0, 1]], "float32")
    row = paper_pictures._compare([one, two, one], [one, one, -one])
    assert (row["identical"], row["identical_bits"]) == (2, 1)
    assert (row["classes"], row["winners"]) == (3, 2)


def test_operations(run):
    status, document = run("operations", "--network", TINY)
    rows = [(row["layer"], row["before"], row["after"]) for row in document["operations"]]
    first, second = 8 * 12 * 12, 16 * 6 * 6
    assert status == 0 and rows == [
        ("relu1", 28, 16),
        ("all", 28, 16),
        ("sigmoid1", first + first * 3 // 4, first // 4 + first * 3 // 4),
        ("sigmoid2", second + second * 3 // 4, second // 4 + second * 3 // 4),
        ("all", 10 + (first + second) * 7 // 4, 10 + first + second),
    ]
    assert document["operations"][0]["example"] and document["operations"][2]["network"] == TINY


def test_gradients(run, monkeypatch):
    names = ("custom_relu_exact", "custom_relu_ties")
    cases = {name: paper_gradients.CASES[name] for name in names}
    monkeypatch.setattr(paper_gradients, "CASES", cases)
    status, document = run("gradients")
    exact, ties = document["gradients"]
    assert status == 0 and exact["exchanged"] == ties["exchanged"] == 1
    assert exact["forward_equal"] and exact["gradients_equal"] and exact["moved"] > 0
    assert exact["values"] > 1000 and exact["moved_with_slope"] == exact["differing"] == 0
    assert ties["forward_equal"] and not ties["gradients_equal"]
    assert ties["moved_with_slope"] > 0 and "data" in ties["differing_in"]


def _is_kernel(expr) -> bool:
    return isinstance(expr, relay.Function) and "Primitive" in (expr.attrs or {})


def test_every_operator_has_a_kernel_of_its_own(setting):
    """Counted in the module behind TVM's own fusion, not in names."""
    network = make_tiny(1)
    with tvm.transform.PassContext(opt_level=3, config={"relay.FuseOps.max_depth": 1}):
        mod, _ = relay.optimize(network.mod, target=TARGET, params=network.params)
    kernels, inside = [], []
    relay.analysis.post_order_visit(mod["main"], kernels.append)
    kernels = [expr for expr in kernels if _is_kernel(expr)]
    for kernel in kernels:
        calls = []
        relay.analysis.post_order_visit(kernel.body, calls.append)
        inside.append(sum(isinstance(expr, relay.Call) for expr in calls))
    assert len(inside) > 12 and set(inside) == {1}


def test_a_fused_network_has_no_layers_to_time(setting):
    network = make_tiny(1)
    library = build(network, setting)
    with pytest.raises(RuntimeError, match="activation kernels are 0 but must be 3"):
        KernelGraph(library.get_graph_json(), network.mod)


def test_one_failure_does_not_cost_the_rest(run, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no memory\nat all")

    monkeypatch.setattr(paper, "measure_totals", fail)
    status, document = run("totals", "operations", "--network", TINY)
    assert status == 1 and document["totals"] == [] and len(document["operations"]) == 5
    assert f"forward pass of {TINY}, batch 1: no memory\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["tables", "--network", "vgg17"], "network is 'vgg17' but must be one of"),
        (["table"], "experiment is 'table' but must be one of tables, batches"),
        (["tables", "--batch", "0"], "'0' is given but must be a whole number from 1 up"),
        (["tables", "--iterations", "none"], "'none' is given but must be a whole number"),
        (["tables", "--network", "light_vgg19", "--batch", "2"], "batch of light_vgg19 is 2"),
        (["tables", "--network", "lenet", "--seed", "-1"], "seed"),
        (["pictures", "--network", "lenet"], "input of lenet is (1, 1, 32, 32) but must be"),
        (["operations", "--network", "tiny_yolo"], "exchanged layers are 5 but must be 6"),
        (["operations", "--target", "cuda"], "--target is 'cuda' but"),
    ],
)
def test_wrong_input_is_one_line(arguments, message, run, monkeypatch, capsys):
    if "--target" in arguments:
        monkeypatch.setattr(sys.modules[__name__], "TARGET", arguments[-1])
    status, _ = run(*arguments)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert status == 2 and message in said


def test_a_cut_document_is_left_as_it_is(run, tmp_path, capsys):
    path = tmp_path / "paper.json"
    path.write_text('{"machine"')
    with pytest.raises(json.JSONDecodeError):  # ours, reading what main has left
        run("operations", "--network", TINY)
    assert "is no whole result" in capsys.readouterr().err
    assert path.read_text() == '{"machine"'
