"""The chart of decisions: what was expected at each site against what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..ratio import Ratio
from .charts import put_legend
from .numbers import say_number, shorten, spread_apart
from .style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    PAPER,
    PURPLE,
    VERMILLION,
    WIDTH,
    new_figure,
    set_ratio_axis,
)

_NAMED = 6  # sites named in the chart of decisions
_ACTION_MARKS = {"fuse": "o", "exchange": "s", "keep": "D"}
_BASIS_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, GREY)


@dataclass(frozen=True)
class Choice:
    """What was expected of the decision at a site, and what was measured."""

    label: str
    action: str
    basis: str
    expected: float
    measured: Ratio


def draw_choices(choices: Sequence[Choice]) -> Figure:
    """Expected against measured gain, a mark for each site; on the diagonal they are the same.

    Parameters
    ----------
    choices : sequence of Choice
        At least one.
    """
    figure = new_figure(4.7)
    axes = figure.add_subplot()
    bases = list(dict.fromkeys(choice.basis for choice in choices))
    colours = {basis: _BASIS_COLOURS[i % len(_BASIS_COLOURS)] for i, basis in enumerate(bases)}
    for choice in choices:
        _mark_choice(axes, choice, colours[choice.basis])
    expected = [choice.expected for choice in choices]
    low = min([*expected, *(choice.measured.lower for choice in choices)])
    high = max([*expected, *(choice.measured.upper for choice in choices)])
    for axis in ("x", "y"):
        set_ratio_axis(axes, low, high, WIDTH - 0.6, axis)
    limits = axes.get_xlim()
    axes.plot(limits, limits, color=INK, linewidth=0.8, linestyle="--", zorder=1)
    axes.axhline(1.0, color=INK, linewidth=0.8, zorder=1)
    _label_outliers(axes, choices)
    axes.grid()
    axes.set_xlabel("expected gain at the site (stock ÷ ours)")
    axes.set_ylabel("measured gain (above 1: ours faster)")
    pairs = dict.fromkeys((choice.action, choice.basis) for choice in choices)
    put_legend(
        figure,
        [
            (
                f"{action} by {basis}",
                colours[basis],
                _ACTION_MARKS.get(action, "^"),
                action != "keep",
            )
            for action, basis in pairs
        ],
    )
    return figure


def _mark_choice(axes: Axes, choice: Choice, colour: str) -> None:
    measured, x = choice.measured, choice.expected
    axes.plot([x, x], [measured.lower, measured.upper], color=colour, linewidth=1, alpha=0.6)
    shape = _ACTION_MARKS.get(choice.action, "^")
    face = PAPER if choice.action == "keep" else colour
    axes.plot(x, measured.median, shape, color=colour, markerfacecolor=face, markersize=5.5)


def _label_outliers(axes: Axes, choices: Sequence[Choice]) -> None:
    """Names of the sites whose measured gain is farthest from the expected one.

    They stand where the diagonal leaves room, in a column on either side, tied to their marks.
    """
    farthest = sorted(choices, key=_miss, reverse=True)[:_NAMED]
    above = [choice for choice in farthest if choice.measured.median > choice.expected]
    below = [choice for choice in farthest if choice.measured.median <= choice.expected]
    for side, x, named, low, high in (
        ("left", 0.02, above, 0.55, 0.97),
        ("right", 0.98, below, 0.05, 0.2),
    ):
        # From the bottom up, so that the lines to the marks do not cross.
        named.sort(key=lambda choice: -choice.expected if x > 0.5 else choice.measured.median)
        heights = sorted(_height(axes, choice) for choice in named)
        for choice, y in zip(named, spread_apart(heights, 0.055, low, high)):
            axes.annotate(
                shorten(f"{choice.label}, {say_number(choice.measured.median)}", 32),
                (choice.expected, choice.measured.median),
                xytext=(x, y),
                textcoords="axes fraction",
                ha=side,
                va="center",
                fontsize=8,
                arrowprops={
                    "arrowstyle": "-",
                    "relpos": (1, 0.5),
                    "color": INK,
                    "alpha": 0.5,
                    "linewidth": 0.7,
                },
            )


def _height(axes: Axes, choice: Choice) -> float:
    """Where a site's mark is, as a share of the chart's height."""
    pixels = axes.transData.transform((choice.expected, choice.measured.median))
    return float(axes.transAxes.inverted().transform(pixels)[1])


def _miss(choice: Choice) -> float:
    miss = choice.measured.median / choice.expected
    return max(miss, 1 / miss)
