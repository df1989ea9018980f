"""A pytest plugin for TVM's own tests: runs each with the pass on, or without it.

Loaded with ``-p`` into a process of its own (``test_tvms_own_tests.py``).  Environment variables:

``TVM_REORDER_OUTCOMES``   the file to write: outcomes by test, and what the pass did
``TVM_REORDER_DECISION``   ``enabled(decision=...)``; not set for TVM as it is
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

import tvm_reorder

_RANK = ("passed", "xpassed", "xfailed", "skipped", "failed", "error")
_outcomes: dict[str, str] = {}
_done = {"runs": 0, "sites": 0, "exchanged": 0, "fused": 0, "errors": []}


@contextmanager
def _switched_on(decision: str):
    with tvm_reorder.enabled(decision=decision, opt_level=0) as report:
        yield
    _done["runs"] += len(report.runs)
    for run in report.runs:
        statuses = [site.status for site in run if site.is_max_pool]
        _done["sites"] += len(statuses)
        _done["exchanged"] += statuses.count(tvm_reorder.Status.EXCHANGED)
        _done["fused"] += statuses.count(tvm_reorder.Status.FUSED)
    _done["errors"] += [repr(error) for error in report.errors]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """The test itself inside a block in which the pass is on."""
    decision = os.environ.get("TVM_REORDER_DECISION")
    with _switched_on(decision) if decision else nullcontext():
        return (yield)


def pytest_runtest_logreport(report):
    """Keep the worst of a test's phases."""
    known = _outcomes.get(report.nodeid, "passed")
    _outcomes[report.nodeid] = max(known, _read_outcome(report), key=_rank)


def pytest_sessionfinish(session):
    """Write all of it."""
    found = {"outcomes": _outcomes, **_done}
    Path(os.environ["TVM_REORDER_OUTCOMES"]).write_text(json.dumps(found), encoding="utf-8")


def _read_outcome(report) -> str:
    if hasattr(report, "wasxfail"):
        return "xpassed" if report.passed else "xfailed"
    if not report.failed:
        return report.outcome
    crash = getattr(report.longrepr, "reprcrash", None)
    kind = "failed" if report.when == "call" else "error"
    return f"{kind} ({crash.message.partition(':')[0]})" if crash else kind


def _rank(outcome: str) -> int:
    return _RANK.index(outcome.partition(" ")[0])
