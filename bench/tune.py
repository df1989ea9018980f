"""AutoTVM for the convolutions of a network, plain and fused alike.

    python -m bench.tune NETWORK --trials N --log FILE [--threads 2] [--batch 1] [--default-blocks]

Every task gets the same number of trials; failed ones count.  Plain convolutions come first, for a
fused one starts from what was found for the plain convolution in it.  Each trial is in the log
before the next one starts, so a kill loses the trial under way at most: the same command goes on
from there, and skips tasks that have their trials.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import tvm
from tvm import autotvm
from tvm.autotvm.tuner import XGBTuner

import tvm_reorder
from tvm_reorder.relay.floor_division import mend_floor_division
from tvm_reorder.relay.op.conv2d_max_pool2d import TASK as FUSED
from tvm_reorder.relay.op.conv2d_max_pool2d import seed_task

from .harness import use_threads
from .networks import NETWORKS, Network, load_network
from .peak import TARGET

_PLAIN = ("conv2d", "depthwise_conv2d", "group_conv2d")

History = dict[tuple, list[tuple[autotvm.MeasureInput, autotvm.MeasureResult]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network", choices=NETWORKS, metavar="NETWORK")
    parser.add_argument("--trials", type=int, required=True, help="trials of each task")
    parser.add_argument("--log", required=True, metavar="FILE", help="grows by a line a trial")
    parser.add_argument("--threads", type=int, default=2, help="threads of TVM (default: 2)")
    parser.add_argument("--batch", type=int, default=1, help="batch size (default: 1)")
    parser.add_argument(
        "--default-blocks",
        action="store_true",
        help="keep TVM's default channel blocks: then no layout transform joins the network",
    )
    args = parser.parse_args()
    # AutoTVM's own processes go only with an orderly end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    use_threads(args.threads)  # the processes that measure inherit it
    drop_cut_line(args.log)
    plain, fused = extract_tasks(load_network(args.network, args.batch))
    tasks = [*plain, *fused]
    if args.default_blocks:
        tasks = [keep_default_blocks(task) for task in tasks]
    for index, task in enumerate(tasks):
        done = tune_task(task, args.trials, args.log)
        state = f"{done} trials" if done else "has its trials"
        print(f"{index + 1} of {len(tasks)}, {_describe(task)}: {state}", file=sys.stderr)


def extract_tasks(network: Network) -> tuple[list[autotvm.task.Task], list[autotvm.task.Task]]:
    """The plain convolutions of a network, and those fused with the pool behind them."""
    plain = _extract(network)
    with tvm_reorder.enabled(decision="fuse") as report:
        fused = _extract(network)
    if report.errors:
        raise report.errors[-1]
    return (
        [task for task in plain if task.name.startswith(_PLAIN)],
        [task for task in fused if task.name == FUSED],
    )


def _extract(network: Network) -> list[autotvm.task.Task]:
    with mend_floor_division():
        return autotvm.task.extract_from_program(network.mod, network.params, TARGET)


def keep_default_blocks(task: autotvm.task.Task) -> autotvm.task.Task:
    """The task with its channel blocks fixed to those that TVM would choose without a log.

    AutoTVM tunes each operator by itself; where two neighbours end up with different blocks, a
    layout transform between them costs more than the better blocks gain.
    """
    space = task.config_space
    wanted = default_blocks(task)
    for knob, block in zip(("tile_oc", "tile_ic"), wanted):
        if knob in space.space_map:
            entities = space.space_map[knob].entities
            space.space_map[knob].entities = [e for e in entities if e.size[-1] == block]
    if task.name == FUSED:
        space.space_map["unroll_kw"].entities = space.space_map["unroll_kw"].entities[:1]
    space.clear_cache()
    return task


def default_blocks(task: autotvm.task.Task) -> tuple[int, int]:
    """TVM's default channels of a block, out and in, with AVX-512."""
    (_, (_, channels, *_), _), (_, (filters, *_), _) = task.args[:2]
    out_block = max(b for b in range(1, 17) if filters % b == 0)
    return out_block, max(b for b in range(1, out_block + 1) if channels % b == 0)


def tune_task(task: autotvm.task.Task, trials: int, log: str) -> int:
    """Bring one task to its number of trials, or to as many as its space has.

    Parameters
    ----------
    task : autotvm.task.Task
        The task.
    trials : int
        How many there are to be in the log in the end.
    log : str
        The log.

    Returns
    -------
    int
        Trials made now.
    """
    if task.name == FUSED and not is_narrowed(task):
        task = seed_task(task, log)
    records = read_history(log)[task.workload]
    missing = min(trials, len(task.config_space)) - len(records)
    if missing <= 0:
        return 0
    random.seed(0)  # AutoTVM draws from both
    np.random.seed(0)
    tuner = XGBTuner(task, loss_type="reg", feature_type="knob")
    replay(tuner, records)
    tuner.tune(missing, _measure_option(), callbacks=[autotvm.callback.log_to_file(log)])
    return missing


def is_narrowed(task: autotvm.task.Task) -> bool:
    """True if `keep_default_blocks` has left one blocking."""
    return len(task.config_space.space_map["tile_oc"].entities) == 1


def _measure_option() -> dict:
    # One at a time: several would reach the log together, and a build would disturb a measurement.
    builder = autotvm.LocalBuilder(timeout=60, n_parallel=1)
    runner = autotvm.LocalRunner(number=1, repeat=3, min_repeat_ms=100, timeout=60)
    return autotvm.measure_option(builder, runner)


def read_history(log: str) -> History:
    """Trials for our target in a log, by workload; a log that is not there yet has none."""
    target = str(tvm.target.Target(TARGET))
    history: History = defaultdict(list)
    if not os.path.exists(log):
        return history
    for trial, result in autotvm.record.load_from_file(log):
        if str(trial.target) == target:
            history[trial.task.workload].append((trial, result))
    return history


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


def drop_cut_line(log: str) -> None:
    """Cut off a last line that a kill has left unfinished: AutoTVM could not read the log."""
    path = Path(log)
    if not path.exists():
        return
    text = path.read_bytes()
    if text and not text.endswith(b"\n"):
        path.write_bytes(text[: text.rfind(b"\n") + 1])


def _describe(task: autotvm.task.Task) -> str:
    shapes = [list(arg[1]) for arg in task.args if isinstance(arg, tuple) and arg[0] == "TENSOR"]
    return f"{task.name} {' '.join(map(str, shapes))}"


if __name__ == "__main__":
    main()
