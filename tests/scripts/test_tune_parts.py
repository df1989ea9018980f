"""Parts of the tuning script: shared tasks, default blocks, runs that fail elsewhere, progress."""

import io
import os
import signal

import pytest
import tvm
from tvm import autotvm
from tvm.autotvm.measure.measure import MeasureErrorNo

from bench.tuning import autotvm as tuning
from bench.tuning.blocks import default_blocks, is_narrowed, keep_default_blocks
from bench.tuning.job import RUN_ATTEMPTS
from bench.tuning.meta_schedule import add_cores
from bench.tuning.tracker import Tracker
from bench.tuning.variants import gather_tasks, reordered
from bench.tuning.watch import Stopped, Watch
from tvm_reorder.cli.errors import UsageError
from tvm_reorder.cli.models import load_model
from tvm_reorder.relay.op.conv2d_max_pool2d import TASK as FUSED

TARGET = tvm.target.Target("llvm -mcpu=skylake-avx512")


@pytest.fixture
def tasks(script):
    model = load_model(str(script.model))
    with reordered("fuse", TARGET):
        fused = autotvm.task.extract_from_program(model.mod, model.params, TARGET)
    plain = autotvm.task.extract_from_program(model.mod, model.params, TARGET)
    return [*plain, *fused]


def test_default_blocks_leave_one_blocking(tasks):
    plain, fused = (next(t for t in tasks if (t.name == FUSED) == is_fused) for is_fused in (0, 1))
    for task in (plain, fused):
        before = len(task.config_space)
        assert default_blocks(task) == (16, 3)
        space = keep_default_blocks(task).config_space
        assert 0 < len(space) < before
        assert {entity.size[-1] for entity in space.space_map["tile_oc"].entities} == {16}
    assert is_narrowed(fused)


def test_a_log_that_is_not_there_has_no_trials(tmp_path):
    assert not tuning.read_history(tmp_path / "log", TARGET)


def test_tasks_of_several_builds_are_listed_once():
    lists = iter([[("a", "A", 1), ("b", "B", 2)], [("a", "A", 1), ("c", "C", 3)]])
    found = gather_tasks(lambda: next(lists), {"stock": [None], "ours": [None, "fuse"]}, TARGET)
    assert [(task.name, task.variants) for task in found] == [
        ("A", ("stock", "ours")),
        ("B", ("stock", "ours")),
        ("C", ("ours",)),
    ]


def test_meta_schedule_needs_the_number_of_cores():
    assert add_cores(TARGET, 2).attrs["num-cores"] == 2
    assert add_cores(tvm.target.Target("llvm -num-cores=8"), 2).attrs["num-cores"] == 8
    cuda = tvm.target.Target("cuda -arch=sm_90")
    assert add_cores(cuda, 2) == cuda


class Remote:
    """Stands for `autotvm.RPCRunner.run`: the results of each trial, attempt by attempt."""

    def __init__(self, monkeypatch, **outcomes):
        self.outcomes, self.runs = outcomes, []
        monkeypatch.setattr(autotvm.RPCRunner, "run", lambda _, trials, built: self.run(trials))
        monkeypatch.setattr(Tracker, "count_servers", lambda _: 1)

    def run(self, trials):
        self.runs.append("".join(trials))
        return [make_result(self.outcomes[trial].pop(0)) for trial in trials]


def make_result(error):
    return autotvm.MeasureResult((1e-3,), error, 0.1, 0.0)


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.setattr(autotvm.RPCRunner, "__init__", lambda *_, **__: None)
    return tuning._PatientRunner(Tracker("host", 1, "key"), 1)


DEAD, GOOD = MeasureErrorNo.RUNTIME_DEVICE, MeasureErrorNo.NO_ERROR


def test_what_failed_to_run_runs_again(runner, monkeypatch):
    remote = Remote(monkeypatch, a=[GOOD], b=[DEAD, MeasureErrorNo.RUN_TIMEOUT, GOOD], c=[GOOD])
    results = runner.run(["a", "b", "c"], ["built"] * 3)
    assert [result.error_no for result in results] == [GOOD] * 3
    assert remote.runs == ["abc", "b", "b"]


def test_what_fails_again_and_again_is_a_trial(runner, monkeypatch):
    remote = Remote(monkeypatch, a=[DEAD] * 9)
    assert runner.run(["a"], ["built"])[0].error_no == DEAD
    assert remote.runs == ["a"] * RUN_ATTEMPTS


def test_a_build_that_failed_is_a_trial(runner, monkeypatch):
    remote = Remote(monkeypatch, a=[MeasureErrorNo.COMPILE_HOST])
    failed = make_result(MeasureErrorNo.COMPILE_HOST)
    assert runner.run(["a"], [failed])[0].error_no == MeasureErrorNo.COMPILE_HOST
    assert remote.runs == ["a"]


def test_no_trial_fails_for_want_of_servers(runner, monkeypatch):
    Remote(monkeypatch, a=[DEAD] * 9)

    def none_left(_):
        raise UsageError("none left")

    monkeypatch.setattr(Tracker, "count_servers", none_left)
    with pytest.raises(UsageError, match="none left"):
        runner.run(["a"], ["built"])


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with Watch(3, 4, terminal) as watch:
        watch.begin("convolution", None)
        watch.add_trial(None)
        watch.add_trial(0.5)
        watch.add_trial(0.75)
        watch._bar.refresh()
        shown = terminal.getvalue()
        watch.finish()
    assert "1 of 3, convolution, best 0.5 ms" in shown and "3/4" in shown
    assert "1 of 3, convolution: made 3, best 0.5 ms" in terminal.getvalue()


def test_elsewhere_there_is_a_line_a_task():
    file = io.StringIO()
    with Watch(2, 1, file) as watch:
        watch.begin("a", 2.0)
        watch.finish()
        watch.begin("b", None)
        watch.add_trial(None)
        watch.finish()
    lines = ["1 of 2, a: has its trials, best 2 ms", "2 of 2, b: made 1, best -"]
    assert file.getvalue().splitlines() == lines


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_waits_for_the_next_check_and_a_second_one_does_not(number, status):
    before = signal.getsignal(number)
    with Watch(1, 1, io.StringIO()) as watch:
        watch.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped) as stopped:
            watch.check()
        assert stopped.value.status == status
        with pytest.raises(Stopped):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
