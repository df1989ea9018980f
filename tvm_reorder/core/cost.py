"""What an exchange saves, counted in scalar operations.

An elementwise step costs one evaluation per element; pooling a window of n real elements costs
n - 1 comparisons (the paper's worked example: 16 values under a 2x2 pool, 16 + 12 = 28 operations
before the exchange and 12 + 4 = 16 after it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from .ends import THE_MAXIMUM, Ends
from .window import PoolWindow

# ns that one evaluation takes on one core, by what TVM calls to compute it; taken from
# ``bench/results/activations.md``, llvm with AVX-512.  A step that is not named costs nothing that
# can be told beside a convolution (add, multiply, maximum, clip).
EVALUATION_NS: dict[str, float] = {
    "exp": 2.05,
    "sigmoid": 2.29,
    "tanh": 4.72,
    "erf": 10.56,
    "log": 2.25,
    "log2": 2.19,
    "log10": 4.75,
    "sinh": 4.25,
    "atan": 11.48,
    "asinh": 22.6,
    "sqrt": 0.11,
    "fast_exp": 0.15,
    "fast_tanh": 0.18,
    "fast_erf": 0.2,
}
_EXPENSIVE_NS = 0.5


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
    window: PoolWindow,
    planes: int,
    steps: int,
    clamps: bool = False,
    ends: Ends = THE_MAXIMUM,
    folds_signs: bool = False,
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
    ends : Ends
        Both ends take the steps twice; the second pool with its negations, and the comparison of
        the two results, count as pooling.  Signs are one more step behind the pool.
    folds_signs : bool
        False if signs are one more step in front of the pool, too.
    """
    size, pooled = window.elements, prod(window.outputs)
    behind = 2 * steps if ends.is_both else steps + bool(ends.signs)
    in_front = size if ends.signs and not folds_signs else 0
    return Evaluations(planes * steps * size, planes * ((behind + clamps) * pooled + in_front))


def count_operations(window: PoolWindow, planes: int, steps: int) -> Evaluations:
    """As `count_evaluations`, with the pool's own comparisons added to both sides."""
    moved = count_evaluations(window, planes, steps)
    comparisons = planes * window.comparisons
    return Evaluations(moved.before + comparisons, moved.after + comparisons)


# What the composites of an activation's name spend their time on.
_PARTS: dict[str, tuple[str, ...]] = {
    "silu": ("sigmoid",),
    "gelu": ("erf",),
    "gelu_tanh": ("tanh",),
    "mish": ("exp", "log", "tanh"),
}


def evaluation_ns(chain: Iterable[str]) -> float:
    """Nanoseconds on one core to evaluate the steps of a chain once.

    Parameters
    ----------
    chain : iterable of str
        Names of operators, or of composites: ``"composite of exp, subtract"``.
    """
    return sum(EVALUATION_NS.get(name, 0.0) for name in name_functions(chain))


def name_functions(chain: Iterable[str]) -> list[str]:
    """Every function that evaluating the steps of a chain calls, such as ``"exp"``, in order."""
    words = (word.removeprefix("nn.") for name in chain for word in re.findall(r"[\w.]+", name))
    return [part for word in words for part in _PARTS.get(word, (word,))]


def is_expensive(chain: Iterable[str]) -> bool:
    """True if evaluating the chain costs more than the traffic of a kernel can hide."""
    return evaluation_ns(chain) >= _EXPENSIVE_NS
