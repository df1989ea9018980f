"""AutoTVM for the convolutions of a network, plain and fused alike.

Every task gets the same number of trials; failed ones count.  Plain convolutions come first, for a
fused one starts from what was found for the plain convolution in it.  Each trial is in the log
before the next one starts, so a kill loses the trials under way at most.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tvm
from tvm import autotvm, relay
from tvm.autotvm.measure.measure import MeasureErrorNo
from tvm.autotvm.tuner import XGBTuner

from tvm_reorder.relay.op.conv2d_max_pool2d import TASK as FUSED
from tvm_reorder.relay.op.conv2d_max_pool2d import seed_task

from .blocks import is_narrowed, keep_default_blocks
from .job import MEASURE, RUN_ATTEMPTS, TIMEOUT_S, Job, Task
from .log import check_lines, describe_foreign, drop_cut_line
from .variants import Extracted, gather_tasks
from .watch import Watch

_PLAIN = ("conv2d", "depthwise_conv2d", "group_conv2d")
_RUN_ERRORS = (
    MeasureErrorNo.RUNTIME_DEVICE,
    MeasureErrorNo.RUN_TIMEOUT,
    MeasureErrorNo.UNKNOWN_ERROR,
)
# The cost model is fitted after every so many trials.  XGBTuner's own 64 would leave a short search
# without any.
_PLAN = 8
# A plain convolution serves all builds; "auto" may fuse any site or none.
_WAYS = {"stock": [None], "exchanged": ["exchange"], "ours": [None, "fuse"]}

History = dict[tuple, list[tuple[autotvm.MeasureInput, autotvm.MeasureResult]]]


class AutoTvm:
    """Tunes and builds with AutoTVM, XGBoost as the cost model.

    Parameters
    ----------
    job : Job
        What to tune.
    """

    def __init__(self, job: Job):
        self._job = job
        drop_cut_line(job.log)
        check_lines(job.log)

    def describe_foreign(self) -> list[str]:
        """A line on records of other targets, if there are any."""
        targets = [str(trial.target) for trial, _ in _read_log(self._job.log)]
        return describe_foreign(self._job.log, targets, str(self._job.target))

    def find_tasks(self) -> list[Task]:
        """The convolutions, those fused with a pool last."""
        tasks = gather_tasks(self._extract, _WAYS, self._job.target)
        return sorted(tasks, key=lambda task: task.native.name == FUSED)

    def _extract(self) -> Iterator[Extracted]:
        model = self._job.model
        for task in autotvm.task.extract_from_program(model.mod, model.params, self._job.target):
            if task.name == FUSED or task.name.startswith(_PLAIN):
                if self._job.default_blocks:
                    task = keep_default_blocks(task)
                yield str(task.workload), _describe(task), task

    def read_times(self, task: Task) -> list[float | None]:
        """Milliseconds of the trials in the log; None for those that failed."""
        records = read_history(self._job.log, self._job.target)[task.native.workload]
        return [_milliseconds(result) for _, result in records]

    def count_missing(self, task: Task) -> int:
        """Trials still to be made; a space may have fewer than were asked for."""
        space = self._seed(task.native).config_space
        return max(0, min(self._job.trials, len(space)) - len(self.read_times(task)))

    def tune(self, task: Task, watch: Watch) -> None:
        """Bring a task to its number of trials."""
        native = self._seed(task.native)
        missing = self.count_missing(task)
        random.seed(self._job.seed)  # AutoTVM draws from both
        np.random.seed(self._job.seed)
        tuner = XGBTuner(native, plan_size=_PLAN, loss_type="reg", feature_type="knob")
        replay(tuner, read_history(self._job.log, self._job.target)[native.workload])
        write = autotvm.callback.log_to_file(str(self._job.log))

        def log(tuner, inputs, results) -> None:
            watch.check()
            write(tuner, inputs, results)
            for result in results:
                watch.add_trial(_milliseconds(result))

        tuner.tune(missing, self._measure_option(), callbacks=[log])

    def build(self):
        """The model with the best schedules of the log, as TVM is set to compile it now."""
        model, target = self._job.model, self._job.target
        records = read_history(self._job.log, target)
        best = [record for trials in records.values() for record in trials]
        with autotvm.apply_history_best(best), tvm.transform.PassContext(opt_level=3):
            return relay.build(model.mod, target=target, params=model.params)

    def _seed(self, native: autotvm.task.Task) -> autotvm.task.Task:
        if native.name != FUSED or is_narrowed(native):
            return native
        return seed_task(native, self._job.log)

    def _measure_option(self) -> dict:
        # One at a time: several would reach the log together, and a build would disturb a
        # measurement.  On other machines one each.
        tracker = self._job.tracker
        if tracker is None:
            builder = autotvm.LocalBuilder(timeout=TIMEOUT_S, n_parallel=1)
            runner = autotvm.LocalRunner(timeout=TIMEOUT_S, **MEASURE)
            return autotvm.measure_option(builder, runner)
        count = tracker.count_servers()
        builder = autotvm.LocalBuilder(timeout=TIMEOUT_S, n_parallel=count, do_fork=True)
        return autotvm.measure_option(builder, _PatientRunner(tracker, count))


class _PatientRunner(autotvm.RPCRunner):
    """Runs again what failed to run, for the machine may be to blame.  A failed build is final."""

    def __init__(self, tracker, count: int):
        address = (tracker.key, tracker.host, tracker.port)
        super().__init__(*address, n_parallel=count, timeout=TIMEOUT_S, **MEASURE)
        self._tracker = tracker

    def run(self, measure_inputs, build_results):
        results = super().run(measure_inputs, build_results)
        for _ in range(RUN_ATTEMPTS - 1):
            failed = [
                index
                for index, result in enumerate(results)
                if result.error_no in _RUN_ERRORS and not _is_result(build_results[index])
            ]
            if not failed:
                break
            self._tracker.count_servers()
            inputs = [measure_inputs[index] for index in failed]
            again = super().run(inputs, [build_results[index] for index in failed])
            for index, result in zip(failed, again):
                results[index] = result
        return results


def _is_result(built) -> bool:
    """True if a build failed: then AutoTVM hands its result on, and nothing is run."""
    return isinstance(built, autotvm.MeasureResult)


def read_history(log: str | Path, target: tvm.target.Target) -> History:
    """Trials for a target in a log, by workload; a log that is not there yet has none."""
    history: History = defaultdict(list)
    for trial, result in _read_log(log):
        if str(trial.target) == str(target):
            history[trial.task.workload].append((trial, result))
    return history


def _read_log(log: str | Path) -> list:
    return list(autotvm.record.load_from_file(str(log))) if Path(log).exists() else []


def replay(tuner: XGBTuner, records: list) -> None:
    """Tell a tuner of earlier trials, so that it neither repeats nor forgets them.

    A trial's number counts in the space it was drawn from.  A fused space may have been narrowed
    around another plain record since; such a trial keeps its place in the log and is left out.
    """
    space = tuner.task.config_space
    known = [
        (autotvm.MeasureInput(tuner.task.target, tuner.task, trial.config), result)
        for trial, result in records
        if _is_same_config(space, trial.config)
    ]
    if known:
        tuner.update(*zip(*known))


def _is_same_config(space, config) -> bool:
    if not space.is_index_valid(config.index):
        return False
    return space.get(config.index).to_json_dict()["entity"] == config.to_json_dict()["entity"]


def _milliseconds(result: autotvm.MeasureResult) -> float | None:
    return float(np.mean(result.costs)) * 1e3 if result.error_no == 0 else None


def _describe(task: autotvm.task.Task) -> str:
    shapes = [list(arg[1]) for arg in task.args if isinstance(arg, tuple) and arg[0] == "TENSOR"]
    return f"{task.name} {' '.join(map(str, shapes))}"
