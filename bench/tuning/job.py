"""What is tuned, and what one tuning task is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from tvm_reorder.cli.models import Model

from .tracker import Tracker

# How a trial is timed, by every tuner: the same as AutoTVM's examples for CPUs.
MEASURE = {"number": 1, "repeat": 3, "min_repeat_ms": 100}
TIMEOUT_S = 60  # of a build and of a run, each
RUN_ATTEMPTS = 3  # on other machines, where a run may fail for the machine's sake


@dataclass(frozen=True)
class Job:
    """A model to be tuned.

    Parameters
    ----------
    model : Model
        The model.
    target : tvm.target.Target
        What it is compiled for.
    trials : int
        Trials of each task.
    seed : int
        Of every search, and of the inputs of the comparison.
    log : Path
        Where trials are kept: a file, or a folder for MetaSchedule.
    threads : int
        Threads of TVM, and processes that build at once.
    default_blocks : bool
        AutoTVM only: keep TVM's default channel blocks.
    tracker : Tracker, optional
        The machines that measure; this one by default.
    """

    model: Model
    target: tvm.target.Target
    trials: int
    seed: int
    log: Path
    threads: int
    default_blocks: bool = False
    tracker: Tracker | None = None


@dataclass(frozen=True)
class Task:
    """One thing to be tuned.

    Parameters
    ----------
    name : str
        For people.
    workload : str
        The tuner's key; equal for equal work.
    variants : tuple of str
        The builds that it occurs in.
    native : object
        What the tuner itself calls a task.
    """

    name: str
    workload: str
    variants: tuple[str, ...]
    native: Any
