"""All experiments of the paper in one table, a line for each figure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from statistics import mean, median

from .ratio import Ratio

_HEADER = ["experiment", "network", "batch", "threads", "target", "what", "before", "after"]
_HEADER += ["before / after (quartiles)", "theoretical", "the paper's", "result"]


def tabulate(document: dict) -> list[list[str]]:
    """The table, header first.

    Parameters
    ----------
    document : dict
        Rows of every experiment by its name, as in ``paper.json``.
    """
    lines = [
        *_tabulate_layers(document["layers"]),
        *map(_tabulate_total, document["totals"]),
        *map(_tabulate_pictures, document["pictures"]),
        *map(_tabulate_operations, document["operations"]),
        *map(_tabulate_gradients, document["gradients"]),
    ]
    return [_HEADER, *lines]


def _line(experiment: str, row: dict, what: str, *figures: str) -> list[str]:
    place = [row.get("network") or row["example"], *(str(row.get(k, "-")) for k in _PLACE)]
    return [experiment, *place, what, *figures, *["-"] * (6 - len(figures))]


_PLACE = ("batch", "threads", "target")


def _tabulate_layers(rows: Iterable[dict]) -> Iterable[list[str]]:
    """Table 1, and for each network the mean time over its layers, which is Figure 3."""
    key = lambda row: (row["network"], row["batch"], row["threads"], row["target"])
    for _, group in groupby(sorted(rows, key=key), key=key):
        group = list(group)
        yield from map(_tabulate_layer, group)
        before, after = (
            mean(median(row[side]) for row in group) for side in ("before_ms", "after_ms")
        )
        times = (_say_ms(before), _say_ms(after), f"{before / after:.3f}")
        yield _line("Figure 3", group[0], "mean of the layers", *times)


def _tabulate_layer(row: dict) -> list[str]:
    paper = row["paper"]
    return _line(
        "Table 1",
        row,
        row["layer"],
        _say_ms(median(row["before_ms"])),
        _say_ms(median(row["after_ms"])),
        str(Ratio.of(row["before_ms"], row["after_ms"])),
        f"{row['theoretical']:g}",
        "-" if paper is None else "-".join(f"{figure:.1f}" for figure in _as_list(paper)),
        "bit-equal",  # a layer that is not is no layer: it is not timed
    )


def _as_list(value) -> list:
    return value if isinstance(value, list) else [value]


def _tabulate_total(row: dict) -> list[str]:
    times, kernels = row["time_ms"], row["kernels"]
    result = "bit-equal" if row["bit_equal"] else "equal" if row["equal"] else "DIFFER"
    return _line(
        "forward pass",
        row,
        f"{row['fusing']}, {row['decision']}, {kernels['stock']} -> {kernels['ours']} kernels",
        _say_ms(median(times["stock"])),
        _say_ms(median(times["ours"])),
        str(Ratio.of(times["stock"], times["ours"])),
        "-",
        "-",
        result,
    )


def _tabulate_pictures(row: dict) -> list[str]:
    shown = row["real"] + row["random"]
    result = f"all scores identical for {row['identical']} of {shown}"
    what = f"{row['fusing']}, {row['decision']}, {row['winners']} different winners"
    return _line("Figure 4", row, what, *["-"] * 5, result)


def _tabulate_operations(row: dict) -> list[str]:
    ratio = f"{row['before'] / row['after']:.3f}"
    return _line("operations", row, row["layer"], str(row["before"]), str(row["after"]), ratio)


def _tabulate_gradients(row: dict) -> list[str]:
    differing = f"{row['differing']} of {row['values']} gradients differ"
    places = f" ({row['differing_in']})" if row["differing_in"] else ""
    forward = "equal" if row["forward_equal"] else "DIFFERENT"
    what = f"{row['moved']} windows on a plateau, {row['moved_with_slope']} with a slope"
    return _line("gradients", row, what, *["-"] * 5, f"forward {forward}; {differing}{places}")


def _say_ms(milliseconds: float) -> str:
    return f"{milliseconds:.3f} ms" if milliseconds >= 1 else f"{milliseconds * 1e3:.2f} us"
