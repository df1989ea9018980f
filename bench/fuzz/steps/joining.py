"""Steps with branches, and those that give a value another user."""

from __future__ import annotations

from itertools import permutations
from random import Random

from tvm import relay

from ..value import Value
from .elementwise import call, cast
from .kind import Kind, Maker

_MOST_AXES = 5
ARITHMETIC = ("add", "subtract", "multiply", "divide", "maximum", "minimum")


def _build_fork(maker: Maker, value: Value, parameters: dict) -> Value:
    """Several branches from one value, joined: concatenated along an axis, or value by value."""
    branches = [maker.apply(steps, value) for steps in parameters.get("branches", [[], []])]
    first = branches[0]
    exprs = [cast(each.expr, each.dtype, first.dtype) for each in branches]
    exprs = [e if b.dtype != first.dtype else b.expr for e, b in zip(exprs, branches)]
    join = parameters.get("join", "concatenate")
    if join == "stack" and len(first.axes) < _MOST_AXES:
        axis = parameters.get("axis", 0) % (len(first.axes) + 1)
        letter = next(each for each in "DHWNC" if each not in first.axes)
        axes = first.axes[:axis] + letter + first.axes[axis:]
        return first.to(relay.stack(exprs, axis), axes)
    if join in ("concatenate", "stack"):
        if not first.axes:
            return first
        axis = parameters.get("axis", first.channel) % len(first.axes)
        axis -= len(first.axes) * parameters.get("from_end", False)
        return first.to(relay.concatenate(exprs, axis))
    joined = exprs[0]
    for other in exprs[1:]:
        joined = call(join, joined, other)
    return first.to(joined)


def _build_detour(maker: Maker, value: Value, parameters: dict) -> Value:
    """Steps between a transposition and the one back."""
    letters = value.axes
    orders = list(permutations(range(len(letters))))
    order = orders[parameters.get("order", 0) % len(orders)]
    there = value.to(relay.transpose(value.expr, order), "".join(letters[n] for n in order))
    result = maker.apply(parameters.get("branches", [[]])[0], there)
    is_same = sorted(result.axes) == sorted(letters) and len(set(letters)) == len(letters)
    if not is_same:
        return result
    return result.to(
        relay.transpose(result.expr, [result.axes.index(each) for each in letters]), letters
    )


def _build_side(maker: Maker, value: Value, parameters: dict) -> Value:
    """Another result of the graph, made of the value; none of its steps: the value itself."""
    maker.add_output(maker.apply(parameters.get("steps", []), value).expr)
    return value


def _build_let(maker: Maker, value: Value, parameters: dict) -> Value:
    return value.to(maker.bind(value.expr))


def _build_input(maker: Maker, value: Value, parameters: dict) -> Value:
    """Another input of the same shape instead of the value."""
    return value.to(maker.add_input(value.shape, value.dtype))


def _is_any(dtype: str) -> bool:
    return True


def _draw_nothing(random: Random, dtype: str) -> dict:
    return {}


JOINING: dict[str, Kind] = {
    "fork": Kind(_build_fork, _draw_nothing, _is_any, copies=2),
    "detour": Kind(_build_detour, _draw_nothing, _is_any),
    "side": Kind(_build_side, _draw_nothing, _is_any),
    "let": Kind(_build_let, _draw_nothing, _is_any),
    "input": Kind(_build_input, _draw_nothing, _is_any),
}
