"""Charts of the paper's figures: time of each activation layer, and its gain over the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from ..ratio import Ratio
from .charts import draw_bar
from .numbers import Spread, say_number, shorten, spread_apart
from .style import BLUE, GREEN, INK, OURS, PAPER, PURPLE, STOCK, VERMILLION, new_figure

_LINES = ((BLUE, "o"), (VERMILLION, "s"), (GREEN, "D"), (PURPLE, "^"), (INK, "v"))


@dataclass(frozen=True)
class Layer:
    """An activation layer before and after the exchange.

    Parameters
    ----------
    name : str
        The layer.
    before, after : Spread
        Milliseconds.
    ratio : Ratio
        Before over after.
    theoretical : float
        How many times fewer values the activation runs on.
    published : tuple of float
        The paper's own figures: none, one, or the ends of a range.
    """

    name: str
    before: Spread
    after: Spread
    ratio: Ratio
    theoretical: float
    published: tuple[float, ...] = ()


def draw_layers(layers: Sequence[Layer]) -> Figure:
    """Bars of the times before and after; beside them the speed-up and what theory gives.

    Parameters
    ----------
    layers : sequence of Layer
        At least one, the first one on top.
    """
    figure = new_figure(0.5 * len(layers) + 1.35)
    times, gains = figure.subplots(1, 2, sharey=True, width_ratios=(1.35, 1))
    for row, layer in enumerate(layers):
        _draw_times(times, row, layer)
        _draw_gain(gains, row, layer)
    times.set_yticks(range(len(layers)), [shorten(layer.name) for layer in layers])
    times.set_ylim(len(layers) - 0.45, -0.55)
    longest = max(max(layer.before.upper, layer.after.upper) for layer in layers)
    times.set_xlim(0, 1.3 * longest)  # room for the figures behind the bars
    times.set_xlabel("time of the layer, ms")
    _set_gain_axis(gains, layers)
    for axes in (times, gains):
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    _put_legend(figure, any(layer.published for layer in layers))
    return figure


def _draw_times(axes: Axes, row: int, layer: Layer) -> None:
    for offset, spread, colour in ((-0.2, layer.before, STOCK), (0.2, layer.after, OURS)):
        draw_bar(axes, row + offset, spread, colour, 0.36)
        axes.annotate(
            say_number(spread.median),
            (spread.upper, row + offset),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )


def _draw_gain(axes: Axes, row: int, layer: Layer) -> None:
    ratio = layer.ratio
    axes.plot([layer.theoretical] * 2, [row - 0.42, row + 0.42], color=INK, linestyle="--", lw=1.2)
    axes.plot([ratio.lower, ratio.upper], [row, row], color=OURS, linewidth=1.6)
    axes.plot(ratio.median, row, "o", color=OURS, markersize=6)
    side, offset = ("right", -7) if ratio.median > 1.5 else ("left", 7)
    axes.annotate(
        f"{ratio.median:.2f}",
        (ratio.lower if side == "right" else ratio.upper, row),
        xytext=(offset, 0),
        textcoords="offset points",
        ha=side,
        va="center",
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
    )
    if layer.published:
        below = [row + 0.28] * len(layer.published)
        axes.plot(layer.published, below, "-D", color=VERMILLION, mfc=PAPER, ms=5, lw=1)


def _set_gain_axis(axes: Axes, layers: Sequence[Layer]) -> None:
    ends = [max(layer.ratio.upper, layer.theoretical, *layer.published) for layer in layers]
    axes.set_xlim(0, 1.15 * max(ends))
    axes.axvline(1.0, color=INK, linewidth=1)
    axes.set_xlabel("before ÷ after\n(above 1: faster)")


def _put_legend(figure: Figure, is_published: bool) -> None:
    entries = [
        (Patch(color=STOCK), "before"),
        (Patch(color=OURS), "after"),
        (Line2D([], [], color=INK, linestyle="--"), "theoretical"),
    ]
    if is_published:
        mark = Line2D([], [], color=VERMILLION, marker="D", mfc=PAPER, ms=5, lw=1)
        entries.append((mark, "the paper's own"))
    handles, labels = zip(*entries)
    options = {"columnspacing": 1.0, "handlelength": 1.2, "handletextpad": 0.4}
    figure.legend(handles, labels, loc="outside upper center", ncols=len(entries), **options)


def draw_batches(
    panels: Sequence[tuple[str, Mapping[str, Mapping[int, Ratio]], float]],
) -> Figure:
    """The speed-up of each layer over the batch, a panel for each network.

    Parameters
    ----------
    panels : sequence of (title, {layer: {batch: Ratio}}, theoretical speed-up)
        At least one; batches are at least 1.
    """
    figure = new_figure(2.5 * len(panels) + 0.2)
    all_axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, (title, layers, theoretical) in zip(all_axes, panels):
        axes.axhline(theoretical, color=INK, linestyle="--", linewidth=1.2)
        for index, points in enumerate(layers.values()):
            _draw_line(axes, points, *_LINES[index % len(_LINES)])
        _set_height(axes, [ratio for it in layers.values() for ratio in it.values()], theoretical)
        _set_batch_axis(axes, sorted({batch for points in layers.values() for batch in points}))
        _label_lines(axes, layers, theoretical)
        axes.set_title(shorten(title, 60))
        axes.set_ylabel("before ÷ after")
        axes.grid()
    all_axes[-1].set_xlabel("batch (pictures at a time)")
    return figure


def _set_height(axes: Axes, ratios: Sequence[Ratio], theoretical: float) -> None:
    """Room for all lines; at least a quarter of the theoretical speed-up, or noise looks large."""
    lowest = min(0.75 * theoretical, *(ratio.lower for ratio in ratios))
    axes.set_ylim(0.95 * lowest, 1.08 * max(theoretical, *(ratio.upper for ratio in ratios)))
    if lowest <= 1.05:
        axes.axhline(1.0, color=INK, linewidth=1)


def _draw_line(axes: Axes, points: Mapping[int, Ratio], colour: str, shape: str) -> None:
    batches = sorted(points)
    axes.plot(batches, [points[b].median for b in batches], f"-{shape}", color=colour, ms=4.5)
    for batch in batches:
        ratio = points[batch]
        axes.plot([batch] * 2, [ratio.lower, ratio.upper], color=colour, linewidth=1.2)


def _set_batch_axis(axes: Axes, batches: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xlim(batches[0] / 1.15, batches[-1] * 1.15)
    axes.xaxis.set_major_locator(FixedLocator(batches))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _label_lines(axes: Axes, layers: Mapping[str, Mapping[int, Ratio]], theoretical: float) -> None:
    """Names at the lines' right ends, pushed apart where they would lie on each other."""
    ends = [("theoretical", INK, theoretical)]
    for index, (name, points) in enumerate(layers.items()):
        ends.append((name, _LINES[index % len(_LINES)][0], points[max(points)].median))
    ends.sort(key=lambda end: end[2])
    bottom, top = axes.get_ylim()
    places = spread_apart([(y - bottom) / (top - bottom) for *_, y in ends], 0.085)
    for (name, colour, _), place in zip(ends, places):
        options = {"transform": axes.transAxes, "va": "center", "color": colour}
        axes.text(1.02, place, shorten(name, 14), **options)
