"""Every command says of every pool what `relay.build` does there, on every model of the tests."""

import json

import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.cli.main import main
from tvm_reorder.cli.models import load_model

from ..models import save_graph
from ..onnx_graphs import CONV, GRAPHS, POOL, SAME, make_graph
from ..relay.networks import channels_first, constant, conv2d, conv_net, image, max_pool, module
from ..relay.quantised_networks import (
    Quantisation,
    fake_quantised_net,
    globally_quantised_net,
    quantised_net,
)
from ..relay.test_light_networks import FOLDER, NETWORKS

SCALES = channels_first([0.5, 2, -1, 3])


def batch_norm(value):
    ones = constant([1, 2, 0.5, 1])
    return relay.nn.relu(relay.nn.batch_norm(value, ones, ones, ones, ones)[0])


MODULES = {
    "bias_add": lambda: conv_net(
        lambda x: relay.nn.relu(relay.nn.bias_add(x, constant([1.0] * 4)))
    ),
    "batch norm": lambda: conv_net(batch_norm),
    "scales of both signs": lambda: conv_net(lambda x: relay.tanh(x) * SCALES),
    "gelu": lambda: conv_net(lambda x: x * (relay.erf(x * relay.const(0.7)) + relay.const(1.0))),
    "nhwc": lambda: module(
        max_pool(relay.sigmoid(conv2d(image(layout="NHWC"), layout="NHWC")), layout="NHWC")
    ),
    "bare": lambda: module(max_pool(conv2d(image()))),
    "explicit padding": lambda: conv_net(
        lambda x: relay.nn.pad(relay.nn.relu(x), [[0, 0]] * 2 + [[1, 1]] * 2, 0.0)
    ),
    "global max": lambda: module(relay.max(relay.sigmoid(conv2d(image())), axis=[2, 3])),
    "quantised": quantised_net,
    "quantised by channel": lambda: quantised_net(Quantisation(per_channel=True, pool=3)),
    "fake quantised": fake_quantised_net,
    "fake quantised, sigmoid": lambda: fake_quantised_net(relay.sigmoid, quantises_first=True),
    "globally quantised": globally_quantised_net,
}
# What `inspect` calls what a build does.
DONE = {"exchangeable": "exchanged", "fusable": "fused"}


def verdicts(document: dict) -> list[dict]:
    """Each pool's verdict as a build words it."""
    pools = document["sites"] + document["other_pools"]
    return [{**pool, "status": DONE.get(pool["status"], pool["status"])} for pool in pools]


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Runs a command on a model and gives its JSON; nothing is timed."""
    from tvm_reorder.core.decision import Action
    from tvm_reorder.relay import measure_sites

    times = dict.fromkeys(Action, [1.0])
    monkeypatch.setattr(measure_sites, "measure_site", lambda *_: times)

    def run(command: str, *arguments: str) -> dict:
        path = tmp_path / f"{command}.json"
        assert main([command, *arguments, "--json", str(path)]) in (0, 1)
        return json.loads(path.read_text())

    return run


def check_agreement(ask, tmp_path, model: list[str], target="llvm -mcpu=core-avx2", level=3):
    """Ask every command; `model` is the model's part of the command line."""
    build = [*model, "--target", target, "--opt-level", str(level)]
    compared = ask("compare", *build, "--repeat", "1")
    expected = verdicts(compared)
    assert verdicts(ask("inspect", *build)) == expected

    shapes = model[2] if len(model) > 1 else None
    loaded = load_model(model[0], shapes)
    with tvm.transform.PassContext(opt_level=level):
        _, report = tvm_reorder.reorder(loaded.mod, loaded.params, target=target)
        assert verdicts(report.as_dict()) == expected
        with tvm_reorder.enabled() as report:
            relay.build(loaded.mod, target, params=loaded.params)
        assert verdicts(report.as_dict()) == expected
    if level == 3:  # that of records
        tuned = ask("tune-sites", *model, "--target", target, "-o", str(tmp_path / "sites.jsonl"))
        names = [name for site in tuned["sites"] for name in site["names"]]
        decided = [site["name"] for site in compared["sites"] if site["decision"]]
        assert sorted(names) == sorted(decided)
    return expected


@pytest.mark.parametrize("name", GRAPHS)
def test_onnx_graphs(name, ask, tmp_path):
    path = save_graph(tmp_path / "model.onnx", GRAPHS[name])
    check_agreement(ask, tmp_path, [str(path)])


@pytest.mark.parametrize("name", MODULES)
def test_relay_modules(name, ask, tmp_path):
    check_agreement(ask, tmp_path, save_text(tmp_path, MODULES[name]()))


@pytest.mark.full
@pytest.mark.parametrize("level", [1, 2, 4])
@pytest.mark.parametrize("name", GRAPHS)
def test_other_levels(name, level, ask, tmp_path):
    path = save_graph(tmp_path / "model.onnx", GRAPHS[name])
    check_agreement(ask, tmp_path, [str(path)], level=level)


@pytest.mark.full
@pytest.mark.parametrize("name", NETWORKS)
def test_light_networks(name, ask, tmp_path):
    check_agreement(ask, tmp_path, [str(FOLDER / f"light_{name}.onnx")])


def save_text(folder, mod) -> list[str]:
    """A module as Relay text, and the options that name its inputs."""
    path = folder / "model.relay"
    path.write_text(mod.astext(show_meta_data=True))
    shapes = (
        f"{param.name_hint}:[{','.join(map(str, param.checked_type.shape))}]"
        for param in mod["main"].params
    )
    return [str(path), "--input-shapes", " ".join(shapes)]


def test_names_outlive_the_merging_of_equal_pools(ask, tmp_path):
    """TVM merges the two; the others keep their names, and the two that of the first."""
    graph = make_graph(
        CONV,
        ("Relu", "c", "r"),
        ("MaxPool", "r", "p", {**POOL, "name": "left"}),
        ("MaxPool", "r", "q", {**POOL, "name": "right"}),
        ("Add", "p q", "s"),
        ("Conv", "s v", "d", SAME),
        ("Tanh", "d", "t"),
        ("MaxPool", "t", "y", {**POOL, "name": "last"}),
    )
    path = str(save_graph(tmp_path / "model.onnx", graph))
    verdicts = check_agreement(ask, tmp_path, [path])
    assert [verdict["name"] for verdict in verdicts] == ["left", "last"]
    kept = ask("inspect", path, "--skip", "max_pool2d_3")["sites"][1]["decision"]
    assert kept["basis"] == "selection"  # by its number in the model, not behind the merging


def test_a_quantised_convolution_is_exchanged_and_certified(ask, tmp_path, capsys):
    """QNN's operators are lowered before the pass sees them."""
    path = str(save_graph(tmp_path / "model.onnx", GRAPHS["quantised convolution"]))
    (verdict,) = check_agreement(ask, tmp_path, [path])
    assert verdict["status"] == "exchanged" and "sigmoid" in verdict["chain"]
    capsys.readouterr()
    assert main(["certify", "--model", path, "--target", "llvm", "--json", "-"]) == 0
    assert "sigmoid(x)" in [each["op"] for each in json.loads(capsys.readouterr().out)]
