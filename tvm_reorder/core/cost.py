"""What an exchange saves, counted in scalar operations.

An elementwise step costs one evaluation per element; pooling a window of n real elements costs
n - 1 comparisons (the paper's worked example: 16 values under a 2x2 pool, 16 + 12 = 28 operations
before the exchange and 12 + 4 = 16 after it).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from .window import PoolWindow


@dataclass(frozen=True)
class Evaluations:
    """Elementwise evaluations of the moved steps before and after, per batch item if it varies."""

    before: int
    after: int

    @property
    def is_saving(self) -> bool:
        """The measure every exchange makes fall."""
        return self.after < self.before


def count_evaluations(
    window: PoolWindow, planes: int, steps: int, clamps: bool = False
) -> Evaluations:
    """Evaluations of `steps` elementwise steps on `planes` feature maps.

    Parameters
    ----------
    window : PoolWindow
        The pool's geometry.
    planes : int
        Batch times channels.
    steps : int
        Elementwise operators moved past the pool.
    clamps : bool
        True if the exchange adds a clamp behind them.
    """
    size = prod(axis.size for axis in window.axes)
    return Evaluations(planes * steps * size, planes * (steps + clamps) * prod(window.outputs))


def count_operations(window: PoolWindow, planes: int, steps: int) -> Evaluations:
    """As `count_evaluations`, with the pool's own comparisons added to both sides."""
    moved = count_evaluations(window, planes, steps)
    comparisons = planes * window.comparisons
    return Evaluations(moved.before + comparisons, moved.after + comparisons)
