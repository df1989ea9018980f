"""The page's charts of ratios and of times; one function a chart.

Each takes plain figures and gives a matplotlib figure; `style.to_svg` makes a page's element of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..ratio import Ratio
from .numbers import Spread, Verdict, shorten
from .style import (
    BLUE,
    GREY,
    INK,
    PAPER,
    VERMILLION,
    WIDTH,
    new_figure,
    set_ratio_axis,
)

_ROW = 0.215  # inches
_HEADING = 1.35  # rows
_MARKS = {  # colour, shape, filled
    Verdict.FASTER: (BLUE, "o", True),
    Verdict.SAME: (GREY, "o", False),
    Verdict.SLOWER: (VERMILLION, "v", True),
}


@dataclass(frozen=True)
class Bar:
    """One bar: its name, what it measures, its colour, and a text at its end."""

    label: str
    spread: Spread
    colour: str
    text: str


def draw_ratios(groups: Sequence[tuple[str, Sequence[tuple[str, Ratio]]]], label: str) -> Figure:
    """A mark with whiskers for each ratio, group under group, on one axis stretched around 1.

    Parameters
    ----------
    groups : sequence of (heading, sequence of (label, Ratio))
        At least one ratio; a heading may be empty.
    label : str
        The axis's label.
    """
    count = sum(len(rows) + _HEADING * bool(heading) for heading, rows in groups)
    figure = new_figure(_ROW * count + 0.95)
    axes = figure.add_subplot()
    headings, names, row = {}, {}, 0.0
    for heading, rows in groups:
        if heading:
            headings[row] = heading
            row += _HEADING
        for name, ratio in rows:
            _mark(axes, row, ratio)
            names[row] = shorten(name)
            row += 1
    ratios = [ratio for _, rows in groups for _, ratio in rows]
    length = WIDTH - 0.65 - 0.08 * max(map(len, names.values()))  # less the texts on both sides
    set_ratio_axis(axes, min(r.lower for r in ratios), max(r.upper for r in ratios), length)
    axes.axvline(1.0, color=INK, linewidth=1, zorder=1)
    axes.set_yticks(list(names), list(names.values()))
    axes.set_ylim(row - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel(label)
    used = [verdict for verdict in Verdict if verdict in map(Verdict.of, ratios)]
    put_legend(figure, [(verdict.value, *_MARKS[verdict]) for verdict in used])
    _put_headings(figure, axes, headings)
    return figure


def _put_headings(figure: Figure, axes: Axes, headings: Mapping[float, str]) -> None:
    """Names of the groups, by row, from the labels' left end on a ground that hides the lines."""
    figure.draw_without_rendering()  # only now it is known where the labels begin
    left = axes.yaxis.get_tightbbox().x0 - axes.bbox.x0
    offset = 72 * left / figure.dpi, 0
    ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}
    for row, heading in headings.items():
        text = axes.annotate(
            shorten(heading, 52),
            (0, row + 0.2),
            xycoords=axes.get_yaxis_transform(),
            xytext=offset,
            textcoords="offset points",
            va="center",
            weight="bold",
            bbox=ground,
        )
        text.set_in_layout(False)


def _mark(axes: Axes, row: float, ratio: Ratio) -> None:
    colour, shape, filled = _MARKS[Verdict.of(ratio)]
    axes.plot([ratio.lower, ratio.upper], [row, row], color=colour, linewidth=1.4, zorder=2)
    face = colour if filled else PAPER
    axes.plot(ratio.median, row, shape, color=colour, markerfacecolor=face, markersize=5.5)
    place = {"transform": axes.get_yaxis_transform(), "va": "center"}
    axes.text(1.02, row, f"{ratio.median:.3f}", **place)


def put_legend(figure: Figure, entries: Sequence[tuple[str, str, str, bool]]) -> None:
    """A line above the chart: what each mark means."""
    marks = [
        Line2D(
            [],
            [],
            color=colour,
            marker=shape,
            linestyle="",
            markerfacecolor=colour if full else PAPER,
        )
        for _, colour, shape, full in entries
    ]
    figure.legend(
        marks,
        [label for label, *_ in entries],
        loc="outside upper center",
        ncols=min(len(entries), 3),
        columnspacing=1.2,
        handletextpad=0.1,
    )


def draw_bars(bars: Sequence[Bar], label: str) -> Figure:
    """Horizontal bars from 0 to the median, whiskers between the quartiles, a text behind each.

    Parameters
    ----------
    bars : sequence of Bar
        At least one, the first one on top.
    label : str
        The axis's label, with the unit.
    """
    figure = new_figure(0.27 * len(bars) + 0.7)
    axes = figure.add_subplot()
    for row, bar in enumerate(bars):
        draw_bar(axes, row, bar.spread, bar.colour, 0.66)
        place = {"transform": axes.get_yaxis_transform(), "va": "center"}
        axes.text(1.02, row, bar.text, **place)
    axes.set_yticks(range(len(bars)), [shorten(bar.label) for bar in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    low, high = min(bar.spread.lower for bar in bars), max(bar.spread.upper for bar in bars)
    axes.set_xlim(min(0, 1.04 * low), 1.04 * high)
    axes.grid(axis="x")
    axes.set_xlabel(label)
    return figure


def draw_bar(axes: Axes, row: float, spread: Spread, colour: str, height: float) -> None:
    """One horizontal bar with its quartiles."""
    axes.barh(row, spread.median, height=height, color=colour)
    axes.plot([spread.lower, spread.upper], [row, row], color=INK, linewidth=1.2)
