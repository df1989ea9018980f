"""The section of other compilers and frameworks, from ``peers.json``."""

from __future__ import annotations

from ..ratio import Ratio
from .charts import Bar, draw_bars
from .numbers import Spread, say_number
from .section import Documents, Part, Section, Table, rows_of, say_commit, say_setting
from .style import GREEN, OURS, STOCK, drawing, to_svg

STEM = "peers"


def make_section(documents: Documents) -> Section:
    """Each contestant's time, the fastest on top."""
    rows = rows_of(documents, STEM)
    return Section(
        STEM,
        "Against other compilers and frameworks",
        "One ONNX file through each of them, in processes that take turns.",
        "python -m bench.peers NETWORK",
        tuple(_draw(row, index) for index, row in enumerate(rows)),
    )


def _draw(row: dict, index: int) -> Part:
    spreads = {name: Spread.of(it["time_ms"]) for name, it in row["contestants"].items()}
    order = sorted(spreads, key=lambda name: spreads[name].median)
    bars = [Bar(name, spreads[name], _colour(name), _say(row, name, spreads)) for name in order]
    with drawing():
        figure = draw_bars(bars, "time of one run, ms (less is better)")
    best, missing = row["best_peer"], ", ".join(row["missing"])
    caption = (
        "Bars are medians, black lines go from the first to the third quartile; blue is ours, grey "
        "stock TVM, green the others. Behind each bar: ms"
    )
    caption += f", and {best} ÷ this (above 1: faster than the best peer)." if best else "."
    caption += f" Could not take part: {missing}." if missing else ""
    return Part(
        f"{row['network']}, {say_setting(row)}: time (less is better)",
        caption,
        _tabulate(row, order),
        to_svg(figure, f"peers{index}"),
    )


def _colour(name: str) -> str:
    known = {"stock": STOCK, "ours": OURS}
    return known.get(name.removesuffix("_tuned"), GREEN)


def _ratio(row: dict, name: str) -> Ratio | None:
    """The best peer over this contestant."""
    if row["best_peer"] is None:
        return None
    contestants = row["contestants"]
    return Ratio.of(contestants[row["best_peer"]]["time_ms"], contestants[name]["time_ms"])


def _say(row: dict, name: str, spreads: dict[str, Spread]) -> str:
    ratio = _ratio(row, name)
    time = say_number(spreads[name].median, 4)
    return time if ratio is None else f"{time}  ({ratio.median:.3f})"


def _tabulate(row: dict, order: list[str]) -> Table:
    header = ["contestant", "version", "ms (quartiles)", "best peer ÷ this (quartiles)", "commit"]
    lines = [header]
    for name in order:
        contestant, ratio = row["contestants"][name], _ratio(row, name)
        version = " ".join(next(iter(contestant["versions"].items()), ("-",)))
        time = str(Spread.of(contestant["time_ms"]))
        lines.append([name, version, time, "-" if ratio is None else str(ratio), say_commit(row)])
    return lines


def summarise(documents: Documents) -> list[str]:
    """Sentences for the top of the page."""
    return [
        f"{row['network']}, {say_setting(row)}: the best peer, {row['best_peer']}, ÷ {name}: "
        f"{_ratio(row, name)} (above 1: {name} faster)."
        for row in rows_of(documents, STEM)
        for name in ("ours", "ours_tuned")
        if row["best_peer"] and name in row["contestants"]
    ]
