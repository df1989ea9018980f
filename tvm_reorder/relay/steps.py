"""A step between a pool and the convolution: what it is, and what keeps it in its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

import numpy as np
import tvm
from tvm import relay

from ..core.chain import Link
from ..core.contraction import ADDITIONS, SELECTING
from ..core.monotone import MonotoneMap
from ..core.refusal import Reason, Refusal
from .facts import read_constant, read_shape
from .moves import Moves, undo_one_another
from .patterns import FENCE, IDENTICAL
from .scene import Build, Reading, Scene
from .sites import FunctionGraph, op_name

# The same with a number as with an operand, whatever the number.
_INDIFFERENT = SELECTING.union(
    ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "where", "nn.pad"]
)
NEUTRAL = {"add": 0, "subtract": 0, "multiply": 1, "divide": 1}  # what TVM drops an operator for


class Rebuild(NamedTuple):
    """How a call is made anew where its arguments would not do.

    Parameters
    ----------
    path : tuple of int
        Argument positions that lead from the call to its data.
    build : callable
        Makes it from the data and a span.
    """

    path: tuple[int, ...]
    build: Build


@dataclass(frozen=True)
class Step:
    """One step of a chain on typed Relay.

    Parameters
    ----------
    link : Link
        The step as facts.
    root, source : relay.Expr
        The value the step yields and the value it takes.
    path : tuple of int
        Argument positions that lead from `root` to `source`.
    region : frozenset of relay.Expr
        The calls the step is made of.
    replace : dict
        Operands to be exchanged for smaller ones behind the pool.
    rebuilds : dict
        Calls to be made anew behind the pool, and how.
    moves : tuple of relay.Call
        Operators from `root` upwards that only move values; the step itself stands above them.
    maps : dict
        Of a step of several calls: each value inside it as a map of the step's source.
    may_lose_moves : bool
        False if moves that undo one another have to stay.
    """

    link: Link
    root: relay.Expr
    source: relay.Expr
    path: tuple[int, ...]
    region: frozenset[relay.Expr]
    replace: dict[relay.Expr, relay.Expr] = field(default_factory=dict)
    rebuilds: dict[relay.Expr, Rebuild] = field(default_factory=dict)
    moves: Moves = ()
    maps: dict[relay.Expr, MonotoneMap] = field(default_factory=dict)
    may_lose_moves: bool = True

    @property
    def result(self) -> relay.Expr:
        """What the step computes, above its moves."""
        return follow(self.root, (0,) * len(self.moves))


def follow(value: relay.Expr, path: Sequence[int]) -> relay.Expr:
    """What some argument positions lead to."""
    for position in path:
        value = value.args[position]
    return value


def read_rebuilding(call: relay.Call, reading: Reading) -> tuple[dict, dict]:
    """A reading's part of ``Step.replace`` and of ``Step.rebuilds``."""
    replaced = {call.args[position]: new for position, new in reading.replace.items()}
    rebuilt = {} if reading.build is None else {call: Rebuild((reading.data,), reading.build)}
    return replaced, rebuilt


def find_moves(steps: Sequence[Step]) -> Moves:
    """What has to stand between the value above these steps and the pool, from the pool upwards."""
    moves = tuple(move for step in steps for move in step.moves)
    is_free = all(step.may_lose_moves for step in steps)
    return () if is_free and undo_one_another(moves) else moves


def is_uniform(step: Step) -> bool:
    """True if the step treats all values alike: each of its operands is a single number."""
    return not step.rebuilds and all(prod(shape) == 1 for shape in read_operand_shapes(step))


def needs_axes(step: Step) -> bool:
    """True if the step is another one, or gives other axes, on a tensor of another rank."""
    return bool(step.rebuilds) or any(shape != () for shape in read_operand_shapes(step))


def read_operand_shapes(step: Step) -> Iterator[tuple[int | None, ...]]:
    """Shapes of what a step takes besides its source."""
    for call in step.region.difference(step.moves):
        for argument in call.args:
            if argument not in step.region and not argument.same_as(step.source):
                yield _shape_of(step.replace.get(argument, argument))


def _shape_of(operand: relay.Expr) -> tuple[int | None, ...]:
    """Shape of an operand; one that was shrunk is a constant without a type."""
    if isinstance(operand, relay.Constant):
        return tuple(operand.data.shape)
    return read_shape(operand.checked_type)


def has_windows_of(source: relay.Expr, scene: Scene) -> bool:
    """True if the value has the pooled tensor's rank and its extents along the window."""
    shape, pooled = read_shape(source.checked_type), scene.pool.shape
    same_rank = len(shape) == len(pooled)
    return same_rank and all(shape[axis] == pooled[axis] for axis in scene.pool.window_axes)


def count_steps(region: Iterable[relay.Expr]) -> int:
    """How many of a step's calls compute something."""
    return sum(op_name(call) not in IDENTICAL for call in region)


def find_sharing(graph: FunctionGraph, value: relay.Expr, wanted: int) -> Refusal | None:
    """Set if the value is used more often than the `wanted` uses that go past the pool."""
    users = graph.users(value)
    name = op_name(value.args[0] if op_name(value) == FENCE else value)
    if graph.is_output(value):
        return Refusal(
            Reason.FUNCTION_OUTPUT,
            f"the value of {name}",
            "a function output",
            "used on the way to the pool alone",
        )
    if users > wanted:
        required = f"used {wanted} times" if wanted > 1 else "used once"
        return Refusal(Reason.SHARED, f"the value of {name}", f"used {users} times", required)
    return None


def find_shared_scalar(graph: FunctionGraph, values: Iterable[relay.Expr]) -> Refusal | None:
    """Set if some values take a scalar that is used twice, and some user's code depends on it.

    FuseOps writes a scalar into a kernel if no other kernel uses it, and, where a convolution or a
    pool is in it, if nothing there uses it again.  So one that is used twice, be it by what moves
    or by what stays, may be written there before the exchange and not behind it, or the other way
    round.  TVM divides by such a number with a product, takes a product with 0 for 0 and cancels
    what is added and taken away again, LLVM squares for a power of 2; with an operand none does.
    """
    for call in (value for value in values if isinstance(value, relay.Call)):
        for scalar in filter(_is_float_scalar, call.args):
            times = graph.users(scalar)
            if times < 2:
                continue
            if any(_depends_on_literal(graph, user, scalar) for user in graph.calls_on(scalar)):
                subject, actual = f"the scalar of {op_name(call)}", f"used {times} times"
                return Refusal(Reason.SHARED, subject, actual, "used once")
    return None


def find_shared_constant(graph: FunctionGraph, step: Step) -> Refusal | None:
    """Set if a constant that has to be made anew for a step is added, and used elsewhere too.

    TVM takes away again what is added, (x + c) - c, if both are one buffer; made anew they are two.
    """
    remade = [a for call in step.rebuilds for a in call.args if isinstance(a, relay.Constant)]
    for constant in (*step.replace, *remade):
        times = graph.users(constant)
        names = [op_name(user) for user in graph.calls_on(constant)]
        if times > 1 and not ADDITIONS.isdisjoint(names):
            subject, actual = f"the constant of {names[0]}", f"used {times} times"
            return Refusal(Reason.SHARED, subject, actual, "used once")
    return None


def find_vanishing(step: Step) -> Refusal | None:
    """Set if TVM would drop an operator of a step once its constant has become one number.

    SimplifyExpr drops x + 0, x - 0, x * 1 and x / 1 if the constant has a single element, and so
    keeps it before the exchange.  What stands around it would meet behind the pool.
    """
    for call in step.region:
        neutral = NEUTRAL.get(op_name(call))
        for argument in call.args if neutral is not None else ():
            made = step.replace.get(argument)
            if made is not None and prod(made.data.shape) == 1 and made.data.numpy() == neutral:
                subject = f"the {neutral} that {op_name(call)} takes, in each place of the window,"
                return Refusal(Reason.UNPROVEN, subject, "dropped behind the pool by TVM", "kept")
    return None


def gives_one_number(call: relay.Call) -> bool:
    """True for x * 0, x - x and a clip without room, which TVM's simplifier folds even for NaN."""
    if op_name(call) == "clip":
        return not call.attrs.a_min < call.attrs.a_max
    if op_name(call) == "subtract":
        return bool(tvm.ir.structural_equal(*call.args))
    numbers = map(read_constant, call.args) if op_name(call) == "multiply" else ()
    return any(each is not None and each.size == 1 and not each.any() for each in numbers)


def _is_float_scalar(value: relay.Expr) -> bool:
    if not isinstance(value, relay.Constant) or value.data.shape:
        return False
    return value.data.dtype.startswith(("float", "bfloat"))


def _depends_on_literal(graph: FunctionGraph, call: relay.Call, scalar: relay.Constant) -> bool:
    """True if a scalar makes other code as a number than as an operand."""
    name, value = op_name(call), read_constant(scalar)  # None for bfloat16: any number
    if name == "multiply":
        return not value or not np.isfinite(value)
    if name == "divide" and value is not None:
        return call.args[1].same_as(scalar) and not _has_exact_reciprocal(value)
    if name not in ADDITIONS:
        return name not in _INDIFFERENT
    others = (each for each in filter(_is_float_scalar, graph.order) if not each.same_as(scalar))
    equal = (each for each in others if read_constant(each) == value)
    return any(op_name(user) in ADDITIONS for each in equal for user in graph.calls_on(each))


def _has_exact_reciprocal(value: np.ndarray) -> bool:
    """True for a power of two whose reciprocal the dtype holds."""
    with np.errstate(all="ignore"):
        return bool(np.frexp(np.abs(value))[0] == 0.5 and np.isfinite(1 / value))


def count_uses(value: relay.Expr, region) -> int:
    """How many arguments of a region's calls are the value."""
    return sum(argument.same_as(value) for call in region for argument in call.args)
