"""auto_scheduler: a sketch search for each task, XGBoost as the cost model."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tvm
from tvm import auto_scheduler, relay
from tvm.auto_scheduler.measure import MeasureErrorNo

from tvm_reorder.cli.errors import UsageError

from .job import MEASURE, RUN_ATTEMPTS, TIMEOUT_S, Job, Task
from .log import Sidecar, check_lines, describe_foreign, drop_cut_line
from .variants import DECISIONS, Extracted, gather_tasks
from .watch import Watch

_ROUND = 16  # trials between two fits of the cost model
# TVM's own defaults stand; a test makes the search small here.
SEARCH: dict[str, int] = {}
_RUN_ERRORS = (
    MeasureErrorNo.RUNTIME_DEVICE,
    MeasureErrorNo.RUN_TIMEOUT,
    MeasureErrorNo.UNKNOWN_ERROR,
)


class AutoScheduler:
    """Tunes and builds with auto_scheduler.

    Parameters
    ----------
    job : Job
        What to tune.
    """

    def __init__(self, job: Job):
        self._job = job
        self._sidecar = Sidecar(job.log, job.tracker)
        drop_cut_line(job.log)
        check_lines(job.log)

    def describe_foreign(self) -> list[str]:
        """A line on records of other targets, if there are any."""
        targets = [str(trial.task.target) for trial, _ in self._read_log()]
        return describe_foreign(self._job.log, targets, str(self._job.target))

    def find_tasks(self) -> list[Task]:
        """Every kernel that auto_scheduler holds worth a search."""
        ways = {name: [way] for name, way in DECISIONS.items()}
        return gather_tasks(self._extract, ways, self._job.target)

    def _extract(self) -> Iterator[Extracted]:
        model = self._job.model
        tasks, _ = auto_scheduler.extract_tasks(model.mod, model.params, self._job.target)
        for task in tasks:
            yield task.workload_key, task.desc.removeprefix("vm_mod_"), task

    def read_times(self, task: Task) -> list[float | None]:
        """Milliseconds of the trials in the log; None for those that failed."""
        return [_milliseconds(result) for _, result in self._read_records(task)]

    def count_missing(self, task: Task) -> int:
        """Trials still to be made."""
        if self._sidecar.is_exhausted(self._mark(task)):
            return 0
        return max(0, self._job.trials - len(self._read_records(task)))

    def tune(self, task: Task, watch: Watch) -> None:
        """Bring a task to its number of trials.

        Raises
        ------
        UsageError
            If other machines measure and no trial gets through, again and again.
        """
        fruitless = 0
        while (missing := self.count_missing(task)) > 0:
            if self._job.tracker:
                self._job.tracker.count_servers()
            log = self._search(task, missing, watch)
            if log.measured == 0:
                self._sidecar.add_exhausted(self._mark(task))
            fruitless = 0 if log.written else fruitless + 1
            if fruitless == RUN_ATTEMPTS and log.measured:
                raise UsageError(f"no trial of {task.name} gets through on {self._job.tracker}")

    def build(self):
        """The model with the best schedules of the log, as TVM is set to compile it now."""
        model, target = self._job.model, self._job.target
        wanted = str(target)
        records = [pair for pair in self._read_log() if str(pair[0].task.target) == wanted]
        config = {"relay.backend.use_auto_scheduler": True}
        with (
            auto_scheduler.ApplyHistoryBest(records),
            tvm.transform.PassContext(opt_level=3, config=config),
        ):
            return relay.build(model.mod, target=target, params=model.params)

    def _search(self, task: Task, missing: int, watch: Watch) -> _Log:
        job, records = self._job, self._read_records(task)
        random.seed(job.seed)
        np.random.seed(job.seed)
        seed = job.seed % (2**31 - 1) + 1  # for TVM, 0 is none
        per_round = min(_ROUND, missing)
        # Its default of 100 warm-up trials would leave a short search without a model.
        model = auto_scheduler.XGBModel(num_warmup_sample=per_round, seed=seed, verbose_eval=0)
        log = _Log(job, watch)
        builder, runner = self._make_measurer()
        options = auto_scheduler.TuningOptions(
            num_measure_trials=missing,
            num_measures_per_round=per_round,
            builder=builder,
            runner=runner,
            measure_callbacks=[log],
            verbose=0,
        )
        with tempfile.TemporaryDirectory() as folder:
            known = []
            if records:
                # Of this target and task only: TVM itself tells targets apart by their kind.
                path = str(Path(folder) / "records")
                auto_scheduler.save_records(path, *map(list, zip(*records)))
                known = [auto_scheduler.PreloadMeasuredStates(path)]
                model.update(*map(list, zip(*records)))
            policy = auto_scheduler.SketchPolicy(
                task.native, model, dict(SEARCH), seed, verbose=0, init_search_callbacks=known
            )
            try:
                task.native.tune(options, search_policy=policy)
            except Exception:
                watch.check()  # TVM may have made another exception of it on the way through C++
                raise
        watch.check()
        return log

    def _make_measurer(self):
        tracker = self._job.tracker
        count = tracker.count_servers() if tracker else 1
        builder = auto_scheduler.LocalBuilder(timeout=TIMEOUT_S, n_parallel=count)
        if tracker is None:
            return builder, auto_scheduler.LocalRunner(timeout=TIMEOUT_S, **MEASURE)
        address = (tracker.key, tracker.host, tracker.port)
        options = {"n_parallel": count, "timeout": TIMEOUT_S, **MEASURE}
        return builder, auto_scheduler.RPCRunner(*address, **options)

    def _read_records(self, task: Task) -> list:
        target = str(self._job.target)
        return [
            (trial, result)
            for trial, result in self._read_log()
            if trial.task.workload_key == task.workload and str(trial.task.target) == target
        ]

    def _read_log(self) -> list:
        log = self._job.log
        return list(auto_scheduler.load_records(str(log))) if log.exists() else []

    def _mark(self, task: Task) -> str:
        return f"{self._job.target} {task.workload}"


class _Log(auto_scheduler.measure.PythonBasedMeasureCallback):
    """Logs trials as soon as they are measured, two at a time.

    A run that failed on another machine is not a trial: the machine may be to blame, and the search
    goes on until it has its number without it.
    """

    def __init__(self, job: Job, watch: Watch):
        super().__init__()
        self.measured = self.written = 0
        self._path, self._is_remote, self._watch = str(job.log), job.tracker is not None, watch

    def callback(self, policy, inputs, results):
        self._watch.check()
        self.measured += len(inputs)
        kept = [
            (trial, result)
            for trial, result in zip(inputs, results)
            if not (self._is_remote and result.error_no in _RUN_ERRORS)
        ]
        if not kept:
            return
        auto_scheduler.save_records(self._path, *map(list, zip(*kept)))
        self.written += len(kept)
        for _, result in kept:
            self._watch.add_trial(_milliseconds(result))


def _milliseconds(result) -> float | None:
    if result.error_no != 0:
        return None
    return float(np.mean([float(cost) for cost in result.costs])) * 1e3
