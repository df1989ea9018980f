"""Medians with quartiles, what a ratio says, and numbers as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import floor, log10
from statistics import median, quantiles

from ..ratio import Ratio


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of samples, in the samples' unit."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, samples: list[float]) -> Spread:
        """From at least one sample."""
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        lower, _, upper = quantiles(samples, n=4, method="inclusive")
        return cls(median(samples), lower, upper)

    def __str__(self) -> str:
        figures = (say_number(value, 4) for value in (self.median, self.lower, self.upper))
        return "{} ({}-{})".format(*figures)


class Verdict(Enum):
    """What a ratio and its quartiles say."""

    FASTER = "faster"
    SAME = "the same within the quartiles"
    SLOWER = "slower"

    @classmethod
    def of(cls, ratio: Ratio) -> Verdict:
        """Faster or slower only where both quartiles are on the same side of 1."""
        if ratio.lower > 1:
            return cls.FASTER
        return cls.SLOWER if ratio.upper < 1 else cls.SAME


def say_number(value: float, digits: int = 3) -> str:
    """A number with at least so many digits that count, and no exponent."""
    if value == 0:
        return "0"
    return f"{value:.{max(0, digits - 1 - floor(log10(abs(value))))}f}"


def say_count(count: int, noun: str) -> str:
    """A number and its noun: 1 thread, 2 threads."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shorten(text: str, length: int = 26) -> str:
    """A label that leaves room for the chart; the table has the whole text."""
    return text if len(text) <= length else text[: length - 1] + "…"


def spread_apart(
    places: Sequence[float], gap: float, floor: float = 0.0, ceiling: float = 1.0
) -> list[float]:
    """Ascending places between two bounds, moved so that neighbours are at least `gap` apart.

    They move down, and up again from the floor; if there are too many they go past the ceiling.
    """
    moved = list(places)
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    for index, place in enumerate(moved):
        moved[index] = max(place, floor)
        floor = moved[index] + gap
    return moved
