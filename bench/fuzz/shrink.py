"""A failing recipe made smaller, as long as it fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

_PLAIN_POOL = {"kind": "max", "kernel": [2], "strides": [2], "padding": [0, 0], "dilation": [1]}


def shrink(recipe: dict, fails: Callable[[dict], bool], most: int = 150) -> dict:
    """The smallest recipe that greedy simplification reaches.

    Parameters
    ----------
    recipe : dict
        Fails.
    fails : callable
        Whether a recipe still fails in the same way.
    most : int
        Trials at most.
    """
    tried: list[dict] = [recipe]
    is_better = True
    while is_better:
        is_better = False
        for simpler in _simplify(recipe):
            if simpler in tried:
                continue
            if len(tried) > most:
                return recipe
            tried.append(simpler)
            if fails(simpler):
                recipe, is_better = simpler, True
                break
    return recipe


def _simplify(recipe: dict) -> Iterator[dict]:
    """Simpler recipes, the boldest changes first."""
    for field, plain in (("producer", None), ("after", [])):
        if recipe[field] != plain:
            yield {**recipe, field: plain}
    if len(recipe["stages"]) > 1:
        for number in range(len(recipe["stages"])):
            stages = [stage for n, stage in enumerate(recipe["stages"]) if n != number]
            yield {**recipe, "stages": stages}
    if len(recipe["values"]) > 1:
        yield from ({**recipe, "values": [kind]} for kind in recipe["values"])
    plain = {"layout": "NCHW", "dtype": "float32", "decision": "exchange", "opt_level": 3}
    for field, value in {**plain, "licence": "equal"}.items():
        has_other_rank = field == "layout" and len(recipe["size"]) != 2
        if recipe[field] != value and not has_other_rank:
            yield {**recipe, field: value}
    for number, stage in enumerate(recipe["stages"]):
        for simpler in _simplify_stage(stage, len(recipe["size"])):
            changed = deepcopy(recipe)
            changed["stages"][number] = simpler
            yield changed
    for number in range(len(recipe["after"])):
        yield {**recipe, "after": recipe["after"][:number] + recipe["after"][number + 1 :]}
    if recipe["size"] != [4] * len(recipe["size"]):
        yield {**recipe, "size": [4] * len(recipe["size"])}


def _simplify_stage(stage: dict, rank: int) -> Iterator[dict]:
    if stage["join"] != "chain":
        yield {"join": "chain", "steps": stage["steps"], "pool": stage["pool"]}
    for number in range(len(stage["steps"])):
        yield {**stage, "steps": stage["steps"][:number] + stage["steps"][number + 1 :]}
    plain = {field: v if field == "kind" else v * rank for field, v in _PLAIN_POOL.items()}
    plain["ceil_mode"] = False
    if stage["pool"] != plain:
        yield {**stage, "pool": plain}
        yield from _simplify_pool(stage, plain)
    for number, (name, *numbers) in enumerate(stage["steps"]):
        for simpler in _simplify_numbers(numbers):
            steps = list(stage["steps"])
            steps[number] = [name, *simpler]
            yield {**stage, "steps": steps}


def _simplify_pool(stage: dict, plain: dict) -> Iterator[dict]:
    """One attribute at a time, for a pool that must stay special somewhere."""
    pool = stage["pool"]
    if "pad" in pool:
        yield {**stage, "pool": {field: v for field, v in pool.items() if field != "pad"}}
    if pool["kind"] == "max":
        for field in ("padding", "dilation", "ceil_mode", "kernel", "strides"):
            if pool[field] != plain[field]:
                yield {**stage, "pool": {**pool, field: plain[field]}}


def _simplify_numbers(numbers: list) -> Iterator[list]:
    """The same number for all channels, or a plain one."""
    for position, value in enumerate(numbers):
        if isinstance(value, list):
            choices = (
                [[each] * len(value) for each in dict.fromkeys(value)] if len(value) > 1 else []
            )
            choices += [[(1.0 if v > 0 else -1.0 if v < 0 else 0.0) for v in value]]
        elif isinstance(value, float):
            choices = [1.0 if value > 0 else -1.0 if value < 0 else 0.0]
        else:
            choices = []
        for choice in choices:
            if choice != value:
                yield [*numbers[:position], choice, *numbers[position + 1 :]]
