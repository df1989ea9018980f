"""Timing several builds in turns, so that a drift of the machine hits all of them alike.

A round in which a thread of this process waited for a core says more of the other work on the
machine than of the builds.  It is timed again, as often as there are rounds; what is returned are
the least disturbed ones.  Linux counts the waiting in ``/proc/self/task/*/schedstat``; elsewhere
every round counts as quiet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple, Protocol, TypeVar

ROUND_MS = 20.0  # a round repeats a build until it lasts this long, for a figure above the clock
QUIET = 0.02  # share of a round for which its threads, all together, may wait for a core
_TASKS = Path("/proc/self/task")

Name = TypeVar("Name", bound=Hashable)


class Timed(Protocol):
    """Something that can be run and timed."""

    def milliseconds(self, number: int) -> float:
        """Mean time out of `number` runs, after one that is not counted."""


class TimedRounds(dict[Name, list[float]]):
    """Milliseconds of each build, one figure a round.

    Attributes
    ----------
    run : int
        Rounds that were timed.
    quiet : int
        Those of the returned ones in which no thread waited for a core.
    """

    run: int
    quiet: int

    def describe(self) -> dict[str, int]:
        """How many rounds were run and kept, and how many of these were quiet, as JSON values."""
        kept = len(next(iter(self.values())))
        return {"run": self.run, "kept": kept, "quiet": self.quiet}


class _Round(NamedTuple):
    waited: float  # share of its time
    times: dict


def time_in_turns(
    runners: Mapping[Name, Timed],
    rounds: int,
    advance: Callable[[], None] = lambda: None,
    waited_ns: Callable[[], int] | None = None,
) -> TimedRounds[Name]:
    """Times of each, one figure a round, each round in another order.

    Parameters
    ----------
    runners : mapping of a name to Timed
        What to time; not empty.
    rounds : int
        Figures for each.
    advance : callable, optional
        Called once for each of `rounds`.
    waited_ns : callable, optional
        Nanoseconds for which threads have waited for a core so far; this process's by default.

    Returns
    -------
    TimedRounds
        Milliseconds; quiet rounds only, if there were enough of them.
    """
    waited_ns = waited_ns or read_waited_ns
    warm = max(runner.milliseconds(1) for runner in runners.values())
    number = max(1, math.ceil(ROUND_MS / max(warm, 1e-3)))
    done: list[_Round] = []
    order, quiet = list(runners), 0
    while quiet < rounds and len(done) < 2 * rounds:
        done.append(_time_round(runners, order, number, waited_ns))
        order = order[1:] + order[:1]  # none always runs on the same one's heels
        if done[-1].waited <= QUIET:
            quiet += 1
            advance()
    for _ in range(rounds - quiet):
        advance()
    return _keep_quietest(done, rounds)


def read_waited_ns() -> int:
    """Nanoseconds for which this process's threads have waited for a core; 0 if nobody counts."""
    waited = 0
    for task in _TASKS.glob("*/schedstat"):
        with suppress(OSError, IndexError, ValueError):  # a thread may end at any moment
            waited += int(task.read_text().split()[1])
    return waited


def _time_round(runners, order, number: int, waited_ns: Callable[[], int]) -> _Round:
    before, start = waited_ns(), perf_counter_ns()
    times = {name: runners[name].milliseconds(number) for name in order}
    lasted, waited = perf_counter_ns() - start, waited_ns() - before
    return _Round(waited / max(lasted, 1), times)


def _keep_quietest(done: list[_Round], rounds: int) -> TimedRounds:
    """The least disturbed rounds, in the order in which they were run."""
    chosen = sorted(range(len(done)), key=lambda k: done[k].waited)
    kept = [done[k] for k in sorted(chosen[:rounds])]
    result = TimedRounds({name: [r.times[name] for r in kept] for name in done[0].times})
    result.run, result.quiet = len(done), sum(r.waited <= QUIET for r in kept)
    return result
