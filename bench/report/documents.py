"""Which documents there are, and what the page needs of each row of them.

A document is ``{"command": ..., "machine": {...}, ...}``, as ``bench.harness`` writes it; the rest
of it is lists of rows, but for ``activations``.
"""

from __future__ import annotations

from .shape import (
    COUNT,
    FLAG,
    NUMBER,
    POSITIVE,
    SAMPLES,
    SIZE,
    TEXT,
    Both,
    Each,
    Leaf,
    Maybe,
    Named,
    Rounds,
)

_DECISION = Maybe({"action": TEXT, "basis": TEXT, "gain": Maybe(POSITIVE)})
_SITE = {
    "name": TEXT,
    "status": TEXT,
    "explanation": TEXT,
    "chain": Each(TEXT),
    "window": TEXT,
    "decision": _DECISION,
}
_PLACE = {"network": TEXT, "batch": SIZE, "threads": SIZE}
_ONE_NAME = Leaf(
    "named by a network or an example",
    lambda row: isinstance(row.get("network", row.get("example")), str),
)


def _has_even_contestants(row: dict) -> bool:
    contestants = row["contestants"]
    counts = {len(contestant["time_ms"]) for contestant in contestants.values()}
    return len(counts) == 1 and row["best_peer"] in (None, *contestants)


# Rows of each document, list by list.
ROWS = {
    "models": {
        "rows": _PLACE
        | {
            "schedules": TEXT,
            "equal": FLAG,
            "bit_equal": FLAG,
            "difference": Maybe(NUMBER),
            "kernels": {"stock": COUNT, "ours": COUNT},
            "sites": Each(_SITE),
            "time_ms": Rounds(("stock", "ours")),
        }
    },
    "paper": {
        "layers": Both(
            _PLACE
            | {
                "target": TEXT,
                "layer": TEXT,
                "operator": TEXT,
                "shape_before": Each(COUNT),
                "shape_after": Each(COUNT),
                "theoretical": POSITIVE,
            },
            Rounds(("before_ms", "after_ms")),
        ),
        "totals": _PLACE
        | {
            "target": TEXT,
            "fusing": TEXT,
            "decision": TEXT,
            "kernels": {"stock": COUNT, "ours": COUNT},
            "bit_equal": FLAG,
            "equal": FLAG,
            "time_ms": Rounds(("stock", "ours")),
        },
        "pictures": {"network": TEXT, "real": COUNT, "random": COUNT, "identical": COUNT},
        "operations": Both({"layer": TEXT, "before": COUNT, "after": COUNT}, _ONE_NAME),
        "gradients": {"network": TEXT, "forward_equal": FLAG, "gradients_equal": FLAG},
    },
    "world": {
        "rows": _PLACE
        | {
            "wanted": TEXT,
            "licence": TEXT,
            "equal": FLAG,
            "bit_equal": FLAG,
            "difference": Maybe(NUMBER),
            "kernels": {"stock": COUNT, "ours": COUNT},
            "decisions": Each(TEXT),
            "time_ms": Rounds(("stock", "ours")),
        }
    },
    "directions": {
        "rows": {
            "function": TEXT,
            "direction": TEXT,
            "certificate": TEXT,
            "licence": TEXT,
            "decision": TEXT,
        }
    },
    "tuned": {
        "rows": _PLACE
        | {
            "tuner": TEXT,
            "trials": COUNT,
            "target": TEXT,
            "kernels": Named(COUNT),
            "equal": Named(FLAG),
            "time_ms": Rounds(("stock", "exchanged", "ours")),
        }
    },
    "peers": {
        "rows": Both(
            _PLACE
            | {
                "best_peer": Maybe(TEXT),
                "contestants": Named({"versions": Named(TEXT), "time_ms": SAMPLES}),
                "missing": Each(TEXT),
            },
            Leaf(
                "a row with as many samples of each contestant, the best peer among them",
                _has_even_contestants,
            ),
        )
    },
    "sites": {
        "rows": {
            "site": TEXT,
            "places": Each(TEXT),
            "what": TEXT,
            "workload": {"convolution": Maybe({"batch": COUNT})},
            "threads": SIZE,
            "schedules": TEXT,
            "decision": _DECISION,
            "time_ms": Both(Named(SAMPLES), Rounds(("stock", "auto"))),
        }
    },
    "activations": {},
    "pass_time": {
        "rows": {"network": TEXT, "sites": COUNT, "pass_s": POSITIVE, "build_s": POSITIVE}
    },
}

_HAS_GPU = Leaf(
    "an object whose gpu, if it has one, is an object with a name",
    lambda machine: not machine.get("gpu") or "name" in dict(machine["gpu"]),
)
_MACHINE = Both({"processor": TEXT, "cores": SIZE}, _HAS_GPU)
_COMMON = {"command": TEXT, "machine": _MACHINE}

# What a document must have outside its rows.
WHOLE = {stem: dict(_COMMON) for stem in ROWS}
WHOLE["activations"]["samples_ns"] = Named(SAMPLES, required=("nn.relu",))
