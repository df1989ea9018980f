"""How charts look: colours that hold on light and dark paper and for the colour-blind, as SVG.

Text and axes are drawn in `INK`, the inside of hollow marks in `PAPER`; in the SVG both become
the page's own colours, so that one chart serves a light page, a dark one and print.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

# Okabe and Ito's palette without its light colours, which vanish on white.
BLUE, GREEN, VERMILLION, PURPLE, GREY = "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#808080"
STOCK, OURS = GREY, BLUE
INK, PAPER = "#0b0c0d", "#fdfcfb"

WIDTH = 4.5  # inches: narrow, so that text is still legible at a phone's width

_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "text.color": INK,
    "text.hinting": "no_hinting",  # widths as in the SVG
    "text.parse_math": False,  # a name with a dollar sign is no formula
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "tvm_reorder",  # the same results give the same page
}

# Near 1 the axis of ratios is linear, beyond this much it is logarithmic.
_LINEAR = 0.05
_RATIO_TICKS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0, 1.02, 1.05, 1.1)
_RATIO_TICKS += (1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_TICKS_APART = 0.3  # inches


@contextmanager
def drawing() -> Iterator[None]:
    """A block in which everything is drawn in the page's style."""
    with matplotlib.rc_context(_RC), warnings.catch_warnings():
        # A name in a script that the font lacks shows as boxes; the table has it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(height: float, **options) -> Figure:
    """A figure of the page's width; height in inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained", **options)


def to_svg(figure: Figure, name: str) -> str:
    """A chart as an ``<svg>`` element that stands in a page beside others.

    Parameters
    ----------
    figure : Figure
        The chart.
    name : str
        Unique in the page; in front of every id.
    """
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with drawing():
        figure.savefig(file, format="svg", metadata=nothing)
    text = file.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", text, count=5)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace(INK, "currentColor").replace(PAPER, "var(--paper)")


def set_ratio_axis(axes: Axes, low: float, high: float, length: float, axis: str = "x") -> None:
    """An axis of ratios, stretched around 1 so that 1.02 and 3 can both be read.

    Parameters
    ----------
    axes : Axes
        Where.
    low, high : float
        The least and the largest ratio shown.
    length : float
        About how long the axis is, in inches.
    axis : str
        ``"x"`` or ``"y"``.
    """
    low, high = min(low, 0.98), max(high, 1.05)
    ends = _stretch(np.array([low, high]))
    margin = 0.04 * (ends[1] - ends[0])
    limits = _unstretch(ends + [-margin, margin])
    getattr(axes, f"set_{axis}scale")("function", functions=(_stretch, _unstretch))
    getattr(axes, f"set_{axis}lim")(*limits)
    ruler = getattr(axes, f"{axis}axis")
    ruler.set_major_locator(FixedLocator(_pick_ticks(*limits, length)))
    ruler.set_minor_locator(NullLocator())
    ruler.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _stretch(ratio):
    return np.arcsinh(np.log(np.maximum(ratio, 1e-6)) / _LINEAR)


def _unstretch(place):
    return np.exp(np.sinh(place) * _LINEAR)


def _pick_ticks(low: float, high: float, length: float) -> list[float]:
    """Ticks that leave room for their labels; 1 is always among them."""
    apart = _TICKS_APART / length * (_stretch(high) - _stretch(low))
    picked = [1.0]
    for tick in sorted(_RATIO_TICKS, key=lambda tick: abs(np.log(tick))):
        places = [_stretch(other) for other in picked]
        if low <= tick <= high and min(abs(_stretch(tick) - np.array(places))) >= apart:
            picked.append(tick)
    return sorted(picked)
