"""Which results are open: of windows with a NaN, or with nothing but infinities, by the licence.

What is undefined is open under every licence: a float cast to an integer dtype that does not hold
it.  What TVM makes of it differs from one vector width to the next.

Every float of the graph is computed, at opt_level 1 by stock TVM, and so is what its pools read as
the graph is compiled, because a scale folded into a convolution's weights overflows elsewhere.
Where a NaN or an infinity stands is marked, and the marks go the way of the values: a window is
open if a NaN is in it, or if an infinity has been on the way of all its values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import tvm
from tvm import relay
from tvm.ir import Op

from tvm_reorder.core.licence import Licence

from .graph import Graph
from .reference.bounds import lowest
from .reference.elementwise import ELEMENTWISE, shape_of
from .reference.evaluate import JOINS
from .reference.placing import MAX_POOLS, MOVES, join, pad, reduce_windows, split
from .reference.quantised import QUANTISED
from .run import How, build

_PLAIN_LEVEL = 1  # the lowest at which TVM compiles quantised operators
_CASTS = ("cast", "cast_like")
_VALUE_BY_VALUE = {*ELEMENTWISE, *QUANTISED}


@dataclass(frozen=True)
class Marks:
    """Where a NaN and where an infinity has been on the way of a value, and what is open."""

    nan: np.ndarray
    infinite: np.ndarray
    open: np.ndarray

    def moved(self, move: Callable[[np.ndarray], np.ndarray]) -> Marks:
        """The same marks in other places."""
        return Marks(move(self.nan), move(self.infinite), move(self.open))


def find_open(
    graph: Graph, inputs: dict[str, np.ndarray], licence: Licence, how: How
) -> list[np.ndarray]:
    """For each output what is open in it.

    Parameters
    ----------
    graph : Graph
        The graph.
    inputs : dict
        What it is run on.
    licence : Licence
        What is asked of its results.
    how : How
        How it is compiled.
    """
    outputs = _put_lets_in_place(graph)
    body = relay.Tuple(outputs)
    mod = _module(body)
    outputs = list(mod["main"].body.fields)
    values: list[relay.Expr] = []
    relay.analysis.post_order_visit(mod["main"].body, values.append)
    tensors = [each for each in values if _is_computed(each)]
    seen = dict(zip(tensors, _run(tensors, inputs, How(_PLAIN_LEVEL, target=how.target))))
    pooled = [each.args[0] for each in tensors if _name(each) in MAX_POOLS]
    pooled = [each for each in pooled if _is_computed(each)]
    compiled = _run(pooled, inputs, how) if pooled else []
    marker = _Marker(licence, seen, dict(zip(pooled, compiled)), inputs)
    for each in values:
        marker.visit(each)
    return [marker.known[output].open for output in outputs]


class _Marker:
    def __init__(self, licence: Licence, seen: dict, compiled: dict, inputs: dict):
        self.known: dict[relay.Expr, Marks | list[Marks]] = {}
        self._licence = licence
        self._seen = seen
        self._compiled = compiled
        self._inputs = inputs

    def visit(self, expr: relay.Expr) -> None:
        """Mark an expression whose operands are marked."""
        if isinstance(expr, relay.Tuple):
            self.known[expr] = [self.known[each] for each in expr.fields]
        elif isinstance(expr, relay.TupleGetItem):
            self.known[expr] = self.known[expr.tuple_value][expr.index]
        elif isinstance(expr, relay.Call):
            operands = [self.known[each] for each in expr.args]
            self.known[expr] = self._add_own(expr, self._mark(expr, operands))
        elif isinstance(expr, (relay.Var, relay.Constant)):
            self.known[expr] = self._add_own(expr, _none(shape_of(expr)))

    def _add_own(self, expr: relay.Expr, marks: Marks | list[Marks]) -> Marks | list[Marks]:
        """With what stands in the value itself."""
        if isinstance(marks, list):
            return marks
        if _name(expr) in _CASTS and expr.checked_type.dtype.startswith(("int", "uint")):
            for array in self._find_values(expr.args[0]):
                unheld = _find_unheld(array, expr.checked_type.dtype)
                marks = Marks(marks.nan, marks.infinite, marks.open | unheld)
        for array in self._find_values(expr):
            if array.dtype.kind == "f":
                nan, infinite = marks.nan | np.isnan(array), marks.infinite | np.isinf(array)
                marks = Marks(nan, infinite, marks.open)
        return marks

    def _find_values(self, expr: relay.Expr) -> list[np.ndarray]:
        """What is known to stand in a value."""
        arrays = [each[expr] for each in (self._seen, self._compiled) if expr in each]
        if isinstance(expr, relay.Var) and expr.name_hint in self._inputs:
            arrays.append(self._inputs[expr.name_hint])
        return arrays

    def _mark(self, call: relay.Call, operands: list) -> Marks | list[Marks]:
        name = _name(call)
        if name in JOINS:
            parts = zip(*((marks.nan, marks.infinite, marks.open) for marks in operands[0]))
            return Marks(*(join(call, each) for each in parts))
        if name == "split":
            parts = (split(call, each) for each in (operands[0].nan, operands[0].infinite))
            return [Marks(*each) for each in zip(*parts, split(call, operands[0].open))]
        if name in _VALUE_BY_VALUE:
            return _unite(operands, shape_of(call))
        if name in MOVES:
            return operands[0].moved(partial(MOVES[name], call))
        if name == "nn.pad":
            return _pad(call, operands[0])
        if name in MAX_POOLS:
            return self._pool(call, operands[0])
        return _spread(call, operands)

    def _pool(self, call: relay.Call, marks: Marks) -> Marks:
        nan = reduce_windows(call, marks.nan, np.any, False)
        infinite = reduce_windows(call, marks.infinite, np.all, False)
        opened = reduce_windows(call, marks.open, np.any, False)
        opened = opened | (nan & (not self._licence.nan))
        return Marks(nan, infinite, opened | (infinite & (not self._licence.strict)))


def _find_unheld(values: np.ndarray, dtype: str) -> np.ndarray:
    """Where floats have no value of an integer dtype."""
    if values.dtype.kind != "f":
        return np.zeros(values.shape, bool)
    whole, limits = np.trunc(values.astype(np.float64)), np.iinfo(dtype)
    return ~((whole >= float(limits.min)) & (whole < float(limits.max) + 1))


def _pad(call: relay.Call, marks: Marks) -> Marks:
    """What pads like the pool itself does counts no more than the pool's own padding."""
    value = call.args[1] if len(call.args) > 1 else None
    is_constant = isinstance(value, relay.Constant) and value.data.numpy().dtype.kind == "f"
    is_lowest = is_constant and float(value.data.numpy()) <= lowest(str(value.data.dtype))
    fills = (False, bool(is_lowest), False)
    parts = zip((marks.nan, marks.infinite, marks.open), fills)
    return Marks(*(pad(call, array, fill) for array, fill in parts))


def _none(shape: tuple[int, ...], is_open: bool = False) -> Marks:
    return Marks(np.zeros(shape, bool), np.zeros(shape, bool), np.full(shape, is_open))


def _unite(operands: list[Marks], shape: tuple[int, ...]) -> Marks:
    """Marks of any operand; one that does not broadcast, such as a list of slopes, has none."""
    united = _none(shape)
    for each in operands:
        if _broadcasts(each.open.shape, shape):
            pairs = ((united.nan, each.nan), (united.infinite, each.infinite))
            united = Marks(*(a | b for a, b in pairs), united.open | each.open)
    return united


def _broadcasts(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(other))
    return len(shape) <= len(other) and all(a in (1, b) for a, b in pairs)


def _spread(call: relay.Call, operands: list) -> Marks | list[Marks]:
    """Of an operator that mixes values: all is open if anything is."""
    flat = [m for each in operands for m in (each if isinstance(each, list) else [each])]
    is_open = any(marks.open.any() for marks in flat)
    if isinstance(call.checked_type, tvm.ir.TupleType):
        shapes = [tuple(map(int, kind.shape)) for kind in call.checked_type.fields]
        return [_none(shape, is_open) for shape in shapes]
    return _none(shape_of(call), is_open)


def _name(expr: relay.Expr) -> str:
    is_operator = isinstance(expr, relay.Call) and isinstance(expr.op, Op)
    return expr.op.name if is_operator else ""


def _is_computed(expr: relay.Expr) -> bool:
    """True for a tensor of floats that depends on an input."""
    is_tensor = isinstance(expr, (relay.Call, relay.Var, relay.TupleGetItem))
    is_tensor = is_tensor and isinstance(expr.checked_type, tvm.ir.TensorType)
    is_float = is_tensor and "float" in expr.checked_type.dtype
    return is_float and bool(relay.analysis.free_vars(expr))


def _put_lets_in_place(graph: Graph) -> list[relay.Expr]:
    outputs = list(graph.outputs)
    for variable, value in reversed(graph.bindings):
        outputs = [relay.bind(output, {variable: value}) for output in outputs]
    return outputs


def _module(body: relay.Expr) -> tvm.IRModule:
    mod = tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body))
    return relay.transform.InferType()(mod)


def _run(values: list[relay.Expr], inputs: dict, how: How) -> list[np.ndarray]:
    widened = [
        relay.cast(each, "float32") if each.checked_type.dtype == "bfloat16" else each
        for each in values
    ]
    mod = _module(relay.Tuple(widened))
    names = {variable.name_hint for variable in mod["main"].params}
    return build(mod, how)({name: array for name, array in inputs.items() if name in names})
