"""The section beyond the paper, from ``world.json``: valleys, signs, other ranks and dtypes."""

from __future__ import annotations

from itertools import groupby

from ..wording import say_result
from .charts import draw_ratios
from .numbers import Spread, Verdict
from .section import Documents, Part, Section, Table, rows_of, say_commit, say_setting
from .speedups import ratio_of
from .style import drawing, to_svg

STEM = "world"


def make_section(documents: Documents) -> Section:
    """Speed-ups of the small networks, setting by setting."""
    rows = sorted(rows_of(documents, STEM), key=_order)
    return Section(
        STEM,
        "Beyond the paper: stock TVM ÷ ours",
        "A convolution, an activation, max pooling, a second convolution: activations that are "
        "no rising functions, scales of both signs, other ranks, integers and half precision.",
        "python -m bench.world",
        (_draw(rows),) if rows else (),
    )


def _setting_of(row: dict) -> str:
    return f"{say_setting(row)}, decision {row['wanted']}"


def _order(row: dict) -> tuple:
    return row["batch"], -row["threads"], row["wanted"], -ratio_of(row).median


def _draw(rows: list[dict]) -> Part:
    groups = [
        (setting, [(row["network"], ratio_of(row)) for row in group])
        for setting, group in groupby(rows, key=_setting_of)
    ]
    with drawing():
        figure = draw_ratios(groups, "stock ÷ ours (above 1: ours faster)")
    caption = (
        "Medians of the rounds' own ratios with their quartiles; the axis is stretched around 1. "
        "The table says which licence a network needs, and how far results differ under it."
    )
    title = "Speed-up of each network (above 1: ours faster)"
    return Part(title, caption, _tabulate(rows), to_svg(figure, STEM))


def _tabulate(rows: list[dict]) -> Table:
    header = ["network", "batch", "threads", "licence", "results", "kernels", "decision"]
    header += ["stock ms (quartiles)", "ours ms (quartiles)", "stock ÷ ours (quartiles)"]
    return [[*header, "verdict", "commit"], *map(_tabulate_row, rows)]


def _tabulate_row(row: dict) -> list[str]:
    times, ratio = row["time_ms"], ratio_of(row)
    return [
        row["network"],
        str(row["batch"]),
        str(row["threads"]),
        row["licence"],
        say_result(row),
        f"{row['kernels']['stock']} → {row['kernels']['ours']}",
        "; ".join(row["decisions"]),
        str(Spread.of(times["stock"])),
        str(Spread.of(times["ours"])),
        str(ratio),
        Verdict.of(ratio).value,
        say_commit(row),
    ]
