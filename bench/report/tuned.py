"""The section of tuned builds, from ``tuned.json``: the same tasks, trials and seed for all."""

from __future__ import annotations

from itertools import groupby

from ..ratio import Ratio
from .charts import draw_ratios
from .numbers import Spread
from .section import Documents, Part, Section, Table, rows_of, say_commit, say_setting, say_target
from .style import drawing, to_svg

STEM = "tuned"
_VARIANTS = ("exchanged", "ours")


def make_section(documents: Documents) -> Section:
    """Tuned against tuned, tuner by tuner."""
    rows = sorted(rows_of(documents, STEM), key=_place)
    return Section(
        STEM,
        "Tuned against tuned",
        "What is left of the gain when stock TVM is tuned as long as the exchanged network and "
        "ours, by each of TVM's tuners.",
        "python -m scripts.tune",
        (_draw(rows),) if rows else (),
    )


def _place(row: dict) -> tuple:
    return row["target"], row["network"], row["batch"], row["threads"]


def _ratio(row: dict, variant: str) -> Ratio:
    return Ratio.of(row["time_ms"]["stock"], row["time_ms"][variant])


def _draw(rows: list[dict]) -> Part:
    groups = []
    for (_, network, _, _), group in groupby(rows, key=_place):
        shown = list(group)
        marks = [
            (f"{row['tuner']}, {variant}", _ratio(row, variant))
            for row in shown
            for variant in _VARIANTS
        ]
        groups.append((f"{network}, {say_setting(shown[0])}, {say_target(shown[0])}", marks))
    with drawing():
        figure = draw_ratios(groups, "stock ÷ this (above 1: this faster)")
    caption = (
        "Exchanged: the activation behind every pool; ours: what the pass decides at each site. "
        "Medians of the rounds' own ratios with their quartiles; the axis is stretched around 1."
    )
    title = "Stock ÷ exchanged and stock ÷ ours, all tuned (above 1: stock is slower)"
    return Part(title, caption, _tabulate(rows), to_svg(figure, "tuned"))


def _tabulate(rows: list[dict]) -> Table:
    header = ["network", "target", "batch", "threads", "tuner", "trials", "variant", "kernels"]
    header += ["equal to stock", "ms (quartiles)", "stock ÷ this (quartiles)", "commit"]
    return [header, *(line for row in rows for line in _tabulate_row(row))]


def _tabulate_row(row: dict) -> list[list[str]]:
    place = [row["network"], row["target"], str(row["batch"]), str(row["threads"])]
    place += [row["tuner"], str(row["trials"])]
    equal = {name: "yes" if value else "no" for name, value in row["equal"].items()}
    return [
        [
            *place,
            variant,
            str(row["kernels"].get(variant, "-")),
            equal.get(variant, "-"),
            str(Spread.of(row["time_ms"][variant])),
            str(_ratio(row, variant)),
            say_commit(row),
        ]
        for variant in ("stock", *_VARIANTS)
    ]
