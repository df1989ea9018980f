"""MetaSchedule: an evolutionary search for each task, XGBoost as the cost model.

The loop over trials is here and not in TVM's task scheduler, which writes a whole round at once:
here each trial is in the database before the next one runs.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import tvm
from tvm import meta_schedule as ms

from .job import MEASURE, RUN_ATTEMPTS, TIMEOUT_S, Job, Task
from .log import Sidecar, check_lines, describe_foreign, drop_cut_line
from .variants import DECISIONS, Extracted, gather_tasks
from .watch import Watch

_ROUND = 16  # trials between two fits of the cost model
# TVM's own defaults stand; a test makes the search small here.
SEARCH: dict[str, int] = {}
_FAILED_S = 1e10  # what MetaSchedule itself writes for a trial without a time
_FILES = ("database_workload.json", "database_tuning_record.json")


class MetaSchedule:
    """Tunes and builds with MetaSchedule.

    Parameters
    ----------
    job : Job
        What to tune; its log is a folder.
    """

    def __init__(self, job: Job):
        self._job = job
        self._sidecar = Sidecar(job.log, job.tracker)
        self._target = add_cores(job.target, job.threads)
        for path in (job.log / name for name in _FILES):
            drop_cut_line(path)
            check_lines(path)
        job.log.mkdir(parents=True, exist_ok=True)
        self._disk = ms.database.JSONDatabase(work_dir=str(job.log))
        # TVM takes records of any target out of a database, so ours are in one of their own.
        self._ours = ms.database.MemoryDatabase()
        self._records: dict[str, list[ms.database.TuningRecord]] = defaultdict(list)
        self._targets: list[str] = []
        self._measurer: _Measurer | None = None
        for record in self._disk.get_all_tuning_records():
            self._targets.append(str(record.target))
            if self._targets[-1] == str(self._target):
                self._keep(record)

    def describe_foreign(self) -> list[str]:
        """A line on records of other targets, if there are any."""
        return describe_foreign(self._job.log, self._targets, str(self._target))

    def find_tasks(self) -> list[Task]:
        """Every kernel."""
        ways = {name: [way] for name, way in DECISIONS.items()}
        return gather_tasks(self._extract, ways, self._job.target)

    def _extract(self) -> Iterator[Extracted]:
        model = self._job.model
        extract = ms.relay_integration.extract_tasks
        for task in extract(model.mod, self._target, model.params):
            mod = task.dispatched[0]
            yield ms.utils.shash2hex(mod), task.task_name, mod

    def read_times(self, task: Task) -> list[float | None]:
        """Milliseconds of the trials in the database; None for those that failed."""
        return [_milliseconds(record.run_secs) for record in self._records[task.workload]]

    def count_missing(self, task: Task) -> int:
        """Trials still to be made."""
        if self._sidecar.is_exhausted(self._mark(task)):
            return 0
        return max(0, self._job.trials - len(self._records[task.workload]))

    def tune(self, task: Task, watch: Watch) -> None:
        """Bring a task to its number of trials, or to as many as the search finds."""
        missing, job = self.count_missing(task), self._job
        random.seed(job.seed)
        np.random.seed(job.seed)
        per_round = min(_ROUND, missing)
        context = ms.TuneContext(
            mod=task.native,
            target=self._target,
            space_generator="post-order-apply",
            search_strategy=ms.search_strategy.EvolutionarySearch(**SEARCH),
            task_name=task.name,
            # The search does not know which trials there were, and would make the same ones again.
            rand_state=(job.seed + job.trials - missing) % (2**31 - 1) + 1,
            num_threads=job.threads,
        ).clone()
        config = ms.cost_model.xgb_model.XGBConfig(seed=job.seed, nthread=job.threads)
        model = ms.cost_model.XGBModel(config=config, num_warmup_samples=per_round)
        if known := self._records[task.workload]:
            candidates = [record.as_measure_candidate() for record in known]
            results = [ms.runner.RunnerResult(record.run_secs, None) for record in known]
            model.update(context, candidates, results)
        context.pre_tuning(missing, per_round, database=self._ours, cost_model=model)
        # One for all tasks: making one starts and ends several processes.
        self._measurer = self._measurer or _Measurer(self._job, self._target)
        while (candidates := context.generate_measure_candidates()) is not None:
            watch.check()
            results = []
            for candidate, result in self._measurer(list(candidates)):
                watch.check()
                self._commit(task, candidate, result)
                watch.add_trial(_milliseconds(result.run_secs))
                results.append(result)
            model.update(context, candidates, results)
            context.notify_runner_results(candidates, results)
        context.post_tuning()
        if self.count_missing(task):
            self._sidecar.add_exhausted(self._mark(task))

    def build(self):
        """The model with the best schedules of the database, as TVM is set to compile it now."""
        model = self._job.model
        compile_relay = ms.relay_integration.compile_relay
        return compile_relay(self._ours, model.mod, self._target, model.params)

    def _commit(self, task: Task, candidate, result) -> None:
        record = ms.database.TuningRecord(
            candidate.sch.trace,
            self._disk.commit_workload(task.native),
            [_FAILED_S] if result.run_secs is None else result.run_secs,
            self._target,
            candidate.args_info,
        )
        self._disk.commit_tuning_record(record)
        self._keep(record)

    def _keep(self, record: ms.database.TuningRecord) -> None:
        workload = self._ours.commit_workload(record.workload.mod)
        parts = (record.run_secs, record.target, record.args_info)
        self._ours.commit_tuning_record(ms.database.TuningRecord(record.trace, workload, *parts))
        self._records[ms.utils.shash2hex(record.workload.mod)].append(record)

    def _mark(self, task: Task) -> str:
        return f"{self._target} {task.workload}"


class _Measurer:
    """Builds a round of candidates together and runs them one by one, or one a machine."""

    def __init__(self, job: Job, target: tvm.target.Target):
        self._target, self._tracker = target, job.tracker
        count = job.tracker.count_servers() if job.tracker else 1
        self._count = count
        self._builder = ms.builder.LocalBuilder(max_workers=job.threads, timeout_sec=TIMEOUT_S)
        config = ms.runner.EvaluatorConfig(**MEASURE)
        if job.tracker is None:
            self._runner = ms.runner.LocalRunner(timeout_sec=TIMEOUT_S, evaluator_config=config)
            return
        rpc = ms.runner.RPCConfig(
            tracker_host=job.tracker.host,
            tracker_port=job.tracker.port,
            tracker_key=job.tracker.key,
            session_timeout_sec=TIMEOUT_S,
        )
        self._runner = ms.runner.RPCRunner(rpc, config, max_workers=count)

    def __call__(self, candidates: list) -> Iterator[tuple]:
        """Each candidate with its result, as soon as there is one."""
        inputs = [ms.builder.BuilderInput(each.sch.mod, self._target) for each in candidates]
        built = list(zip(candidates, self._builder.build(inputs)))
        for start in range(0, len(built), self._count):
            group = built[start : start + self._count]
            yield from zip([candidate for candidate, _ in group], self._run(group))

    def _run(self, group: list) -> list:
        results = self._run_once(group)
        for _ in range(RUN_ATTEMPTS - 1 if self._tracker else 0):
            failed = [
                index
                for index, (_, built) in enumerate(group)
                if built.error_msg is None and results[index].run_secs is None
            ]
            if not failed:
                break
            self._tracker.count_servers()
            for index, again in zip(failed, self._run_once([group[i] for i in failed])):
                results[index] = again
        return results

    def _run_once(self, group: list) -> list:
        kind = self._target.kind.name
        started = [
            self._runner.run([ms.runner.RunnerInput(built.artifact_path, kind, each.args_info)])[0]
            if built.error_msg is None
            else None
            for each, built in group
        ]
        return [
            ms.runner.RunnerResult(None, built.error_msg) if future is None else future.result()
            for future, (_, built) in zip(started, group)
        ]


def add_cores(target: tvm.target.Target, threads: int) -> tvm.target.Target:
    """The target with the number of cores, which MetaSchedule needs of a CPU."""
    if target.kind.name != "llvm" or "num-cores" in target.attrs:
        return target
    return tvm.target.Target(f"{target} -num-cores={threads}")


def _milliseconds(seconds) -> float | None:
    if seconds is None:
        return None
    mean = float(np.mean([float(value) for value in seconds]))
    return mean * 1e3 if mean < _FAILED_S else None
