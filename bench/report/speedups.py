"""The section of whole networks: stock TVM's time over ours, from ``models.json``."""

from __future__ import annotations

from itertools import groupby

from ..ratio import Ratio
from ..wording import say_result
from .charts import draw_ratios
from .numbers import Spread, Verdict, say_count
from .section import Documents, Part, Section, Table, rows_of, say_commit, say_setting, say_target
from .style import drawing, to_svg

STEM = "models"
_CAPTION = (
    "A mark is the median of the rounds' own ratios stock ÷ ours, its line goes from the first to "
    "the third quartile; above 1: ours faster. The axis is stretched around 1."
)


def make_section(documents: Documents) -> Section:
    """Speed-ups of the networks, setting by setting."""
    rows = sorted(rows_of(documents, STEM), key=_order)
    return Section(
        STEM,
        "Whole networks: stock TVM ÷ ours",
        "How much faster each network runs when it is built with the pass, both builds timed in "
        "turns in one process.",
        "python -m bench.models",
        (_draw(rows), _count(rows)) if rows else (),
    )


def ratio_of(row: dict) -> Ratio:
    """Stock over ours."""
    return Ratio.of(row["time_ms"]["stock"], row["time_ms"]["ours"])


def setting_of(row: dict) -> str:
    """Batch, threads, schedules, and the target if it is not the CPU."""
    target = "" if say_target(row) in ("llvm", "no target") else f"{say_target(row)}, "
    return f"{target}{say_setting(row)}, {row['schedules']} schedules"


def _order(row: dict) -> tuple:
    setting = say_target(row), row["batch"], -row["threads"], row["schedules"]
    return *setting, -ratio_of(row).median


def _by_setting(rows: list[dict]) -> list[tuple[str, list[dict]]]:
    return [(setting, list(group)) for setting, group in groupby(rows, key=setting_of)]


def _draw(rows: list[dict]) -> Part:
    groups = [
        (setting, [(row["network"], ratio_of(row)) for row in group])
        for setting, group in _by_setting(rows)
    ]
    with drawing():
        figure = draw_ratios(groups, "stock ÷ ours (above 1: ours faster)")
    return Part(
        "Speed-up of each network (above 1: ours faster)",
        _CAPTION,
        _tabulate(rows),
        to_svg(figure, "speedups"),
    )


def _tabulate(rows: list[dict]) -> Table:
    header = ["network", "target", "batch", "threads", "schedules", "results", "kernels"]
    header += ["stock ms (quartiles)", "ours ms (quartiles)", "stock ÷ ours (quartiles)"]
    return [[*header, "rounds", "verdict", "commit"], *map(_tabulate_row, rows)]


def _tabulate_row(row: dict) -> list[str]:
    times, ratio = row["time_ms"], ratio_of(row)
    return [
        row["network"],
        str(row.get("target", "-")),
        str(row["batch"]),
        str(row["threads"]),
        row["schedules"],
        say_result(row),
        f"{row['kernels']['stock']} → {row['kernels']['ours']}",
        str(Spread.of(times["stock"])),
        str(Spread.of(times["ours"])),
        str(ratio),
        str(len(times["stock"])),
        Verdict.of(ratio).value,
        say_commit(row),
    ]


def _count(rows: list[dict]) -> Part:
    """How many networks are faster, the same and slower, for each setting."""
    header = ["setting", "networks", "faster", "the same", "slower", "worst", "best"]
    table = [header]
    for setting, group in _by_setting(rows):
        verdicts = [Verdict.of(ratio_of(row)) for row in group]
        worst, best = min(group, key=_median), max(group, key=_median)
        counts = [str(verdicts.count(verdict)) for verdict in Verdict]
        ends = [f"{row['network']} {_median(row):.3f}" for row in (worst, best)]
        table.append([setting, str(len(group)), *counts, *ends])
    caption = (
        "Faster and slower only where both quartiles of the ratio are on that side of 1; otherwise "
        "the same. Behind the worst and the best network: stock ÷ ours."
    )
    return Part("How many networks", caption, table, folded=False)


def _median(row: dict) -> float:
    return ratio_of(row).median


def summarise(documents: Documents) -> list[str]:
    """Sentences for the top of the page."""
    rows = rows_of(documents, STEM)
    if not rows:
        return []
    networks = {row["network"] for row in rows}
    verdicts = [Verdict.of(ratio_of(row)) for row in rows]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict.value}" for verdict in Verdict)
    worst, exact = min(rows, key=_median), [row for row in rows if row["bit_equal"]]
    settings = say_count(len(rows), "measurement")
    return [
        f"{say_count(len(networks), 'network')} in {settings} (network, batch, threads, "
        f"schedules), stock TVM against ours: {counts}.",
        f"The worst row: {worst['network']}, {setting_of(worst)}: {ratio_of(worst)}.",
        f"Results are bit-equal to stock TVM's in {len(exact)} of {settings}"
        + ("." if len(exact) == len(rows) else "; the table says how far the others differ."),
    ]
