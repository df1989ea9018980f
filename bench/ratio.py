"""How much faster: the ratio of two builds that were timed in turns, and its spread."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Ratio:
    """Times of one build over times of another, above 1 if the other is faster.

    Each round gives a ratio of its own, of two figures taken one after the other; the quartiles
    are theirs, and say how far the median can be trusted.
    """

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, times: list[float], others: list[float]) -> Ratio:
        """From the rounds of both.

        Raises
        ------
        ValueError
            If the numbers of rounds differ.
        """
        ratios = [time / other for time, other in zip(times, others, strict=True)]
        if len(ratios) == 1:
            return cls(ratios[0], ratios[0], ratios[0])
        lower, _, upper = quantiles(ratios, n=4, method="inclusive")
        return cls(median(ratios), lower, upper)

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.lower:.3f}-{self.upper:.3f})"
