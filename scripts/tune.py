"""Tune a network with and without the pass, the same tasks, trials and seed, and compare.

    python -m scripts.tune --model MODEL --tuner autotvm|auto_scheduler|meta_schedule --trials N
        [--target T] [--threads 2] [--batch 1] [--seed 0] [--log PATH] [--default-blocks]
        [--tracker HOST:PORT --key K] [--repeat 15] [--results DIR] [--only-compare]

What several builds share is tuned once.  After a kill the same command goes on; a task that has its
trials in the log is left alone.  Results go to ``tuned.json`` and ``tuned.md``.

Exit status: 0 done, 2 bad usage or input, 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import argparse
import sys
from typing import TextIO

from bench.harness import read_rows, run_main, use_results, use_threads
from bench.quiet import quiet
from bench.tuning.log import Sidecar
from bench.tuning.options import make_parser, read_job
from bench.tuning.session import STEM, TUNERS, save_row, tune_all
from bench.tuning.watch import Stopped
from tvm_reorder.cli.lines import say


def main() -> int:
    args = make_parser(__doc__.partition("\n")[0]).parse_args()
    use_threads(args.threads)  # the processes that measure inherit it
    use_results(args.results)
    read_rows(STEM)  # what cannot be added to must show before the long work
    with quiet(args.verbose) as stderr:
        return _run(args, stderr)


def _run(args: argparse.Namespace, stderr: TextIO) -> int:
    job = read_job(args)
    tuner = TUNERS[args.tuner](job)
    for line in Sidecar(job.log, job.tracker).describe_mismatch() + tuner.describe_foreign():
        say(f"note: {line}", stderr)
    tasks = tuner.find_tasks()
    try:
        if not args.only_compare:
            tune_all(tuner, tasks, job, stderr)
    except Stopped as stop:
        done = sum(len(tuner.read_times(task)) for task in tasks)
        say(f"{stop}: {done} trials are in {job.log}; the same command goes on", stderr)
        return stop.status
    save_row(tuner, tasks, job, args)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
