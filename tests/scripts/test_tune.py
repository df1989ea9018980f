"""The tuning script: each tuner once on a tiny network, going on after a kill, and bad input."""

import json
import os
import signal

import pytest

from bench.tuning.log import Sidecar, check_lines, describe_foreign, drop_cut_line
from bench.tuning.options import make_parser, read_job, read_model
from bench.tuning.session import TUNERS, tabulate
from tvm_reorder.cli.errors import UsageError

TARGET = "llvm -keys=cpu -mcpu=skylake-avx512"
OTHER = "llvm -mcpu=core2"


def records(script) -> int:
    """Trials in the log: lines, of MetaSchedule's one of two files."""
    path = script.log / "database_tuning_record.json" if script.log.is_dir() else script.log
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("tuner", ["autotvm", "auto_scheduler", "meta_schedule"])
def test_each_tuner_tunes_compares_and_goes_on(script, tuner):
    status, said = script.run("--tuner", tuner, "--trials", 2)
    assert status == 0, said
    row = script.row()
    trials = [task["trials"] for task in row["tasks"]]
    assert 0 < min(trials) and max(trials) == 2 and sum(trials) == records(script)
    assert said.count("best ") == len(trials) and "has its trials" not in said
    assert {build for task in row["tasks"] for build in task["variants"]} == set(row["time_ms"])
    assert all(len(samples) == 1 for samples in row["time_ms"].values())
    assert max(row["difference"].values()) < 1e-5
    assert row["bit_equal"]["ours"] or not row["same_program"]["ours"]
    assert not row["same_program"]["exchanged"]
    assert [site["site"] for site in row["decisions"]] == ["pool"]
    status, said = script.run("--tuner", tuner, "--trials", 2)
    assert status == 0 and said.count("has its trials") == len(trials)
    assert records(script) == sum(trials)
    other = TUNERS[tuner](read(script, "--tuner", tuner, "--trials", "2", "--target", OTHER))
    (line,) = other.describe_foreign()
    assert line.startswith(f"{sum(trials)} of {sum(trials)} records of {script.log} are for")
    assert all(other.read_times(task) == [] for task in other.find_tasks())
    if tuner == "autotvm":
        assert [len(task["variants"]) for task in row["tasks"]] == [3, 1]  # the fused one is ours
        assert row["bit_equal"]["exchanged"]  # the convolution is the same one


def test_a_killed_run_goes_on(script):
    process = script.start("--trials", 3)
    before = script.wait_for_lines(2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = script.log.read_text().splitlines()
    with script.log.open("a") as log:
        log.write('{"input": [')  # as a kill may leave it
    status, said = script.run("--trials", 3)
    assert status == 0, said
    lines = script.log.read_text().splitlines()
    assert lines[: len(before)] == before and len(lines) == 6
    tried = [json.dumps([json.loads(line)[key] for key in ("input", "config")]) for line in lines]
    assert len(set(tried)) == 6


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_in_order(script, number, status):
    process = script.start("--trials", 40)
    script.wait_for_lines(1, process)
    os.killpg(process.pid, number)  # as a terminal does: to all, workers included
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    done = script.log.read_text().splitlines()
    assert f"{len(done)} trials are in {script.log}; the same command goes on" in said
    # The signal hits the workers too, and what it did to them is no trial's fault.
    assert all(json.loads(line)["result"][1] == 0 for line in done)
    assert "Traceback" not in said and not (script.folder / "results").exists()


def read(script, *options):
    """The job of a command line, in this process."""
    needed = ["--model", str(script.model), "--tuner", "autotvm", "--log", str(script.log)]
    return read_job(make_parser("").parse_args([*needed, *options]))


@pytest.mark.parametrize(
    "options, said",
    [
        (["--trials", "0"], "must be a whole number from 1 up"),
        (["--trials", "-3"], "must be a whole number from 1 up"),
        ([], "--trials or --only-compare must be given"),
        (["--only-compare"], "does not exist but must, with --only-compare"),
        (["--trials", "2", "--key", "k"], "--tracker and --key must be given together"),
        (["--trials", "2", "--tracker", "h:1"], "--tracker and --key must be given together"),
        (["--trials", "2", "--tuner", "random"], "invalid choice: 'random'"),
        (["--trials", "2", "--batch", "8"], "has a batch of its own"),
        (["--trials", "2", "--target", "nonsense"], "--target is 'nonsense' but must be"),
        (["--trials", "2", "--target", "cuda -arch=sm_90"], "no CUDA GPU that TVM can use"),
        (["--trials", "2", "--tuner", "meta_schedule", "--default-blocks"], "not autotvm"),
        (["--trials", "2", "--log", "/dev/full"], "is a special file"),
        (["--trials", "2", "--log", "/"], "is a folder but must be a regular file"),
        (["--trials", "2", "--log", "/nowhere/log"], "must exist, and does not"),
    ],
)
def test_bad_options(script, options, said):
    if "cuda" in " ".join(options) and os.path.exists("/dev/nvidia0"):
        pytest.skip("there is a GPU here")
    with pytest.raises(UsageError, match=said):
        read(script, *options)
    assert not script.log.exists()


def test_bad_input_is_one_line_and_status_2(script):
    said = script.fails("--trials", 2, "--model", "no_such_network")
    assert "--model is 'no_such_network' but must be a file or one of custom_relu" in said
    assert not script.log.exists()


def test_a_file_is_no_log_of_meta_schedule(script):
    script.log.write_text("")
    with pytest.raises(UsageError, match="is a file but must be a folder"):
        read(script, "--trials", "2", "--tuner", "meta_schedule")


def test_a_built_in_network_has_the_batch_asked_for():
    assert read_model("lenet", 8).inputs == {"data": ((8, 1, 32, 32), "float32")}
    with pytest.raises(UsageError, match="batch of light_squeezenet is 8 but must be 1"):
        read_model("light_squeezenet", 8)


def test_a_damaged_log_is_named(script):
    script.log.write_text('# comment\n{"input": 1}\nnot JSON\n')
    assert f"line 3 of {script.log} is no JSON" in script.fails("--trials", 2)


def test_only_the_last_line_is_cut(tmp_path):
    log = tmp_path / "log"
    drop_cut_line(log)
    check_lines(log)
    log.write_text('# whole\n{"input": [')
    drop_cut_line(log)
    assert log.read_text() == "# whole\n"
    check_lines(log)


def test_records_of_another_target_are_named(tmp_path):
    other = TARGET.replace("skylake-avx512", "core-avx2")
    (line,) = describe_foreign(tmp_path / "log", [TARGET, other, other], TARGET)
    assert line.startswith("2 of 3 records of ") and other in line and "skipped" in line
    assert describe_foreign(tmp_path / "log", [TARGET], TARGET) == []


def test_a_log_of_another_machine_is_named_and_used(tmp_path):
    sidecar = Sidecar(tmp_path / "log")
    sidecar.write_machine()
    assert Sidecar(tmp_path / "log").describe_mismatch() == []
    machine = json.loads(sidecar.path.read_text())
    machine["machine"]["processor"] = "Another One"
    sidecar.path.write_text(json.dumps(machine))
    (line,) = Sidecar(tmp_path / "log").describe_mismatch()
    assert "was measured on Another One" in line and "used all the same" in line
    Sidecar(tmp_path / "log").write_machine()
    assert json.loads(sidecar.path.read_text()) == machine


def test_a_cut_description_of_a_machine(tmp_path):
    (tmp_path / "log.machine.json").write_text('{"machine": {')
    with pytest.raises(UsageError, match="is no whole JSON"):
        Sidecar(tmp_path / "log")


def test_the_table_says_what_is_the_same_program():
    both = lambda value: {"exchanged": value, "ours": value}
    row = dict.fromkeys(("network", "tuner", "batch", "threads", "target", "trials"), 1)
    row |= {"tasks": [{}], "kernels": {"stock": 4}, "time_ms": both([2.0]) | {"stock": [4.0]}}
    row |= {"equal": both(False), "bit_equal": {"exchanged": False, "ours": True}}
    row |= {"difference": {"exchanged": 2e-7, "ours": 0.0}}
    row |= {"same_program": {"exchanged": False, "ours": True}}
    header, cells = tabulate([row])
    assert cells[-2:] == ["differ by 2.0e-07", "bit-equal, the same program as stock"]
    assert cells[header.index("stock / ours (quartiles)")].startswith("2.000")
    row["difference"]["exchanged"] = None
    assert tabulate([row])[1][-2] == "DIFFER"
