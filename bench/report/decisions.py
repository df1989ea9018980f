"""The section of the sites: what is decided at each, and what it gains, from ``sites.json``.

``models.json`` has the decisions inside whole networks; a site's own gain is not measured there,
so it is looked up among the sites that were measured alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ratio import Ratio
from .decision_chart import Choice, draw_choices
from .section import Documents, Part, Section, Table, rows_of, say_commit
from .style import drawing, to_svg

STEM = "sites"


def make_section(documents: Documents) -> Section:
    """Expected against measured gain, and the decisions inside the networks."""
    sites, networks = rows_of(documents, STEM), rows_of(documents, "models")
    parts = [_draw(sites)] if any(map(_expected, sites)) else []
    if sites and networks:
        parts.append(_list_networks(networks, _measured_gains(sites)))
    return Section(
        STEM,
        "Decisions at each site",
        "What the pass does with each convolution, activation and pool, what that rests on, and "
        "whether the site alone gains what was expected.",
        "python -m bench.sites",
        tuple(parts),
    )


def _expected(row: dict) -> float | None:
    return None if row["decision"] is None else row["decision"]["gain"]


def _ratio(row: dict) -> Ratio:
    """Stock over what the pass decides by itself."""
    return Ratio.of(row["time_ms"]["stock"], row["time_ms"]["auto"])


def _draw(rows: list[dict]) -> Part:
    choices = [
        Choice(
            row["site"],
            row["decision"]["action"],
            row["decision"]["basis"],
            row["decision"]["gain"],
            _ratio(row),
        )
        for row in rows
        if _expected(row)
    ]
    with drawing():
        figure = draw_choices(choices)
    caption = (
        "A mark is a site alone: across the expected gain, up the median of the rounds' own ratios "
        "stock ÷ ours, its line from the first to the third quartile. On the dashed line the "
        "measured gain is the expected one; above the line at 1 ours is faster. Sites that are "
        "kept expect 1. Both axes are stretched around 1; the sites farthest from what was "
        "expected are named, with the measured gain."
    )
    title = "Expected and measured gain of each site (above 1: ours faster)"
    return Part(title, caption, _tabulate(rows), to_svg(figure, "decisions"))


def _tabulate(rows: list[dict]) -> Table:
    header = ["site", "what", "threads", "schedules", "decision", "basis", "note"]
    header += ["expected gain", "measured gain (quartiles)"]
    header += ["stock ÷ exchange", "stock ÷ fuse", "commit"]
    return [header, *map(_tabulate_row, rows)]


def _tabulate_row(row: dict) -> list[str]:
    times = row["time_ms"]
    forced = [
        str(Ratio.of(times["stock"], times[build])) if _has_rounds(times, build) else "-"
        for build in ("exchange", "fuse")
    ]
    return [
        row["site"],
        row["what"],
        str(row["threads"]),
        row["schedules"],
        *_say_decision(row["decision"]),
        str(_ratio(row)),
        *forced,
        say_commit(row),
    ]


def _has_rounds(times: Mapping[str, list[float]], build: str) -> bool:
    return len(times.get(build, ())) == len(times["stock"])


def _say_decision(decision: dict | None) -> list[str]:
    """Action, basis, note and expected gain."""
    if decision is None:
        return ["refused", "-", "-", "-"]
    gain = "-" if decision["gain"] is None else f"{decision['gain']:.3f}"
    return [decision["action"], decision["basis"], str(decision.get("note") or "-"), gain]


def _measured_gains(rows: list[dict]) -> dict[tuple, Ratio]:
    """Gains of the sites by place, target, batch, threads and schedules."""
    gains = {}
    for row in rows:
        convolution = row["workload"]["convolution"]
        if convolution is None:
            continue  # its batch is not known
        for place in row["places"]:
            setting = convolution["batch"], row["threads"], row["schedules"]
            gains[(place, row.get("target"), *setting)] = _ratio(row)
    return gains


def _list_networks(rows: list[dict], gains: Mapping[tuple, Ratio]) -> Part:
    header = [
        "network",
        "target",
        "batch",
        "threads",
        "schedules",
        "site",
        "status",
        "chain",
        "window",
    ]
    header += ["decision", "basis", "note", "expected gain", "measured alone (quartiles)"]
    table = [[*header, "explanation"]]
    for row in rows:
        setting = row.get("target"), row["batch"], row["threads"], row["schedules"]
        for site in row["sites"]:
            gain = gains.get((f"{row['network']}/{site['name']}", *setting), "-")
            chain = " > ".join(site["chain"]) or "-"
            place = [row["network"], *map(str, setting), site["name"], site["status"], chain]
            decided = _say_decision(site["decision"])
            table.append([*place, site["window"], *decided, str(gain), site["explanation"]])
    caption = (
        "Every max pool of every network in models.json. The measured gain is that of the same "
        "site alone, where it was measured with this target, batch, "
        "thread count and schedules."
    )
    return Part("All sites of all networks", caption, table)
