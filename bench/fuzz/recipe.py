"""A random graph as JSON: graph k of seed s is the same everywhere, by the same commit.

layout, dtype, batch, size       what comes in, with 4 channels
steps: [[kind, parameters]]      what is done to it, one step after the other; see `steps`
values                           how inputs are drawn
decision, licence, opt_level, executor, target, certify       how it is built
"""

from __future__ import annotations

from random import Random

from .sentences import Writer

GROUP = 16  # graphs that are built as one module: they share how it is built
LAYOUTS = {"NCHW": 10, "NHWC": 4, "NCW": 2, "NWC": 1, "NCDHW": 2, "NDHWC": 1, "CNHW": 1}
VALUES = ("normal", "ties", "special", "infinities", "huge", "subnormal", "lowest")
LICENCES = {"equal": 6, "strict": 3, "nan": 2, "strict+nan": 1, "ulp:16": 2, "ulp:any": 1}
_BOUNDED = ("ulp:16",)  # steps behind the pool could enlarge what is allowed before it
DECISIONS = {"exchange": 10, "fuse": 4, "auto": 1, "keep": 1}
OPT_LEVELS = {0: 1, 1: 2, 2: 2, 3: 6, 4: 2}
EXECUTORS = {"graph": 6, "vm": 2, "aot": 1}
TARGETS = {"llvm": 3, "llvm -mcpu=core-avx2": 4, "llvm -mcpu=skylake-avx512": 4}
# Schedules for one processor, code for another one: a target whose host is not its own.
HOSTED = {'{"kind": "llvm", "host": {"kind": "llvm", "mcpu": "core-avx2"}}': "llvm -mcpu=core-avx2"}
TARGETS |= dict.fromkeys(HOSTED, 1)
CERTIFY = {"cached": 11, "auto": 1}
_SWEPT = "float16"
DTYPES = {"float32": 16, "float16": 2, "float64": 2, "bfloat16": 1, "int8": 2, "uint8": 1}
DTYPES |= {"int32": 2, "int16": 1, "int64": 1, "bool": 1}
# Convolutions take long to compile: some groups have them, the others none.
PRODUCER_SHARE = 0.2
_PRODUCER_LAYOUTS = {"NCHW": 8, "NHWC": 5, "NCW": 2, "NWC": 1, "NCDHW": 1, "NDHWC": 1}
_PRODUCER_DTYPES = {"float32": 12, "int8": 3, "uint8": 1, "float16": 1, "float64": 1}


def choose(random: Random, weights: dict):
    """A key of a table of weights."""
    return random.choices(list(weights), list(weights.values()))[0]


def draw_recipe(seed: int, index: int) -> dict:
    """Graph `index` of a seed."""
    has_producer = Random(f"producers {seed} {index // GROUP}").random() < PRODUCER_SHARE
    how = draw_how(seed, index, has_producer)
    random = Random(f"graph {seed} {index}")
    return {"seed": seed, "index": index, **how, **_draw_graph(random, has_producer, how)}


def draw_how(seed: int, index: int, has_producer: bool) -> dict:
    """How graph `index` of a seed is built, with all of its group."""
    together = Random(f"group {seed} {index // GROUP}")
    how = {
        "decision": choose(together, DECISIONS),
        "licence": choose(together, LICENCES),
        "opt_level": choose(together, OPT_LEVELS),
        "executor": choose(together, EXECUTORS),
        "target": choose(together, TARGETS),
    }
    if has_producer and together.random() < 0.5:
        how |= {"decision": "fuse", "opt_level": 3}  # what fusion needs
    # A sweep gives any function some direction, and ulp:any takes it as it is: nothing to judge.
    is_judged = how["licence"] != "ulp:any"
    return how | {"certify": choose(together, CERTIFY) if is_judged else "cached"}


def _draw_graph(random: Random, has_producer: bool, how: dict) -> dict:
    layout = choose(random, _PRODUCER_LAYOUTS if has_producer else LAYOUTS)
    dtype = choose(random, _PRODUCER_DTYPES if has_producer else DTYPES)
    dtype = _SWEPT if how["certify"] == "auto" else dtype
    rank = len(layout) - 2
    smallest, largest = {1: (5, 11), 2: (4, 7), 3: (3, 4)}[rank]
    writer = Writer(random, dtype, has_producer, how["licence"] not in _BOUNDED)
    return {
        "layout": layout,
        "dtype": dtype,
        "batch": random.choice((1, 1, 1, 2, 2, 3)),
        "size": [random.randint(smallest, largest) for _ in range(rank)],
        "steps": writer.write(),
        "values": ["normal", *random.sample(VALUES[1:], 2)],
    }
