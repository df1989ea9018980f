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

GROUP = 16  # graphs that are built as one module: they share decision, licence and opt_level
LAYOUTS = {
    "NCHW": (1, (2, 3)),
    "NHWC": (3, (1, 2)),
    "NCW": (1, (2,)),
    "NCDHW": (1, (2, 3, 4)),
}
JOINS = ("chain", "shared", "output", "residual", "concat", "concat_same", "two_pools")
VALUES = ("normal", "ties", "special", "huge", "subnormal", "lowest")
_LICENCES = ("equal", "equal", "equal", "strict", "nan", "ulp:16", "strict+nan")
_DECISIONS = ("exchange", "fuse", "auto", "keep")
_OPT_LEVELS = (0, 1, 1, 2, 2, 3, 3, 3, 3, 3, 4, 4)


def draw_recipe(seed: int, index: int) -> dict:
    """Graph `index` of a seed."""
    together = Random(f"group {seed} {index // GROUP}")
    # Convolutions take long to compile, and are there to be fused, which opt_level 3 is for.
    has_producer = together.random() < 0.07
    licence = together.choice(_LICENCES)
    how = {
        "decision": together.choices(_DECISIONS, (1, 9, 1, 1) if has_producer else (9, 3, 1, 1))[0],
        "licence": licence,
        "opt_level": together.choice((3, 3, 4, 2) if has_producer else _OPT_LEVELS),
    }
    random = Random(f"graph {seed} {index}")
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
        "size": [random.randint(3, 6) for _ in range(rank)],
        "producer": {"kernel": random.choice((1, 1, 1, 3)), "seed": random.randint(0, 99)}
        if has_producer
        else None,
        "stages": [],
        "after": [],
        "values": ["normal", *random.sample(VALUES[1:], 2)],
    }
    current = "int32" if has_producer and dtype == "int8" else dtype
    size = recipe["size"]
    for _ in range(stages):
        stage = _draw_stage(random, current, size)
        recipe["stages"].append(stage)
        size = _shrink(size, stage["pool"])
        for step in recipe["stages"][-1]["steps"]:
            current = dtype_after(step, current)
    if not is_exact_to_the_end and random.random() < 0.25:
        recipe["after"] = draw_steps(random, current, 2)
    return recipe


def _draw_stage(random: Random, dtype: str, size: list[int]) -> dict:
    join = random.choices(JOINS, (24, 1, 1, 2, 1, 2, 1))[0]
    may_cast = join not in ("concat", "concat_same", "residual")
    steps = draw_steps(random, dtype, 3, may_cast)
    stage = {"join": join, "steps": steps, "pool": _draw_pool(random, size)}
    if join == "concat":
        stage["other"] = draw_steps(random, dtype, 2, may_cast=False)
    return stage


def _shrink(size: list[int], pool: dict) -> list[int]:
    """Extents behind a pool, or a little less."""
    if pool["kind"] == "global":
        return [1] * len(size)
    if pool["kind"] == "adaptive":
        return pool["output"]
    rank, lengths = len(size), zip(size, pool["kernel"], pool["strides"], pool["dilation"])
    padding = [pool["padding"][n] + pool["padding"][rank + n] for n in range(rank)]
    return [(n + p - (k - 1) * d - 1) // s + 1 for (n, k, s, d), p in zip(lengths, padding)]


def _draw_pool(random: Random, size: list[int]) -> dict:
    rank = len(size)
    kind = random.choices(("max", "global", "adaptive"), (12, 1, 1))[0]
    if kind == "global" and rank == 2:
        return {"kind": "global"}
    if kind == "adaptive":
        return {"kind": "adaptive", "output": [random.randint(1, min(3, n)) for n in size]}
    kernel = [min(extent, random.choice((1, 2, 2, 3, 3))) for extent in size]
    dilation = [random.choice((1, 1, 1, 1, 2)) for _ in range(rank)]
    dilation = [d if (k - 1) * d < n else 1 for d, k, n in zip(dilation, kernel, size)]
    pool = {
        "kind": "max",
        "kernel": kernel,
        "strides": [random.choice((1, 2, 2, 3)) for _ in range(rank)],
        "padding": [0] * (2 * rank),
        "dilation": dilation,
        "ceil_mode": random.random() < 0.2,
    }
    if random.random() < 0.4:
        limits = [max(1, extent - 1) if random.random() < 0.9 else 2 for extent in kernel * 2]
        limits = [0 if extent == 1 else most for extent, most in zip(kernel * 2, limits)]
        pool["padding"] = [random.randint(0, most) for most in limits]
    if random.random() < 0.12:
        value = random.choice(("lowest", "-inf", 0.0, -1.0, 2.5))
        pool["pad"] = {
            "widths": [[random.randint(0, 2), random.randint(0, 2)] for _ in range(rank)],
            "value": value,
        }
    return pool


def is_float(dtype: str) -> bool:
    """True for the dtypes that have infinities and NaN."""
    return dtype in FLOATS
