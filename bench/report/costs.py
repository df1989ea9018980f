"""The sections of small costs: an activation's evaluation, and the pass's own time."""

from __future__ import annotations

from statistics import median

from .charts import Bar, draw_bars
from .numbers import Spread, say_number
from .section import Documents, Part, Section, Table, rows_of
from .style import BLUE, drawing, to_svg


def make_activations(documents: Documents) -> Section:
    """Nanoseconds an evaluation, ReLU's time taken off."""
    document = documents.get("activations")
    return Section(
        "activations",
        "What an activation costs",
        "Nanoseconds for one evaluation on one core, without reading and writing the value: what "
        "the exchange saves on three values of four under a 2x2 pool.",
        "python -m bench.activations",
        () if document is None else (_draw_activations(document.content["samples_ns"]),),
    )


def _draw_activations(samples: dict[str, list[float]]) -> Part:
    floor = median(samples["nn.relu"])
    spreads = {name: Spread.of([t - floor for t in times]) for name, times in samples.items()}
    order = sorted(spreads, key=lambda name: -spreads[name].median)
    bars = [Bar(name, spreads[name], BLUE, _say_ns(spreads[name].median)) for name in order]
    with drawing():
        figure = draw_bars(bars, "time of one evaluation, ns on one core")
    return Part(
        "Time of one evaluation (less is cheaper)",
        "Bars are medians, black lines go from the first to the third quartile; the median time of "
        "ReLU, which is that of reading and writing, is taken off all.",
        _tabulate_activations(samples, spreads, order),
        to_svg(figure, "activations"),
    )


def _tabulate_activations(
    samples: dict[str, list[float]], spreads: dict[str, Spread], order: list[str]
) -> Table:
    header = ["operator", "ns an evaluation", "quartiles", "ns measured (quartiles)"]
    lines = [header]
    for name in order:
        spread = spreads[name]
        quartiles = f"{spread.lower:.2f} to {spread.upper:.2f}"
        lines.append([name, _say_ns(spread.median), quartiles, str(Spread.of(samples[name]))])
    return lines


def _say_ns(value: float) -> str:
    return f"{value:.2f}"


def make_pass_time(documents: Documents) -> Section:
    """The pass's share of a build."""
    rows = rows_of(documents, "pass_time")
    return Section(
        "pass_time",
        "What the pass itself costs",
        "Time that the pass takes inside relay.build, as a share of the whole build.",
        "python -m bench.bench_pass_time",
        (_draw_pass_time(rows),) if rows else (),
    )


def _draw_pass_time(rows: list[dict]) -> Part:
    header = ["network", "max pools", "pass s", "relay.build s", "share", "ms a site"]
    table, bars = [header], []
    for row in rows:
        share = 100 * row["pass_s"] / row["build_s"]
        bars.append(Bar(row["network"], Spread(share, share, share), BLUE, f"{share:.2f} %"))
        per_site = 1e3 * row["pass_s"] / row["sites"] if row["sites"] else None
        times = [say_number(row["pass_s"]), say_number(row["build_s"]), f"{share:.2f} %"]
        site = "-" if per_site is None else say_number(per_site)
        table.append([row["network"], str(row["sites"]), *times, site])
    with drawing():
        figure = draw_bars(bars, "share of relay.build's time, % (less is better)")
    caption = "One build each, so there is no spread to show."
    title = "Share of the build (less is better)"
    return Part(title, caption, table, to_svg(figure, "pass_time"))
