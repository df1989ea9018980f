"""A bundle for the CPU in place of the GPU: what is built, what is drawn, what is measured."""

import json

import numpy as np
import pytest
import tvm
from tvm import relay

from bench import bundle_build, gpu_bundle, harness
from bench.bundle import STORED, Build, Recipe, Weights, read_case, transform
from bench.bundle_build import _Contents, _read_matrix, build_case
from bench.bundle_run import OpenCase, _pool, measure_layers, measure_networks, time_kernels
from bench.harness import run_main
from bench.networks import Network

TARGET = tvm.target.Target("llvm")


def make_tiny(name: str = "tiny", batch: int = 1) -> Network:
    """A convolution, ReLU and a pool."""
    data = relay.var("data", shape=(batch, 3, 8, 8))
    weight = relay.var("weight", shape=(16, 3, 3, 3))
    options = {"channels": 16, "kernel_size": (3, 3), "padding": (1, 1)}
    value = relay.nn.relu(relay.nn.conv2d(data, weight, **options))
    function = relay.Function([data, weight], relay.nn.max_pool2d(value, (2, 2), strides=(2, 2)))
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(function))
    values = np.random.default_rng(0).standard_normal((16, 3, 3, 3), "float32")
    return Network(mod, {"weight": tvm.nd.array(values)}, {"data": (batch, 3, 8, 8)})


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(bundle_build, "load_network", make_tiny)


def run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr("sys.argv", ["bench.gpu_bundle", *map(str, arguments)])
    return run_main(gpu_bundle.main)


def test_what_is_built_is_read_back_and_measured(tiny, tmp_path):
    case = build_case(tmp_path / "tiny-1", "tiny", 1, TARGET, None)
    assert [build.fusing for build in case.builds] == ["reference", *["fused"] * 2, *["apart"] * 2]
    assert sum(case.decided.values()) == 1
    opened = OpenCase(tmp_path / "tiny-1")
    assert opened.case.builds == case.builds
    for fusing in ("fused", "apart"):
        (row,) = measure_networks(opened, fusing, 2, 4)
        assert row["bit_equal"] and row["max_ulp"] == 0 and row["stock_repeats"]
        assert row["actions"] == {"exchange": 1} and row["distinct_values"] > 100
        assert row["from_cpu"] < 1e-6 and len(row["time_ms"]["ours"]) == 2
    (layer,) = measure_layers(opened, 1)
    assert layer["layer"] == "relu1" and layer["bit_equal"]
    assert np.prod(layer["shape_before"]) == 4 * np.prod(layer["shape_after"])
    stock, ours = time_kernels(opened, "fused")
    assert len(stock["kernels"]) == len(ours["kernels"]) >= 2
    assert all(len(kernel["us"]) == 5 for kernel in ours["kernels"])


def test_a_wrong_build_is_found_out(tiny, tmp_path):
    case = build_case(tmp_path, "tiny", 1, TARGET, None)
    opened = OpenCase(tmp_path)
    (wrong,) = (build for build in opened.case.builds if build.stem == "exchange_fused")
    content = case.builds[0].weights["p0"]
    wrong.weights.update(dict.fromkeys(wrong.weights, "other"))
    packed = case.builds[1].weights["p0"]
    opened._weights._made["other"] = np.nextafter(opened._weights[packed], np.float32(9))
    assert content in case.recipes
    (row,) = measure_networks(opened, "fused", 1, 1)
    assert not row["equal"] and not row["bit_equal"] and row["max_ulp"] > 0


def test_the_command_line(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr("bench.networks.choose_networks", lambda names, batch: names)
    folder, results = tmp_path / "bundle", tmp_path / "results"
    assert run(monkeypatch, "build", folder, "tiny", "--target", "llvm", "--batch", 1, 2) == 0
    assert {path.name for path in folder.iterdir()} == {"tiny-1", "tiny-2"}
    before = (folder / "tiny-1" / "case.json").stat().st_mtime_ns
    assert run(monkeypatch, "build", folder, "tiny", "--target", "llvm") == 0
    assert (folder / "tiny-1" / "case.json").stat().st_mtime_ns == before
    options = ("--repeat", 1, "--inputs", 1, "--results", results)
    assert run(monkeypatch, "run", folder, *options) == 0
    assert capsys.readouterr().out.count("bit-equal") == 6
    assert run(monkeypatch, "run", folder, "tiny", *options) == 0  # rows are replaced, not doubled
    document = json.loads((results / "cuda.json").read_text())
    assert [len(document[name]) for name in ("rows", "layers", "kernels")] == [4, 2, 4]
    capsys.readouterr()
    assert run(monkeypatch, "run", folder, "other", *options) == 2
    assert "holds no network that was asked for" in capsys.readouterr().err


def test_a_bundle_for_what_is_not_here(tiny, tmp_path, monkeypatch):
    build_case(tmp_path, "tiny", 1, TARGET, None)
    path = tmp_path / "case.json"
    path.write_text(path.read_text().replace('"target": "llvm', '"target": "opencl'))
    with pytest.raises(ValueError, match="there is no such device here"):
        OpenCase(tmp_path)


def test_large_weights_are_drawn_alike_and_small_ones_travel(tmp_path):
    rng = np.random.default_rng(1)
    large, small = rng.standard_normal((200, 200), "float32") * 3, np.arange(5, dtype="float32")
    contents = _Contents()
    names = {"large": contents.add(large), "small": contents.add(small)}
    assert contents.add(large.copy()) == names["large"]
    reference = Build(None, "reference", "stock_reference", names, {})
    recipes = contents.write(tmp_path / STORED, reference)
    first, second = Weights(tmp_path, recipes), Weights(tmp_path, recipes)
    assert (first[names["small"]] == small).all()
    drawn = first[names["large"]]
    assert drawn.tobytes() == second[names["large"]].tobytes() and drawn.shape == (200, 200)
    assert drawn.std() == pytest.approx(large.std(), rel=0.05)


@pytest.mark.parametrize("tile", [2, 4, 6])
def test_winograds_transform_is_tvms(tile, tmp_path):
    weight = np.random.default_rng(tile).standard_normal((64, 48, 3, 3), "float32")
    value = relay.var("w", shape=weight.shape)
    value = relay.nn.contrib_conv2d_winograd_weight_transform(value, tile_size=tile)
    mod = tvm.IRModule.from_expr(relay.transpose(value, (0, 1, 3, 2)))  # as TVM does for CUDA
    expected = relay.create_executor("graph", mod, target="llvm").evaluate()(weight).numpy()
    assert np.allclose(transform(_read_matrix(tile), weight), expected, 1e-4, 1e-5)
    contents = _Contents()
    plain, transformed = contents.add(weight), contents.add(expected)
    recipes = contents.write(tmp_path / STORED, Build(None, "reference", "", {"weight": plain}, {}))
    recipe = recipes[transformed]
    assert recipe.source == plain and recipe.shape == (tile + 2, tile + 2, 48, 64)
    weights = Weights(tmp_path, recipes)
    again = transform(np.asarray(recipe.matrix, "float32"), weights[plain])
    assert weights[transformed].tobytes() == again.tobytes()


def test_a_large_weight_that_nobody_knows_is_refused(tmp_path):
    contents = _Contents()
    contents.add(np.ones((200, 200), "float32"))
    with pytest.raises(ValueError, match="is new but must be one of the network's"):
        contents.write(tmp_path / STORED, Build(None, "reference", "", {}, {}))


def test_a_case_is_written_as_it_is(tiny, tmp_path):
    case = build_case(tmp_path, "tiny", 1, TARGET, None)
    read = read_case(tmp_path)
    assert read.builds == case.builds and read.made == case.made
    assert set(read.recipes) == set(case.recipes)
    assert all(isinstance(recipe, Recipe) for recipe in read.recipes.values())


def test_windows_are_pooled_with_channels_in_blocks():
    values = np.arange(2 * 4 * 6 * 3, dtype="float32").reshape(1, 2, 4, 6, 3)
    pooled = _pool(values, (1, 2, 2, 3, 3))
    assert pooled.shape == (1, 2, 2, 3, 3)
    assert (pooled == values[:, :, 1::2, 1::2]).all()
