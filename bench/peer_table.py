"""What the peers' figures say: who is best, whose answers agree, who did not rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from statistics import median, quantiles

import numpy as np

from tvm_reorder.cli.measure import compare_outputs

from .ratio import Ratio

_IDLE_LIMIT = 0.05  # of a processor; more of it would slow down whoever's turn it is


def best_of(times: Mapping[str, list[float]], peers: Iterable[str]) -> str | None:
    """The peer with the lowest median; None if none took part."""
    present = [name for name in peers if name in times]
    return min(present, key=lambda name: median(times[name])) if present else None


def compare_all(outputs: Mapping[str, np.ndarray]) -> list[dict]:
    """How the outputs of each two differ; `relative` is to the larger largest value of both."""
    return [
        {"pair": [a, b], **_compare(outputs[a], outputs[b])} for a, b in combinations(outputs, 2)
    ]


def _compare(a: np.ndarray, b: np.ndarray) -> dict:
    if a.shape != b.shape or a.dtype != b.dtype:
        return {"bit_equal": False, "absolute": None, "relative": None}
    difference = compare_outputs(a, b)
    absolute = difference.max_abs_diff
    scale = max(float(np.abs(a).max()), float(np.abs(b).max()))
    relative = absolute / scale if absolute else absolute
    return {"bit_equal": difference.bit_equal, "absolute": absolute, "relative": relative}


def say_restless(contestants: Mapping[str, dict]) -> list[str]:
    """A line for each contestant that did not rest between its turns."""
    return [
        f"{name}: kept {row['idle_load']:.2f} processors busy between its turns"
        for name, row in contestants.items()
        if (row["idle_load"] or 0) > _IDLE_LIMIT
    ]


def tabulate(rows: list[dict]) -> list[list[str]]:
    """Ratios are best peer / contestant, with the quartiles of the rounds' own ratios."""
    header = ["network", "batch", "threads", "contestant", "version", "ms (quartiles)"]
    header += ["best peer / this (quartiles)", "largest difference to any", "bit-equal to"]
    return [header, *(line for row in rows for line in _tabulate_row(row))]


def _tabulate_row(row: dict) -> list[list[str]]:
    contestants = row["contestants"]
    best = contestants.get(row["best_peer"])
    return [
        [
            row["network"],
            str(row["batch"]),
            str(row["threads"]),
            name,
            " ".join(next(iter(result["versions"].items()))),
            _say_times(result["time_ms"]),
            str(Ratio.of(best["time_ms"], result["time_ms"])) if best else "-",
            _say_difference(row["differences"], name),
            ", ".join(_bit_equals(row["differences"], name)) or "-",
        ]
        for name, result in contestants.items()
    ]


def _say_times(times: list[float]) -> str:
    if len(times) == 1:
        return f"{times[0]:.3f}"
    lower, _, upper = quantiles(times, n=4, method="inclusive")
    return f"{median(times):.3f} ({lower:.3f}-{upper:.3f})"


def _say_difference(differences: list[dict], name: str) -> str:
    own = [row for row in differences if name in row["pair"]]
    if not own:
        return "-"
    if any(row["absolute"] is None for row in own):
        return "DIFFER"
    worst = max(own, key=lambda row: row["absolute"])
    return f"{worst['absolute']:.1e}, relative {worst['relative']:.1e}"


def _bit_equals(differences: list[dict], name: str) -> list[str]:
    pairs = [row["pair"] for row in differences if row["bit_equal"] and name in row["pair"]]
    return [b if a == name else a for a, b in pairs]
