"""A step between a pool and the convolution: what it is, and what keeps it in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod

from tvm import relay
from tvm.ir import Span

from ..core.chain import Link
from ..core.monotone import MonotoneMap
from ..core.refusal import Reason, Refusal
from .facts import read_shape
from .scene import Scene
from .sites import FunctionGraph, op_name

_DEPEND_ON_SCALARS = frozenset(["divide", "power"])


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
    rebuilt_as : relay.Call or None
        A call to use instead of the region, its first argument being the data.
    moves : tuple of relay.Call
        Operators from `root` upwards that only move values; the step itself stands above them.
    build : callable or None
        Makes the step anew from the data and a span, where neither of these can.
    maps : dict
        Of a step of several calls: each value inside it as a map of the step's source.
    """

    link: Link
    root: relay.Expr
    source: relay.Expr
    path: tuple[int, ...]
    region: frozenset[relay.Expr]
    replace: dict[relay.Expr, relay.Expr] = field(default_factory=dict)
    rebuilt_as: relay.Call | None = None
    moves: tuple[relay.Call, ...] = ()
    build: Callable[[relay.Expr, Span], relay.Expr] | None = None
    maps: dict[relay.Expr, MonotoneMap] = field(default_factory=dict)


def is_uniform(step: Step, rank: int = 0) -> bool:
    """True if the step treats all values alike: each of its operands is a single number.

    With a `rank` an operand must not have more axes than that, or it would add them.
    """
    operands = (
        step.replace.get(argument, argument)
        for call in step.region.difference(step.moves)
        for argument in call.args
        if argument not in step.region and not argument.same_as(step.source)
    )
    shapes = [_shape_of(operand) for operand in operands]
    is_plain = step.rebuilt_as is None and step.build is None
    return is_plain and all(prod(s) == 1 and len(s) <= (rank or len(s)) for s in shapes)


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


def find_sharing(graph: FunctionGraph, value: relay.Expr, wanted: int) -> Refusal | None:
    """Set if the value is used more often than the `wanted` uses that go past the pool."""
    name, users = op_name(value), graph.users(value)
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


def find_shared_scalar(graph: FunctionGraph, region) -> Refusal | None:
    """Set if a scalar that the code of a step depends on is used elsewhere too.

    FuseOps writes a scalar into a kernel if no other kernel uses it.  TVM divides by such a number
    with a product, and LLVM squares for a power of 2; both round otherwise than with an operand.
    """
    for call in region:
        if op_name(call) not in _DEPEND_ON_SCALARS:
            continue
        for scalar in call.args:
            if isinstance(scalar, relay.Constant) and read_shape(scalar.checked_type) == ():
                refusal = find_sharing(graph, scalar, count_uses(scalar, region))
                if refusal:
                    return replace(refusal, subject=f"the scalar of {op_name(call)}")
    return None


def count_uses(value: relay.Expr, region) -> int:
    """How many arguments of a region's calls are the value."""
    return sum(argument.same_as(value) for call in region for argument in call.args)
