"""What occurs in a graph: operators, and each attribute by the class of its value.

`ATTRIBUTES` says of each attribute which classes there are that the pass may treat differently; a
test holds it against the attributes that the pass reads, and against what is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import tvm
from tvm import relay
from tvm.ir import Op

from .graph import Graph
from .value import DTYPES

_HOW = (
    *("decision", "licence", "opt_level", "executor", "target", "certify"),
    *("layout", "dtype", "batch"),
)


@dataclass(frozen=True)
class Attribute:
    """An attribute of Relay's operators.

    Parameters
    ----------
    classify : callable
        The classes that a value belongs to.
    classes : tuple of str
        Those that have to be drawn.
    """

    classify: Callable[[object], Iterable[str]]
    classes: tuple[str, ...]


def _numbers(value) -> list[float]:
    if value is None:
        return []
    if hasattr(value, "__len__"):
        return [number for each in value for number in _numbers(each)]
    return [getattr(value, "value", value)]  # TVM's own integers


def _signs(value) -> Iterator[str]:
    numbers = [float(number) for number in _numbers(value)]
    yield from {"negative" if n < 0 else "positive" if n > 0 else "zero" for n in numbers}


def _sides(value) -> Iterator[str]:
    """Signs, and whether both sides of an axis have the same."""
    yield from _signs(value)
    numbers = [int(number) for number in _numbers(value)]
    half = len(numbers) // 2
    is_nested = hasattr(value, "__len__") and len(value) and hasattr(value[0], "__len__")
    pairs = [tuple(map(int, pair)) for pair in value] if is_nested else (
        list(zip(numbers[:half], numbers[half:]))
    )  # fmt: skip
    yield "unequal sides" if any(a != b for a, b in pairs) else "equal sides"
    yield from {f"{n}" for pair in pairs if is_nested for n in pair}


def _steps(value) -> Iterator[str]:
    numbers = [int(number) for number in _numbers(value)]
    yield from {"1" if n == 1 else "more" if n > 1 else "negative" for n in numbers}
    if len(set(numbers)) > 1:
        yield "unequal"


def _text(value) -> Iterator[str]:
    yield str(value)


def _groups(value) -> Iterator[str]:
    yield {1: "one", 2: "some"}.get(int(value), "each")


def _axis(value) -> Iterator[str]:
    if value is None:
        yield "none"
        return
    is_list = hasattr(value, "__len__")
    numbers = [int(number) for number in _numbers(value)]
    yield ("several" if len(numbers) > 1 else "one in a list") if is_list else "a number"
    yield from {"from the end" if number < 0 else str(number) for number in numbers}


def _slope(value) -> Iterator[str]:
    yield from _signs(value)
    if float(value) in (-1.0, 1.0):
        yield str(int(float(value)))


_SIGNS = ("negative", "zero", "positive")
_BOTH = ("True", "False")
_LAYOUTS = ("NCHW", "NHWC", "NCW", "NWC", "NCDHW", "NDHWC", "NCHW4c")
ATTRIBUTES: dict[str, Attribute] = {
    "padding": Attribute(_sides, (*_SIGNS, "equal sides", "unequal sides")),
    "pad_width": Attribute(
        _sides, (*_SIGNS, "equal sides", "unequal sides", *map(str, range(-3, 4)))
    ),
    "pad_mode": Attribute(_text, ("constant", "edge", "reflect")),
    "pool_size": Attribute(_steps, ("1", "more", "unequal")),
    "strides": Attribute(_steps, ("1", "more", "negative", "unequal")),
    "dilation": Attribute(_steps, ("1", "more", "unequal")),
    "ceil_mode": Attribute(lambda value: _text(bool(value)), _BOTH),
    "layout": Attribute(_text, (*_LAYOUTS, "NCHW2c", "CNHW")),
    "out_layout": Attribute(_text, ("", "NCHW4c")),
    "data_layout": Attribute(_text, _LAYOUTS),
    "kernel_layout": Attribute(
        _text,
        ("OIHW", "HWIO", "HWOI", "IOHW", "OIW", "IOW", "WIO", "OIDHW", "IODHW", "DHWIO")
        + ("OIHW4i4o", "OIHW1i4o"),
    ),
    "groups": Attribute(_groups, ("one", "some", "each")),
    "axis": Attribute(
        _axis, ("none", "a number", "one in a list", "several", "from the end", *"01234")
    ),
    "keepdims": Attribute(lambda value: _text(bool(value)), _BOTH),
    "exclude": Attribute(lambda value: _text(bool(value)), _BOTH),
    "a_min": Attribute(_signs, _SIGNS),
    "a_max": Attribute(_signs, _SIGNS),
    "alpha": Attribute(_slope, (*_SIGNS, "1", "-1")),
    "dtype": Attribute(_text, DTYPES),
    "multiplier": Attribute(_signs, ("negative", "positive")),
    "shift": Attribute(_signs, _SIGNS),
    "begin": Attribute(_signs, _SIGNS),
    "end": Attribute(_signs, ("negative", "positive")),
    "slice_mode": Attribute(_text, ("end", "size")),
    "mode": Attribute(_text, ("clip", "wrap", "fast")),
    "batch_dims": Attribute(_text, ("0", "1")),
    "src_layout": Attribute(_text, (*_LAYOUTS, "NCHW2c")),
    "dst_layout": Attribute(_text, (*_LAYOUTS, "NCHW2c")),
    "axes": Attribute(_axis, ("one in a list", *"0123")),
    "method": Attribute(_text, ("nearest_neighbor",)),  # LLVM 22 refuses what TVM makes of others
    "is_lshift_required": Attribute(lambda value: _text(bool(value)), _BOTH),
}


def describe(recipe: dict, graph: Graph) -> set[str]:
    """All that occurs in a graph, and how it is built.

    ``nn.pad`` an operator; ``nn.pad pad_mode=edge`` an attribute; ``fork join=add`` a step's word;
    ``opt_level=3`` how it is built.
    """
    found = {f"{name}={recipe[name]}" for name in _HOW if name in recipe}
    found |= {f"values={kind}" for kind in recipe["values"]}
    found.update(_describe_steps(recipe.get("steps", [])))
    for expr in [*graph.outputs, *(value for _, value in graph.bindings)]:
        relay.analysis.post_order_visit(expr, lambda each: found.update(_describe_call(each)))
    return found


def _describe_call(expr: relay.Expr) -> Iterator[str]:
    if not isinstance(expr, relay.Call) or not isinstance(expr.op, Op):
        return
    name = expr.op.name
    yield name
    for attribute in _list_attributes(name, expr.attrs):
        for each in ATTRIBUTES[attribute].classify(getattr(expr.attrs, attribute)):
            yield f"{name} {attribute}={each}"


def _list_attributes(name: str, attrs: tvm.ir.Attrs | None) -> list[str]:
    """Those of `ATTRIBUTES` that an operator has; TVM takes long to say so."""
    if name not in _of_operator:
        _of_operator[name] = [each for each in ATTRIBUTES if attrs and hasattr(attrs, each)]
    return _of_operator[name]


_of_operator: dict[str, list[str]] = {}


def _describe_steps(steps: list) -> Iterator[str]:
    """The words of steps, such as a constant's shape or a fork's join."""
    for name, parameters in steps:
        yield from _describe_words(name, parameters)
        for branch in parameters.get("branches", [parameters.get("steps", [])]):
            yield from _describe_steps(branch)


def _describe_words(name: str, parameters: dict) -> Iterator[str]:
    for word, value in parameters.items():
        if isinstance(value, dict):
            yield from _describe_words(f"{name} {word}", {"shape": "scalar", **value})
        elif isinstance(value, (str, bool)):
            yield f"{name} {word}={value}"
