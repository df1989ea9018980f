"""Tuned against tuned: all builds with the best of one log, outputs compared, timed in turns."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import tvm
from tvm import rpc

from tvm_reorder.cli.inputs import draw_inputs
from tvm_reorder.cli.measure import Runner, compare_outputs
from tvm_reorder.cli.targets import open_device

from ..harness import time_in_turns
from .job import Job
from .variants import DECISIONS, VARIANTS, reordered


def compare(tuner, job: Job, repeat: int) -> dict:
    """Build, compare and time one network.

    Parameters
    ----------
    tuner : AutoTvm, AutoScheduler or MetaSchedule
        Builds with the best of its log.
    job : Job
        What was tuned.
    repeat : int
        Rounds; each gives one figure for each build.

    Returns
    -------
    dict
        ``kernels``, ``equal``, ``bit_equal``, ``difference`` (relative to the largest value of the
        output; None where a value is not finite), ``same_program`` (True where the pass left every
        site as it was), ``time_ms`` and ``decisions``.
    """
    libraries, reports = {}, {}
    for variant in VARIANTS:
        with reordered(DECISIONS[variant], job.target) as report:
            libraries[variant] = tuner.build()
        reports[variant] = report
    session = job.tracker.open_session() if job.tracker else None
    device = open_device(job.target) if session is None else _remote_device(session, job.target)
    inputs = draw_inputs(job.model.inputs, job.seed)
    runners = {}
    for variant, library in libraries.items():
        there = library if session is None else _RemoteLibrary(library, session, variant)
        runners[variant] = Runner(there, inputs, device)
    stock = runners["stock"].outputs()
    outputs = {name: _compare(runners[name].outputs(), stock) for name in VARIANTS[1:]}
    times = time_in_turns(runners, repeat)
    return {
        "kernels": {name: runner.kernels for name, runner in runners.items()},
        **{key: {n: found[key] for n, found in outputs.items()} for key in outputs["ours"]},
        "same_program": {name: not reports[name].exchanged for name in VARIANTS[1:]},
        "time_ms": times,
        "rounds": times.describe(),
        "decisions": [
            {"site": site.name, **({} if site.decision is None else site.decision.as_dict())}
            for site in reports["ours"].sites
        ],
    }


def _compare(ours: list[np.ndarray], stock: list[np.ndarray]) -> dict:
    differences = [compare_outputs(*pair) for pair in zip(ours, stock)]
    relative = [
        None if found.max_abs_diff is None else found.max_abs_diff / _largest(output)
        for found, output in zip(differences, stock)
    ]
    return {
        "equal": all(found.equal for found in differences),
        "bit_equal": all(found.bit_equal for found in differences),
        "difference": None if None in relative else max(relative),
    }


def _largest(output: np.ndarray) -> float:
    return float(np.abs(output).max()) or 1.0


def _remote_device(session: rpc.RPCSession, target: tvm.target.Target):
    kind = target.kind.name
    return session.cpu() if kind == "llvm" else session.device(kind)


class _RemoteLibrary:
    """A library on another machine, as far as `Runner` needs it."""

    def __init__(self, library, session: rpc.RPCSession, name: str):
        self.get_graph_json = library.get_graph_json
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, f"{name}.tar")
            library.export_library(path)
            session.upload(path)
        self._module = session.load_module(f"{name}.tar")

    def __getitem__(self, name: str):
        return self._module[name]
