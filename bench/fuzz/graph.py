"""A recipe as Relay, and its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import numpy as np
import tvm
from tvm import relay
from tvm.ir import SourceName, Span

from .steps import ELEMENTWISE, KINDS, Step
from .steps.constants import as_constant
from .value import Value, is_float, type_of

CHANNELS = 4


@dataclass
class Graph:
    """A recipe, built.

    Parameters
    ----------
    name : str
        What its inputs and pools are called, with a number behind it.
    outputs : list of relay.Expr
        What it computes; the last one is what its last step gives.
    inputs : dict
        Name to shape and dtype.
    bindings : list of pairs
        Variables of lets around all outputs, with their values, in order.
    """

    name: str
    outputs: list[relay.Expr] = field(default_factory=list)
    inputs: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    bindings: list[tuple[relay.Var, relay.Expr]] = field(default_factory=list)


def make_graph(recipe: dict, name: str = "x") -> Graph:
    """The graph of a recipe.

    Raises
    ------
    tvm.TVMError, ValueError
        If it makes no sense, as when a shrunk pool is larger than its input.
    """
    maker = _Maker(name)
    axes = recipe["layout"]
    sizes = iter(recipe["size"])
    extents = {"N": recipe["batch"], "C": CHANNELS}
    shape = tuple(extents[axis] if axis in extents else next(sizes) for axis in axes)
    value = Value(maker.add_input(shape, recipe["dtype"]), axes)
    maker.add_output(maker.apply(recipe["steps"], value).expr)
    return maker.graph


def make_module(graphs: list[Graph]) -> tvm.IRModule:
    """All graphs side by side as one typed module."""
    body: relay.Expr = relay.Tuple([output for graph in graphs for output in graph.outputs])
    for variable, value in reversed([pair for graph in graphs for pair in graph.bindings]):
        body = relay.Let(variable, value, body)
    mod = tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body))
    return relay.transform.InferType()(mod)


class _Maker:
    """`Maker` for one graph."""

    def __init__(self, name: str):
        self.graph = Graph(name)
        self._numbers = count()
        self._shared: dict[tuple, relay.Expr] = {}

    def add_input(self, shape: tuple[int, ...], dtype: str) -> relay.Expr:
        if dtype == "bfloat16":  # numpy has none
            return self.add_input(shape, "float32").astype(dtype)
        name = f"{self.graph.name}_{next(self._numbers)}"
        self.graph.inputs[name] = (tuple(shape), dtype)
        return relay.var(name, shape=shape, dtype=dtype)

    def add_output(self, expr: relay.Expr) -> None:
        if type_of(expr).dtype == "bfloat16":
            expr = expr.astype("float32")
        self.graph.outputs.append(expr)

    def share(self, array: np.ndarray, dtype: str) -> relay.Expr:
        key = array.shape, dtype, array.tobytes()  # bfloat16 has the arrays of float32
        if key not in self._shared:
            self._shared[key] = as_constant(array, dtype)
        return self._shared[key]

    def bind(self, expr: relay.Expr) -> relay.Var:
        name = f"{self.graph.name}_let{len(self.graph.bindings)}"
        variable = relay.Var(name, type_of(expr))
        self.graph.bindings.append((variable, expr))
        return variable

    def mark_pool(self, call: relay.Call) -> relay.Call:
        name = f"{self.graph.name}/{next(self._numbers)}"
        return relay.Call(call.op, call.args, call.attrs, [], Span(SourceName(name), 0, 0, 0, 0))

    def apply(self, steps: list[Step], value: Value) -> Value:
        for name, parameters in steps:
            if not KINDS[name].takes(value.dtype):
                raise ValueError(f"{name} does not take {value.dtype}")
            if not value.axes and name not in ELEMENTWISE:
                continue  # a single number has no axes to move, pool or join along
            value = KINDS[name].build(self, value, parameters)
        return value


def draw_inputs(recipe: dict, inputs: dict, kind: str) -> dict[str, np.ndarray]:
    """Values of one kind for a graph's inputs, from the recipe's own seed."""
    seed = [recipe["seed"], recipe["index"], sum(map(ord, kind))]
    random = np.random.default_rng(seed)
    may_be_nan = "nan" in recipe["licence"]
    return {name: draw_array(random, *t, kind, may_be_nan) for name, t in inputs.items()}


def draw_array(random, shape, dtype: str, kind: str, may_be_nan: bool) -> np.ndarray:
    """An array of one of the kinds of values, see `recipe.VALUES`."""
    if dtype == "bool":
        return random.random(shape) < 0.5
    if not is_float(dtype):
        limits = np.iinfo(dtype)
        wide = random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        small = random.integers(0, 4, shape).astype(dtype)
        return small if kind in ("ties", "subnormal") else wide
    return _FLOATS[kind](random, shape, np.finfo(dtype), may_be_nan).astype(dtype)


def _draw_normal(random, shape, limits, may_be_nan):
    return random.standard_normal(shape) * 3


def _draw_ties(random, shape, limits, may_be_nan):
    return np.round(random.standard_normal(shape) * 3)


def _draw_special(random, shape, limits, may_be_nan):
    tiny = limits.smallest_subnormal
    values = [np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, limits.max, limits.min, 1, -1, -88.0, 3]
    return random.choice(np.array(values + [np.nan] * 3 * may_be_nan, limits.dtype), shape)


def _draw_infinities(random, shape, limits, may_be_nan):
    """Whole planes of one infinity, and planes of numbers with infinities among them."""
    values = random.standard_normal(shape) * 3
    outer = shape[:2] + (1,) * (len(shape) - 2)
    share = random.choice([0.0, 0.5, 0.9, 1.0], outer)
    sign = random.choice([-np.inf, np.inf], outer)
    return np.where(random.random(shape) < share, sign, values)


def _draw_huge(random, shape, limits, may_be_nan):
    signs = np.sign(random.standard_normal(shape))
    return signs * np.float64(limits.max) ** random.uniform(0.5, 1, shape)


def _draw_subnormal(random, shape, limits, may_be_nan):
    return np.round(random.standard_normal(shape) * 27) * np.float64(limits.smallest_subnormal)


def _draw_lowest(random, shape, limits, may_be_nan):
    values = np.round(random.standard_normal(shape) * 3)
    return np.where(random.random(shape) < 0.5, limits.min, values)


_FLOATS = {
    "normal": _draw_normal,
    "ties": _draw_ties,
    "special": _draw_special,
    "infinities": _draw_infinities,
    "huge": _draw_huge,
    "subnormal": _draw_subnormal,
    "lowest": _draw_lowest,
}
VALUES = tuple(_FLOATS)
