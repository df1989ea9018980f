"""The builds that are compared, and the tasks that occur in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tvm

import tvm_reorder
from tvm_reorder.relay.floor_division import mend_floor_division

from ..harness import choose_licence
from .job import Task

# What is done at each site of a build; None is TVM without the pass.
DECISIONS: dict[str, str | None] = {"stock": None, "exchanged": "exchange", "ours": "auto"}
VARIANTS = tuple(DECISIONS)

Extracted = tuple[str, str, Any]  # workload, name, the tuner's own task


@contextmanager
def reordered(
    decision: str | None, target: tvm.target.Target
) -> Iterator[tvm_reorder.Report | None]:
    """A block in which TVM compiles with this decision at each site.

    Yields
    ------
    Report or None
        Filled by what is compiled; None without the pass.

    Raises
    ------
    Exception
        What the pass failed with: TVM goes on then, and stock would be compared with stock.
    """
    if decision is None:
        with mend_floor_division():
            yield None
        return
    with tvm_reorder.enabled(decision=decision, licence=choose_licence(target)) as report:
        yield report
    if report.errors:
        raise report.errors[-1]


def gather_tasks(
    extract: Callable[[], Iterable[Extracted]],
    ways: Mapping[str, Iterable[str | None]],
    target: tvm.target.Target,
) -> list[Task]:
    """The tasks of all builds, each once, in the order in which they are met.

    Parameters
    ----------
    extract : callable
        Gives the tasks of the model as compiled in the block around it.
    ways : mapping of str to iterable of str or None
        For each build, the decisions whose tasks it may need.
    target : tvm.target.Target
        What is compiled for.
    """
    extracted: dict[str | None, list[Extracted]] = {}
    found: dict[str, tuple[str, Any, list[str]]] = {}
    for variant, decisions in ways.items():
        for decision in decisions:
            if decision not in extracted:
                with reordered(decision, target):
                    extracted[decision] = list(extract())
            for workload, name, native in extracted[decision]:
                variants = found.setdefault(workload, (name, native, []))[2]
                if variant not in variants:
                    variants.append(variant)
    return [
        Task(name, workload, tuple(variants), native)
        for workload, (name, native, variants) in found.items()
    ]
