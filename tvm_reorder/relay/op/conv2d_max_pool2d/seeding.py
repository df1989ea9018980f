"""Start the search of a fused operator from what was found for the convolution in it.

The fused space is several times larger than the plain one.  The channel blocks and the order of
summation that suit the convolution suit the fused operator too.  So with a record of the plain
one, two blockings are left, that record's and TVM's default, with the tiles that the model expects
most of: few enough for a short search to try them all.
"""

from __future__ import annotations

import os

from tvm import autotvm, te
from tvm.autotvm.task.space import ConfigSpace

from .attributes import FusedAttributes
from .template import define_blocked_space, make_default_plain, read_blocking
from .tuned import TASK, plain_workload

_TILES = 10  # of each blocking


def seed_task(task: autotvm.task.Task, log: str | os.PathLike | None) -> autotvm.task.Task:
    """A fused task whose space is narrowed around the best plain record of a log.

    Parameters
    ----------
    task : autotvm.task.Task
        A task of the fused operator.
    log : path or None
        AutoTVM's log; need not exist yet.

    Returns
    -------
    autotvm.task.Task
        A task of its own with the narrowed space, or `task` itself if the log has no record of the
        convolution for the same target.

    Raises
    ------
    ValueError
        If the task is of another operator.
    """
    if task.name != TASK:
        raise ValueError(f"task is {task.name!r} but must be {TASK!r}")
    data, kernel, attributes = _read_arguments(task)
    plain = _find_best(plain_workload(data, kernel, attributes), task.target, log)
    if plain is None:
        return task
    space = ConfigSpace()
    with task.target:
        default = make_default_plain(data, kernel, attributes)
        blockings = list(dict.fromkeys([read_blocking(default), read_blocking(plain)]))
        define_blocked_space(space, data, kernel, attributes, blockings, _TILES)
    seeded = autotvm.task.create(task.name, task.args, task.target)
    seeded.config_space = space
    seeded.flop = task.flop
    return seeded


def _read_arguments(task) -> tuple[te.Tensor, te.Tensor, FusedAttributes]:
    data, kernel = (te.placeholder(shape, dtype) for _, shape, dtype in task.args[:2])
    return data, kernel, FusedAttributes.from_arguments(task.args[1][1], task.args[2:])


def _find_best(workload: tuple, target, log):
    if log is None or not os.path.exists(log):
        return None
    best, least = None, float("inf")
    for trial, result in autotvm.record.load_from_file(str(log)):
        if result.error_no != 0 or trial.task.workload != workload:
            continue
        if str(trial.target) != str(target) or sum(result.costs) / len(result.costs) >= least:
            continue
        best, least = trial.config, sum(result.costs) / len(result.costs)
    return best
