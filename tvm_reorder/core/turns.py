"""Timing several builds in turns, so that a drift of the machine hits all of them alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Protocol, TypeVar

ROUND_MS = 20.0  # a round repeats a build until it lasts this long, for a figure above the clock

Name = TypeVar("Name", bound=Hashable)


class Timed(Protocol):
    """Something that can be run and timed."""

    def milliseconds(self, number: int) -> float:
        """Mean time out of `number` runs, after one that is not counted."""


def time_in_turns(
    runners: Mapping[Name, Timed],
    rounds: int,
    advance: Callable[[], None] = lambda: None,
) -> dict[Name, list[float]]:
    """Times of each, one figure a round, each round in another order.

    Parameters
    ----------
    runners : mapping of a name to Timed
        What to time; not empty.
    rounds : int
        Figures for each.
    advance : callable, optional
        Called after every round.

    Returns
    -------
    dict of a name to list of float
        Milliseconds.
    """
    warm = max(runner.milliseconds(1) for runner in runners.values())
    number = max(1, math.ceil(ROUND_MS / max(warm, 1e-3)))
    times: dict[Name, list[float]] = {name: [] for name in runners}
    order = list(runners)
    for _ in range(rounds):
        for name in order:
            times[name].append(runners[name].milliseconds(number))
        order = order[1:] + order[:1]  # none always runs on the same one's heels
        advance()
    return times
