"""``tvm-reorder tune-sites``, and the records it makes as every command takes them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvm_reorder.cli.main import main
from tvm_reorder.core.decision import Action

from ..models import save_graph, save_network


@pytest.fixture(scope="module")
def two_sites(tmp_path_factory) -> str:
    """conv, sigmoid, pool, conv, relu, pool."""
    random = np.random.default_rng(0)
    nodes, weights, value = [], [], "data"
    for index, (activation, channels) in enumerate([("Sigmoid", 3), ("Relu", 4)]):
        weight = random.standard_normal((4, channels, 3, 3)).astype("float32")
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        names = [f"{what}{index}" for what in ("conv", "active", "pool")]
        nodes += [
            helper.make_node("Conv", [value, f"w{index}"], names[:1], names[0], pads=[1] * 4),
            helper.make_node(activation, names[:1], names[1:2], names[1]),
            helper.make_node("MaxPool", names[1:2], names[2:], names[2], **TWO_BY_TWO),
        ]
        value = names[2]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, 4, 2, 2])],
        weights,
    )
    return str(save_graph(tmp_path_factory.mktemp("models") / "two.onnx", graph))


TWO_BY_TWO = {"kernel_shape": [2, 2], "strides": [2, 2]}
FUSED = {Action.KEEP: [3.0], Action.EXCHANGE: [2.0], Action.FUSE: [1.0]}


@pytest.fixture
def tuned(monkeypatch):
    """Names of the sites measured since; nothing is built and fusing always wins."""
    from tvm_reorder.relay import measure_sites

    names = []

    def measure(site, target, config, rounds, advance, device):
        names.append(site.name)
        for _ in range(measure_sites.count_steps(rounds)):
            advance()
        return FUSED

    monkeypatch.setattr(measure_sites, "measure_site", measure)
    return names


def lines(path) -> list[dict]:
    """The records of a file."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_real_run_and_what_the_other_commands_make_of_it(model, tmp_path, capsys):
    path = str(tmp_path / "sites.jsonl")
    arguments = ["tune-sites", model, "-o", path, "--target", "llvm", "--repeat", "2"]
    assert main([*arguments, "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["records"] == path and result["target"] == "llvm"
    (site,) = result["sites"]
    assert set(site["time_ms"]) == {str(action) for action in Action}
    assert all(len(times) == 2 for times in site["time_ms"].values())
    (record,) = lines(path)
    assert record["times_ms"] == site["time_ms"] and record["workload"] == site["workload"]
    arguments = ["inspect", model, "--records", path, "--target", "llvm", "--json", "-"]
    assert main(arguments) == 0
    inspected = json.loads(capsys.readouterr().out)["sites"][0]["decision"]
    assert inspected["basis"] == "records"
    assert site["decision"].startswith(f"{inspected['action']} by records")


def test_the_table(two_sites, tmp_path, tuned, capsys):
    path = tmp_path / "sites.jsonl"
    assert main(["tune-sites", two_sites, "-o", str(path)]) == 0
    captured = capsys.readouterr()
    assert tuned == ["pool0", "pool1"] and len(lines(path)) == 2
    assert "2 distinct of 2 max pools" in captured.out
    assert captured.out.count("fuse by records, expected 3.00x") == 2
    assert "3x3 conv 3 -> 4, sigmoid, 2x2/2x2 on 8x8 -> 4x4" in captured.out
    said = captured.err.splitlines()
    assert said[0] == (
        "tvm-reorder: note: 1/2 pool0: keep 3.000 ms, exchange 2.000 ms, fuse 1.000 ms"
    )
    assert len(said) == 2


def test_what_is_there_is_not_measured_again_unless_forced(two_sites, tmp_path, tuned, capsys):
    path = str(tmp_path / "sites.jsonl")
    assert main(["tune-sites", two_sites, "-o", path]) == 0
    before = Path(path).read_bytes()
    capsys.readouterr()
    assert main(["tune-sites", two_sites, "-o", path]) == 0
    captured = capsys.readouterr()
    assert len(tuned) == 2 and Path(path).read_bytes() == before
    assert captured.err == f"tvm-reorder: note: 2 of 2 sites are in {path} already\n"
    assert captured.out.count("fuse by records") == 2
    assert main(["tune-sites", two_sites, "-o", path, "--force"]) == 0
    assert len(tuned) == 4 and len(lines(path)) == 4


def test_a_cut_last_line_costs_that_site_only(two_sites, tmp_path, tuned, capsys):
    path = tmp_path / "sites.jsonl"
    assert main(["tune-sites", two_sites, "-o", str(path)]) == 0
    whole = path.read_text()
    path.write_text(whole[:-30])
    capsys.readouterr()
    assert main(["tune-sites", two_sites, "-o", str(path)]) == 0
    assert tuned == ["pool0", "pool1", "pool1"]
    assert f"{path}: 1 line skipped: line 2 is " in capsys.readouterr().err
    assert path.read_text() == whole[:-30] + "\n" + whole.splitlines(keepends=True)[1]


def test_records_of_other_circumstances_stay_and_do_not_count(two_sites, tmp_path, tuned, capsys):
    path = tmp_path / "sites.jsonl"
    for target in ("llvm", "llvm -num-cores=1"):
        assert main(["tune-sites", two_sites, "-o", str(path), "--target", target]) == 0
    assert len(tuned) == 4 and len(lines(path)) == 4
    said = capsys.readouterr().err
    assert "2 lines skipped: line 1 is for the target 'llvm' but must be for" in said


def test_equal_sites_are_measured_once(tmp_path, tuned, capsys):
    path = tmp_path / "sites.jsonl"
    relay_text = tmp_path / "twins.relay"
    relay_text.write_text(TWINS)
    shapes = ["--input-shapes", "x:[1,3,8,8]", "--model-format", "relay"]
    assert main(["tune-sites", str(relay_text), "-o", str(path), *shapes]) == 0
    assert tuned == ["max_pool2d_1 (+1)"] and len(lines(path)) == 1
    assert "1 distinct of 2 max pools" in capsys.readouterr().out


TWINS = """#[version = "0.0.5"]
def @main(%x: Tensor[(1, 3, 8, 8), float32], %w: Tensor[(4, 3, 3, 3), float32],
          %v: Tensor[(4, 3, 3, 3), float32]) {
  %0 = nn.conv2d(%x, %w, padding=[1, 1, 1, 1], channels=4, kernel_size=[3, 3]);
  %1 = nn.max_pool2d(sigmoid(%0), pool_size=[2, 2], strides=[2, 2], padding=[0, 0, 0, 0]);
  %2 = nn.conv2d(%x, %v, padding=[1, 1, 1, 1], channels=4, kernel_size=[3, 3]);
  %3 = nn.max_pool2d(sigmoid(%2), pool_size=[2, 2], strides=[2, 2], padding=[0, 0, 0, 0]);
  (%1, %3)
}
"""


@pytest.mark.parametrize(
    "options, said",
    [
        ({"pool": "AveragePool"}, "no max pool in this model"),
        ({"activations": ("Softmax",)}, "none of the 1 max pools can be done in another way"),
    ],
)
def test_nothing_to_tune_makes_no_file(tmp_path, tuned, capsys, options, said):
    network = save_network(tmp_path / "network.onnx", **options)
    path = tmp_path / "sites.jsonl"
    assert main(["tune-sites", str(network), "-o", str(path)]) == 0
    assert said in capsys.readouterr().out
    assert tuned == [] and not path.exists()


def test_a_site_that_does_not_build_costs_no_other(two_sites, tmp_path, monkeypatch, capsys):
    from tvm_reorder.relay import measure_sites

    def measure(site, *_):
        if site.name == "pool0":
            raise RuntimeError("no registers\nleft")
        return FUSED

    monkeypatch.setattr(measure_sites, "measure_site", measure)
    path = tmp_path / "sites.jsonl"
    assert main(["tune-sites", two_sites, "-o", str(path)]) == 2
    captured = capsys.readouterr()
    assert "1 of 2 sites have no record: pool0: no registers" in captured.err
    assert "no record" in captured.out and len(lines(path)) == 1


def start(model, path) -> subprocess.Popen:
    """The command in a process of its own, with the threads of this one."""
    import tvm

    # A test before this one may have given --threads, which stays in the environment.
    threads = {"TVM_NUM_THREADS": str(tvm.runtime.num_threads())}
    code = "import sys; from tvm_reorder.cli.main import main; sys.exit(main())"
    arguments = ["tune-sites", model, "-o", str(path), "--repeat", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, **threads}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, **pipes)


def wait_for_a_record(path, process) -> None:
    """Until the file has a whole line."""
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_bytes().endswith(b"\n")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_what_is_finished_survives(two_sites, tmp_path, tuned, capsys, blow):
    path = tmp_path / "sites.jsonl"
    process = start(two_sites, path)
    wait_for_a_record(path, process)
    process.send_signal(blow)  # the second site is being built
    out, err = process.communicate(timeout=120)
    (first,) = lines(path)
    assert set(first["times_ms"]) == {str(action) for action in Action}
    assert out == "" and process.returncode != 0
    if blow == signal.SIGINT:
        assert process.returncode == 2
        assert err.splitlines()[1:] == [
            f"tvm-reorder: error: interrupted: 1 of 2 sites were added to {path}; "
            "the same command goes on from there"
        ]
    assert main(["tune-sites", two_sites, "-o", str(path)]) == 0
    assert tuned == ["pool1"] and lines(path)[0] == first and len(lines(path)) == 2
    assert "1 of 2 sites are in" in capsys.readouterr().err


def test_outputs_that_cannot_be_written(fails, model, tmp_path, tuned):
    tune = lambda path, *options: fails("tune-sites", model, "-o", path, *options)
    assert "must exist" in tune(tmp_path / "absent" / "sites.jsonl")
    assert "is a folder" in tune(tmp_path)
    assert "'-' but must be a file" in tune("-")
    assert "must exist" in tune(tmp_path / "x", "--json", tmp_path / "absent" / "x.json")
    if os.geteuid() != 0:  # root may write anything
        read_only = tmp_path / "read-only.jsonl"
        read_only.touch(mode=0o400)
        assert "is read-only" in tune(read_only)
    assert "regular file" in tune("/dev/full")
    assert tuned == []


def test_a_full_disk(fails, model, tmp_path, tuned, monkeypatch, capsys):
    from tvm_reorder.core import records

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "append_record", full)
    path = tmp_path / "sites.jsonl"
    line = fails("tune-sites", model, "-o", path)
    assert f"--output {path} cannot be written: No space left" in line


@pytest.mark.parametrize(
    "options, said",
    [
        ([], "-o/--output"),
        (["-o", "x", "--repeat", "0"], "--repeat: '0'"),
        (["-o", "x", "--threads", "99999"], "the cores there are"),
        (["-o", "x", "--target", "c"], "llvm target"),
        (["-o", "x", "--decision", "fuse"], "--decision"),
        (["-o", "x", "--records", "y"], "--records"),
    ],
)
def test_usage(fails, model, options, said):
    assert said in fails("tune-sites", model, *options)


@pytest.mark.parametrize("command", ["inspect", "compile", "compare"])
def test_records_that_are_no_file(fails, model, tmp_path, command):
    output = ["-o", tmp_path / "x.tar"] if command == "compile" else []
    run = lambda path: fails(command, model, *output, "--records", path)
    assert "'absent' is no file but must be" in run("absent")
    assert "is a folder but must be a file" in run(tmp_path)


@pytest.mark.parametrize("command", ["inspect", "compile", "compare"])
def test_damaged_records_are_one_line_and_change_nothing(model, tmp_path, capsys, command):
    path = tmp_path / "sites.jsonl"
    path.write_bytes(b"\xff\n{}\nhello\n[]\n" + b'{"workload": ')
    options = {"compile": ["-o", str(tmp_path / "x.tar")], "compare": ["--repeat", "1"]}
    arguments = [command, model, "--records", str(path), *options.get(command, [])]
    assert main(arguments) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and f"note: {path}: 5 lines skipped: line 1 is " in said[0]
    assert said[0].endswith("; and 2 more")


def test_the_decision_can_be_forced(model, capsys):
    for decision in ("keep", "exchange", "fuse"):
        assert main(["inspect", model, "--decision", decision, "--json", "-"]) == 0
        site = json.loads(capsys.readouterr().out)["sites"][0]
        assert site["decision"]["action"] == decision and site["decision"]["basis"] == "option"


def test_tvmc_takes_records_and_decision(model, tmp_path, capsys):
    from tvm_reorder import tvmc

    package = str(tmp_path / "m.tar")
    path = tmp_path / "sites.jsonl"
    path.write_text("hello\n")
    options = ["--reorder-decision", "keep", "--reorder-records", str(path)]
    arguments = ["compile", model, "--target=llvm", "-o", package, *options]
    assert tvmc.main([*arguments, "--reorder"]) == 0
    assert "keep by option" in capsys.readouterr().err
    for given in (options[:2], options[2:]):
        assert tvmc.main(["compile", model, "--target=llvm", "-o", package, *given]) == 4
        assert f"{given[0]} is given but must go with --reorder" in capsys.readouterr().err


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["tune-sites", "--help"])
    assert stop.value.code == 0
    assert "examples:\n  tvm-reorder tune-sites" in capsys.readouterr().out
