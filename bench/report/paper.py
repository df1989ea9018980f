"""The section of the paper's experiments, from ``paper.json``: Table 1, Figures 3 and 4, totals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from ..ratio import Ratio
from ..wording import say_result
from .charts import draw_ratios
from .numbers import Spread, say_count, say_number
from .paper_charts import Layer, draw_batches, draw_layers
from .section import (
    Documents,
    Part,
    Section,
    Table,
    rows_of,
    say_setting,
    say_target,
    tabulate_plain,
)
from .shape import is_positive
from .style import drawing, to_svg

STEM = "paper"
_LISTS = ("layers", "totals", "pictures", "operations", "gradients")
_PLAIN = {
    "pictures": (
        "Pictures: how many have identical class scores",
        "A picture counts as identical if every score is, of stock TVM and of the exchanged "
        "network.",
    ),
    "operations": (
        "Operations of each layer and its pool, before and after",
        "An evaluation and a comparison count as one each; counted in the module, not timed.",
    ),
    "gradients": (
        "Forward results and gradients, against the original network's",
        "From relay.transform.gradient. Where they differ: windows in which several values give "
        "the same largest result, or a bias's sum taken in another order.",
    ),
}


def make_section(documents: Documents) -> Section:
    """The paper's tables and figures."""
    layers, totals, *others = (rows_of(documents, STEM, name) for name in _LISTS)
    parts = [*_draw_layers(layers), *_draw_batches(layers), *_draw_totals(totals)]
    plain = [(name, rows) for name, rows in zip(_PLAIN, others) if rows]
    parts += [Part(*_PLAIN[name], tabulate_plain(rows), folded=False) for name, rows in plain]
    return Section(
        STEM,
        "The paper's experiments",
        "Time of each activation layer before and after the exchange, of the whole forward pass, "
        "and whether results stay what they were.",
        "python -m bench.paper",
        tuple(parts),
    )


def _group(rows: Iterable[dict], key: Callable[[dict], tuple]) -> list[tuple[tuple, list[dict]]]:
    return [(name, list(group)) for name, group in groupby(sorted(rows, key=key), key=key)]


def _ratio(row: dict) -> Ratio:
    return Ratio.of(row["before_ms"], row["after_ms"])


def _draw_layers(rows: list[dict]) -> list[Part]:
    """For each network, target and thread count: the layers at the smallest batch."""
    parts = []
    key = lambda row: (row["target"], row["network"], row["threads"])
    for index, ((_, network, _), group) in enumerate(_group(rows, key)):
        smallest = min(row["batch"] for row in group)
        shown = [row for row in group if row["batch"] == smallest]
        with drawing():
            figure = draw_layers([_layer(row) for row in shown])
        parts.append(
            Part(
                f"{network}: time of each activation layer, {say_setting(shown[0])}, "
                f"{say_target(shown[0])}",
                "Bars are medians, black lines go from the first to the third quartile. On the "
                "right the median of the rounds' own ratios before ÷ after, with their quartiles "
                "(above 1: faster after the exchange), against what the number of values gives."
                + _say_published(shown),
                _tabulate_layers(group),
                to_svg(figure, f"layers{index}"),
            )
        )
    return parts


def _say_published(rows: list[dict]) -> str:
    return " Diamonds: the paper's own figures." if any(map(_published, rows)) else ""


def _published(row: dict) -> tuple[float, ...]:
    """The paper's own speed-up, if the document has one: a number, or the ends of a range."""
    value = row.get("paper")
    values = value if isinstance(value, list) else [value]
    return tuple(filter(is_positive, values))


def _layer(row: dict) -> Layer:
    spreads = Spread.of(row["before_ms"]), Spread.of(row["after_ms"])
    return Layer(row["layer"], *spreads, _ratio(row), row["theoretical"], _published(row))


def _tabulate_layers(rows: list[dict]) -> Table:
    header = ["network", "target", "batch", "threads", "layer", "operator", "shape before"]
    header += ["shape after", "before ms (quartiles)", "after ms (quartiles)"]
    header += ["before ÷ after (quartiles)", "theoretical", "the paper's"]
    return [header, *map(_tabulate_layer, rows)]


def _tabulate_layer(row: dict) -> list[str]:
    return [
        row["network"],
        row["target"],
        str(row["batch"]),
        str(row["threads"]),
        row["layer"],
        row["operator"],
        "x".join(map(str, row["shape_before"])),
        "x".join(map(str, row["shape_after"])),
        str(Spread.of(row["before_ms"])),
        str(Spread.of(row["after_ms"])),
        str(_ratio(row)),
        say_number(row["theoretical"]),
        "-".join(say_number(figure, 2) for figure in _published(row)) or "-",
    ]


def _draw_batches(rows: list[dict]) -> list[Part]:
    """A panel for each network, target and thread count with more than one batch."""
    panels, table = [], []
    key = lambda row: (row["target"], row["network"], row["threads"])
    for (_, network, threads), group in _group(rows, key):
        if len({row["batch"] for row in group}) < 2:
            continue
        layers: dict[str, dict[int, Ratio]] = {}
        for row in group:
            layers.setdefault(row["layer"], {})[row["batch"]] = _ratio(row)
        theoretical = max(row["theoretical"] for row in group)
        title = f"{network}, {say_target(group[0])}, {say_count(threads, 'thread')}"
        panels.append((title, layers, theoretical))
        table += group
    if not panels:
        return []
    with drawing():
        figure = draw_batches(panels)
    caption = (
        "Marks are medians of the rounds' own ratios before ÷ after (above 1: faster after the "
        "exchange), vertical lines their quartiles; the dashed line is the theoretical speed-up."
    )
    title = "Speed-up of the activation layers over the batch"
    return [Part(title, caption, _tabulate_batches(table), to_svg(figure, "batches"))]


def _tabulate_batches(rows: list[dict]) -> Table:
    header = ["network", "target", "threads", "layer", "batch", "before ÷ after (quartiles)"]
    lines = [header + ["theoretical", "measured of theoretical"]]
    for row in rows:
        place = [row["network"], row["target"], str(row["threads"]), row["layer"]]
        reached = _ratio(row).median / row["theoretical"]
        figures = [str(_ratio(row)), say_number(row["theoretical"]), f"{reached:.0%}"]
        lines.append([*place, str(row["batch"]), *figures])
    return lines


def _draw_totals(rows: list[dict]) -> list[Part]:
    if not rows:
        return []
    key = lambda row: (row["target"], row["network"], row["batch"], row["threads"])
    groups = [
        (
            f"{group[0]['network']}, {say_setting(group[0])}, {say_target(group[0])}",
            [(f"{row['fusing']}, {row['decision']}", total_ratio(row)) for row in group],
        )
        for _, group in _group(rows, key)
    ]
    with drawing():
        figure = draw_ratios(groups, "stock ÷ ours (above 1: ours faster)")
    caption = (
        "Apart: each operator is a kernel of its own, as in the paper's framework; fused: as TVM "
        "fuses them. Exchange: at every site; auto: where the pass expects a gain. Medians of the "
        "rounds' own ratios with their quartiles; the axis is stretched around 1."
    )
    title = "The whole forward pass (above 1: ours faster)"
    return [Part(title, caption, _tabulate_totals(rows), to_svg(figure, "totals"))]


def total_ratio(row: dict) -> Ratio:
    """Stock over ours of the whole forward pass."""
    return Ratio.of(row["time_ms"]["stock"], row["time_ms"]["ours"])


def _tabulate_totals(rows: list[dict]) -> Table:
    header = ["network", "target", "batch", "threads", "operators", "decision", "kernels"]
    header += ["results", "stock ms (quartiles)", "ours ms (quartiles)", "stock ÷ ours (quartiles)"]
    return [header, *map(_tabulate_total, rows)]


def _tabulate_total(row: dict) -> list[str]:
    return [
        row["network"],
        row["target"],
        str(row["batch"]),
        str(row["threads"]),
        row["fusing"],
        row["decision"],
        f"{row['kernels']['stock']} → {row['kernels']['ours']}",
        say_result(row),
        str(Spread.of(row["time_ms"]["stock"])),
        str(Spread.of(row["time_ms"]["ours"])),
        str(total_ratio(row)),
    ]


def summarise(documents: Documents) -> list[str]:
    """Sentences for the top of the page."""
    lines = []
    layers = rows_of(documents, STEM, "layers")
    if layers:
        slowest, fastest = min(layers, key=_median), max(layers, key=_median)
        lines.append(
            f"The paper's activation layers run {_median(slowest):.2f} ({_name(slowest)}) to "
            f"{_median(fastest):.2f} ({_name(fastest)}) times as fast after the exchange."
        )
    pictures = rows_of(documents, STEM, "pictures")
    if pictures:
        shown = sum(row["real"] + row["random"] for row in pictures)
        same = sum(row["identical"] for row in pictures)
        lines.append(
            f"All class scores of a picture are identical in {same} of {shown} comparisons "
            "(pictures, networks, builds)."
        )
    return lines


def _median(row: dict) -> float:
    return _ratio(row).median


def _name(row: dict) -> str:
    setting = f"batch {row['batch']}, {say_target(row)}"
    return f"{row['network']} {row['layer']}, {setting}"
