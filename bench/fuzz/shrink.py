"""A failing recipe made smaller, as long as it fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .onnx_pools import drop_node
from .steps import Step

_PLAIN = {"decision": "exchange", "opt_level": 3, "licence": "equal", "executor": "graph"}
_PLAIN |= {"target": "llvm", "batch": 1}
_PLAIN_GRAPH = {"layout": "NCHW", "dtype": "float32"}
_RANK = 2  # of the plain layout's windows


def shrink(recipe: dict, fails: Callable[[dict], bool], most: int = 200) -> dict:
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
    steps = recipe.get("steps", [])
    for simpler in _drop_steps(steps):
        yield {**recipe, "steps": simpler}
    if len(recipe["values"]) > 1:
        yield from ({**recipe, "values": [kind]} for kind in recipe["values"])
    for field, value in _PLAIN.items():
        if field in recipe and recipe[field] != value:
            yield {**recipe, field: value}
    if "size" in recipe:
        yield from _simplify_input(recipe)
    for smaller in drop_node(recipe["onnx"]) if "onnx" in recipe else ():
        yield {**recipe, "onnx": smaller}
    for simpler in _simplify_steps(steps):
        yield {**recipe, "steps": simpler}


def _simplify_input(recipe: dict) -> Iterator[dict]:
    size = recipe["size"]
    for field, value in _PLAIN_GRAPH.items():
        fits = field != "layout" or len(size) == _RANK
        if recipe[field] != value and fits:
            yield {**recipe, field: value}
    for extent in (4, 2):
        if max(size) > extent:
            yield {**recipe, "size": [min(each, extent) for each in size]}


def _drop_steps(steps: list[Step]) -> Iterator[list[Step]]:
    """Without half of the steps, without one, or with a branch in a fork's place."""
    if len(steps) > 3:
        middle = len(steps) // 2
        yield from (steps[middle:], steps[:middle])
    for number, (_, parameters) in enumerate(steps):
        before, after = steps[:number], steps[number + 1 :]
        yield before + after
        for branch in parameters.get("branches", []):
            yield before + branch + after
    for number, (name, parameters) in enumerate(steps):
        for field, nested in _nested(parameters):
            for simpler in _drop_steps(nested):
                changed = _put(parameters, field, simpler)
                yield [*steps[:number], [name, changed], *steps[number + 1 :]]


def _nested(parameters: dict) -> Iterator[tuple[tuple, list[Step]]]:
    """Steps inside a step, each with where they stand."""
    for number, branch in enumerate(parameters.get("branches", [])):
        yield ("branches", number), branch
    if "steps" in parameters:
        yield ("steps",), parameters["steps"]


def _put(parameters: dict, where: tuple, steps: list[Step]) -> dict:
    if where == ("steps",):
        return {**parameters, "steps": steps}
    branches = list(parameters["branches"])
    branches[where[1]] = steps
    return {**parameters, "branches": branches}


def _simplify_steps(steps: list[Step]) -> Iterator[list[Step]]:
    """One parameter left out, or made plainer."""
    for number, (name, parameters) in enumerate(steps):
        for simpler in _simplify_parameters(parameters):
            yield [*steps[:number], [name, simpler], *steps[number + 1 :]]
        for where, nested in _nested(parameters):
            for simpler in _simplify_steps(nested):
                changed = _put(parameters, where, simpler)
                yield [*steps[:number], [name, changed], *steps[number + 1 :]]


def _simplify_parameters(parameters: dict) -> Iterator[dict]:
    plain = {name: v for name, v in parameters.items() if name not in ("branches", "steps")}
    for name in plain:
        yield {other: value for other, value in parameters.items() if other != name}
    for name, value in plain.items():
        for simpler in _simplify_value(value):
            yield {**parameters, name: simpler}


def _simplify_value(value) -> Iterator:
    """A single number for several, and 1, -1 or 0 for any; of a constant, its parts likewise."""
    if isinstance(value, dict):
        yield from (
            _simplify_parameters(value)
            if "values" not in value
            else (each for each in _simplify_parameters(value) if "values" in each)
        )
    elif isinstance(value, list):
        if len(value) > 1:
            yield from ([each] for each in value if not isinstance(each, str))
        for number, each in enumerate(value):
            for simpler in _simplify_value(each):
                yield [*value[:number], simpler, *value[number + 1 :]]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        plain = type(value)(1 if value > 0 else -1 if value < 0 else 0)
        if value != plain:
            yield plain
