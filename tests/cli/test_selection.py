"""``--only`` and ``--skip``: by the model's names and the build's, on every command."""

import json

import numpy as np
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relay

import tvm_reorder
from tvm_reorder import ReorderConfig, Status, tvmc
from tvm_reorder.cli.main import main
from tvm_reorder.core.selection import UnknownSite

from ..models import save_graph
from ..relay.networks import build, conv2d, image, max_pool, module

NAMES = ("stem/pool", "body/pool", "last")


@pytest.fixture(scope="session")
def three(tmp_path_factory) -> str:
    """Three times convolution, tanh, max pool; the pools have names."""
    random = np.random.default_rng(0)
    nodes, weights, value, channels = [], [], "data", 3
    for index, name in enumerate(NAMES):
        weight = random.standard_normal((4, channels, 3, 3)).astype("float32")
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        nodes.append(helper.make_node("Conv", [value, f"w{index}"], [f"c{index}"], pads=[1] * 4))
        nodes.append(helper.make_node("Tanh", [f"c{index}"], [f"a{index}"]))
        kernel = {"kernel_shape": [2, 2], "strides": [2, 2]}
        nodes.append(helper.make_node("MaxPool", [f"a{index}"], [f"p{index}"], name, **kernel))
        value, channels = f"p{index}", 4
    tensor = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    inputs, outputs = [tensor("data", [1, 3, 16, 16])], [tensor("p2", [1, 4, 2, 2])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, weights)
    return str(save_graph(tmp_path_factory.mktemp("models") / "three.onnx", graph))


def statuses(result: dict) -> dict[str, str]:
    return {site["name"]: site["status"] for site in result["sites"]}


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--only", "body/pool"], ["kept", "done", "kept"]),
        (["--only", "max_pool2d_2"], ["kept", "done", "kept"]),
        (["--skip", "stem/pool", "--skip", "last"], ["kept", "done", "kept"]),
        (["--only", "last", "--only", "stem/pool", "--skip", "last"], ["done", "kept", "kept"]),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "compile", "compare"])
def test_only_what_is_selected_is_touched(command, options, expected, three, tmp_path):
    more = {"compile": ["-o", str(tmp_path / "out.tar")], "compare": ["--repeat", "1"]}
    path = tmp_path / "result.json"
    decision = ["--decision", "exchange", "--json", str(path)]
    assert main([command, three, *decision, *options, *more.get(command, [])]) == 0
    result = json.loads(path.read_text())
    done = "exchangeable" if command == "inspect" else "exchanged"
    assert statuses(result) == dict(zip(NAMES, [done if e == "done" else e for e in expected]))
    for site in result["sites"]:
        if site["status"] == "kept":
            assert site["decision"]["basis"] == "selection"
            assert "keep by selection (" in site["explanation"]


def test_tune_sites_times_what_is_selected(three, tmp_path):
    path, records = tmp_path / "result.json", tmp_path / "sites.jsonl"
    options = ["-o", str(records), "--repeat", "1", "--only", "last", "--json", str(path)]
    assert main(["tune-sites", three, *options]) == 0
    assert [site["names"] for site in json.loads(path.read_text())["sites"]] == [["last"]]
    assert len(records.read_text().splitlines()) == 1


@pytest.mark.parametrize("command", ["inspect", "compile", "compare", "tune-sites", "bisect"])
@pytest.mark.parametrize("option", ["only", "skip"])
def test_an_unknown_name(command, option, three, fails, tmp_path):
    out = tmp_path / "out"
    more = ["-o", out] if command in ("compile", "tune-sites") else []
    line = fails(command, three, f"--{option}", "stem", *more)
    required = ", ".join(map(repr, NAMES))
    assert line.endswith(f"--{option} names 'stem' but must name a max pool: {required}")
    assert not out.exists()


def test_tvmc(three, tmp_path, capsys):
    report, package = tmp_path / "report.json", tmp_path / "out.tar"
    options = ["compile", three, "--target=llvm", "-o", str(package), "--reorder"]
    chosen = ["--reorder-skip", "body/pool", "--reorder-decision", "exchange"]
    assert tvmc.main([*options, *chosen, "--reorder-report", str(report)]) == 0
    expected = dict(zip(NAMES, ["exchanged", "kept", "exchanged"]))
    assert statuses(json.loads(report.read_text())) == expected
    package.unlink()
    capsys.readouterr()
    assert tvmc.main([*options, "--reorder-only", "nothing"]) == 4
    assert "--reorder-only names 'nothing' but must name a max pool" in capsys.readouterr().err
    assert not package.exists()
    assert tvmc.main([*options[:-1], "--reorder-skip", "last"]) == 4
    assert "must go with --reorder" in capsys.readouterr().err


def two_pools():
    return module(max_pool(relay.tanh(max_pool(relay.tanh(conv2d(image()))))))


def test_in_python():
    mod = two_pools()
    options = {"decision": "exchange"}
    _, report = tvm_reorder.reorder(mod, skip=("max_pool2d_2",), **options)
    assert [site.status for site in report] == [Status.EXCHANGED, Status.KEPT]
    with tvm_reorder.enabled(only=["max_pool2d_2"], **options) as report:
        relay.build(mod, "llvm")
    assert [site.status for site in report] == [Status.KEPT, Status.EXCHANGED]
    with pytest.raises(UnknownSite, match="only names 'pool' but must name .* 'max_pool2d_1'"):
        tvm_reorder.reorder(mod, only=("pool",))
    with tvm_reorder.enabled(skip=("pool",)), pytest.raises(UnknownSite, match="skip names 'pool'"):
        relay.build(mod, "llvm")


def test_a_convolution_right_before_its_pool_is_left_too():
    mod = module(max_pool(conv2d(image())))
    with tvm_reorder.enabled(decision="fuse") as report:
        build(mod)
    assert report.sites[0].status is Status.FUSED
    with tvm_reorder.enabled(decision="fuse", skip=("max_pool2d",)) as report:
        build(mod)
    assert report.sites[0].status is Status.KEPT and "skip names it" in report.sites[0].explanation


def test_a_module_without_pools_has_nothing_to_select():
    mod = module(relay.tanh(image()))
    with tvm_reorder.enabled(only=("max_pool2d",)) as report:
        relay.build(mod, "llvm")
    assert report.has_run and not report.errors


@pytest.mark.parametrize("names", ["last", 3, [3]])
def test_what_is_no_list_of_names(names):
    with pytest.raises(ValueError, match="only is .* but must be a sequence of sites' names"):
        ReorderConfig(only=names)


def test_a_build_reports_the_models_own_names(three):
    from tvm_reorder.cli.models import load_model

    model = load_model(three)
    with tvm_reorder.enabled() as report, tvm.transform.PassContext(opt_level=3):
        relay.build(model.mod, "llvm", params=model.params)
    assert tuple(site.name for site in report) == NAMES
    with tvm_reorder.enabled() as report:
        relay.vm.compile(model.mod, "llvm", params=model.params)
        relay.build(two_pools(), "llvm")  # not to be called by the names of the one before
    assert tuple(site.name for site in report.runs[0]) == NAMES
    assert [site.name for site in report] == ["max_pool2d_1", "max_pool2d_2"]
