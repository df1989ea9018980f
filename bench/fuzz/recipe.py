"""A random graph as JSON: graph k of seed s is the same everywhere.

layout, dtype, size, producer          what comes in, and the convolution above, if any
stages: [{join, steps, other, pool}]   joined branches, steps and a pool; one after the other
after                                  steps behind the last pool
values                                 how inputs are drawn
decision, licence, opt_level           how it is built
"""

from __future__ import annotations

from random import Random

from .steps import FLOATS, draw_steps, dtype_after

GROUP = 8  # graphs that are built as one module: they share decision, licence and opt_level
LAYOUTS = {
    "NCHW": (1, (2, 3)),
    "NHWC": (3, (1, 2)),
    "NCW": (1, (2,)),
    "NCDHW": (1, (2, 3, 4)),
}
JOINS = ("chain", "shared", "output", "residual", "concat", "concat_same", "two_pools")
VALUES = ("normal", "ties", "special", "huge", "subnormal", "lowest")
_LICENCES = ("equal", "equal", "equal", "strict", "nan", "ulp:16", "strict+nan")
_DECISIONS = ("exchange", "exchange", "fuse", "auto", "keep")
_OPT_LEVELS = (1, 2, 3, 3, 3, 4, 0)


def draw_recipe(seed: int, index: int) -> dict:
    """Graph `index` of a seed."""
    together = Random(f"group {seed} {index // GROUP}")
    licence = together.choice(_LICENCES)
    how = {
        "decision": together.choices(_DECISIONS, (4, 4, 8, 1, 1))[0],
        "licence": licence,
        "opt_level": together.choice(_OPT_LEVELS),
    }
    random = Random(f"graph {seed} {index}")
    has_producer = together.random() < 0.3  # convolutions take long to compile: keep them together
    return {"seed": seed, "index": index, **how, **_draw_graph(random, has_producer, licence)}


def _draw_graph(random: Random, has_producer: bool, licence: str) -> dict:
    layout = random.choices(("NCHW", "NHWC", "NCW", "NCDHW"), (8, 3, 1, 1))[0]
    dtype = random.choices(
        ("float32", "float16", "float64", "int8", "uint8", "int32"), (12, 2, 1, 2, 1, 1)
    )[0]
    if has_producer:
        layout = random.choices(("NCHW", "NHWC"), (4, 1))[0]
        dtype = random.choices(("float32", "int8"), (6, 1))[0]
    rank = len(LAYOUTS[layout][1])
    is_exact_to_the_end = "ulp" in licence  # later steps could enlarge what the licence allows
    stages = 1 if is_exact_to_the_end or random.random() < 0.8 else 2
    recipe = {
        "layout": layout,
        "dtype": dtype,
        "size": [random.randint(3, 7) for _ in range(rank)],
        "producer": {"kernel": random.choice((1, 3)), "seed": random.randint(0, 99)}
        if has_producer
        else None,
        "stages": [],
        "after": [],
        "values": ["normal", *random.sample(VALUES[1:], 2)],
    }
    current = "int32" if has_producer and dtype == "int8" else dtype
    for _ in range(stages):
        recipe["stages"].append(_draw_stage(random, current, rank, layout))
        for step in recipe["stages"][-1]["steps"]:
            current = dtype_after(step, current)
    if not is_exact_to_the_end and random.random() < 0.25:
        recipe["after"] = draw_steps(random, current, 2)
    return recipe


def _draw_stage(random: Random, dtype: str, rank: int, layout: str) -> dict:
    join = random.choices(JOINS, (24, 1, 1, 2, 1, 2, 1))[0]
    steps = draw_steps(random, dtype, 4)
    if join.startswith("concat") or join == "residual":
        steps = [step for step in steps if step[0] not in ("cast", "to_float")]
    stage = {"join": join, "steps": steps, "pool": _draw_pool(random, rank, layout)}
    if join == "concat":
        other = draw_steps(random, dtype, 2)
        stage["other"] = [step for step in other if step[0] not in ("cast", "to_float")]
    return stage


def _draw_pool(random: Random, rank: int, layout: str) -> dict:
    kind = random.choices(("max", "global", "adaptive"), (12, 1, 1))[0]
    if kind == "global" and rank == 2:
        return {"kind": "global"}
    if kind == "adaptive":
        return {"kind": "adaptive", "output": [random.randint(1, 3) for _ in range(rank)]}
    kernel = [random.choice((1, 2, 2, 3, 3)) for _ in range(rank)]
    pool = {
        "kind": "max",
        "kernel": kernel,
        "strides": [random.choice((1, 2, 2, 3)) for _ in range(rank)],
        "padding": [0] * (2 * rank),
        "dilation": [random.choice((1, 1, 1, 1, 2)) for _ in range(rank)],
        "ceil_mode": random.random() < 0.3,
    }
    if random.random() < 0.4:
        pool["padding"] = [random.choice((0, 0, 1, 1, 2)) for _ in range(2 * rank)]
    if random.random() < 0.15:
        value = random.choice(("lowest", "-inf", 0.0, -1.0, 2.5))
        pool["pad"] = {
            "widths": [[random.randint(0, 2), random.randint(0, 2)] for _ in range(rank)],
            "value": value,
        }
    return pool


def is_float(dtype: str) -> bool:
    """True for the dtypes that have infinities and NaN."""
    return dtype in FLOATS
