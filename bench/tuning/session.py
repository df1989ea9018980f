"""A run of the tuning script: tune what is missing, compare, and keep the row."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from statistics import median
from typing import TextIO

from ..harness import merge_rows, read_commit, read_rows, write_results
from ..ratio import Ratio
from ..wording import say_result
from .auto_scheduler import AutoScheduler
from .autotvm import AutoTvm
from .compare import compare
from .job import Job, Task
from .log import Sidecar
from .meta_schedule import MetaSchedule
from .watch import Watch

TUNERS = {"autotvm": AutoTvm, "auto_scheduler": AutoScheduler, "meta_schedule": MetaSchedule}
STEM = "tuned"
KEY = ("network", "tuner", "batch", "threads", "target")


def tune_all(tuner, tasks: list[Task], job: Job, stream: TextIO) -> None:
    """Bring every task to its trials.

    Parameters
    ----------
    tuner : AutoTvm, AutoScheduler or MetaSchedule
        Tunes.
    tasks : list of Task
        What it found.
    job : Job
        What to tune.
    stream : TextIO
        For the progress.

    Raises
    ------
    Stopped
        If a signal asked for an end.
    UsageError
        If the machines that measure are gone.
    """
    Sidecar(job.log, job.tracker).write_machine()
    total = sum(map(tuner.count_missing, tasks))
    with Watch(len(tasks), total, stream) as watch:
        for task in tasks:
            watch.begin(task.name, _best(tuner.read_times(task)))
            if tuner.count_missing(task):
                tuner.tune(task, watch)
            watch.finish()
            watch.check()


def save_row(tuner, tasks: list[Task], job: Job, args: Namespace) -> None:
    """Compare the builds and put the row into ``tuned.json`` and ``tuned.md``."""
    done = [tuner.read_times(task) for task in tasks]
    row = {
        "network": Path(args.model).name,
        "tuner": args.tuner,
        "trials": job.trials or max(map(len, done), default=0),
        "threads": job.threads,
        "batch": args.batch,
        "target": args.target,
        "seed": job.seed,
        "commit": read_commit(),
        "log": str(job.log),
        "default_blocks": job.default_blocks,
        "tracker": None if job.tracker is None else {"key": job.tracker.key},
        "tasks": [
            {
                "name": task.name,
                "workload": task.workload,
                "variants": list(task.variants),
                "trials": len(times),
                "failed": times.count(None),
                "best_ms": _best(times),
            }
            for task, times in zip(tasks, done)
        ],
        **compare(tuner, job, args.repeat),
    }
    rows = merge_rows(read_rows(STEM), [row], KEY)
    write_results(STEM, {"rows": rows}, tabulate(rows))


def tabulate(rows: list[dict]) -> list[list[str]]:
    """Ratios are stock / other, with the quartiles of the rounds' own ratios."""
    header = ["network", "tuner", "batch", "threads", "target", "trials", "tasks", "kernels"]
    header += ["stock ms", "exchanged ms", "ours ms"]
    header += ["stock / exchanged (quartiles)", "stock / ours (quartiles)"]
    header += ["results of exchanged", "results of ours"]
    rows = sorted(rows, key=lambda row: tuple(str(row[field]) for field in KEY))
    return [header, *map(_tabulate_row, rows)]


def _tabulate_row(row: dict) -> list[str]:
    times = row["time_ms"]
    return [
        *(str(row[field]) for field in KEY),
        str(row["trials"]),
        str(len(row["tasks"])),
        " / ".join(map(str, row["kernels"].values())),
        *(f"{median(samples):.3f}" for samples in times.values()),
        str(Ratio.of(times["stock"], times["exchanged"])),
        str(Ratio.of(times["stock"], times["ours"])),
        *(_say_results(row, variant) for variant in ("exchanged", "ours")),
    ]


def _say_results(row: dict, variant: str) -> str:
    said = say_result({key: row[key][variant] for key in ("bit_equal", "equal", "difference")})
    return f"{said}, the same program as stock" if row["same_program"][variant] else said


def _best(times: list[float | None]) -> float | None:
    return min((time for time in times if time is not None), default=None)
