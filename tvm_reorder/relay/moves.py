"""Operators that only move or select values: layout_transform, reshape, strided_slice, their like.

Identity
    move(f(x)) = f(move(x))   for f the same on every element, so
    maxpool(move(f(x))) = f(maxpool(move(x))), whatever the windows see.  Each value of the result
    is one value of x, taken from a place that does not depend on x.

Side conditions
    * f has no operand but single numbers: a constant per channel would have to move along.  A
      slice along the window axes alone lets it stand: with g_p the step on plane p, a slice keeps
      p, so slice(g(x)) = g(slice(x)), and to g the pool is one over more rows and columns.
    * The operator writes nothing of its own, such as zeros that fill up a block of channels.
    * It yields no more values than it takes.  What repeats values (upsampling, tile, repeat,
      broadcast_to) commutes with f just as well, but above it f runs on fewer values already.
    * Shapes are static, and whatever else it takes is constant: `take` by constant indices.
    * A product above the operator and a sum below it stay apart: TVM may make one kernel of them,
      with one rounding, or two.

The moves stay where they are, between the chain's input and the pool.  ``split`` is not among them:
the value that it takes has as many users as it has parts that anyone wants.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tvm import relay

from .facts import PoolFacts, read_constant, read_shape
from .sites import op_name

_SLICE = "strided_slice"
MOVES = frozenset(
    [
        *("reshape", "squeeze", "expand_dims", "transpose", "layout_transform", "reverse"),
        *("nn.space_to_depth", "nn.depth_to_space", _SLICE, "take"),
    ]
)


def is_move(expr: relay.Expr) -> bool:
    """True for an operator all of whose values are its first operand's, and no more than those."""
    if op_name(expr) not in MOVES or any(read_constant(other) is None for other in expr.args[1:]):
        return False
    before, after = (read_shape(e.checked_type) for e in (expr.args[0], expr))
    return None not in (*before, *after) and prod(before) >= prod(after)


def read_moves(top: relay.Expr) -> tuple[tuple[relay.Call, ...], relay.Expr]:
    """The moves from `top` upwards, and the value that they move."""
    moves = []
    while is_move(top):
        moves.append(top)
        top = top.args[0]
    return tuple(moves), top


def see_above(pool: PoolFacts, moves: tuple[relay.Call, ...], value: relay.Expr) -> PoolFacts:
    """The pool as steps on `value`, behind which it is moved, have to see it."""
    if all(_keeps_planes(move, pool) for move in moves):
        return replace(pool, shape=read_shape(value.checked_type))
    return as_uniform(pool, value)


def as_uniform(pool: PoolFacts, value: relay.Expr) -> PoolFacts:
    """The pool as steps on a value see it that any element may come from.

    Along every axis an operand has to be constant.
    """
    shape = read_shape(value.checked_type)
    axes = tuple(range(len(shape)))
    return replace(pool, shape=shape, window_axes=axes, channel_axis=-1)


def _keeps_planes(move: relay.Call, pool: PoolFacts) -> bool:
    """True for a slice that leaves out rows and columns alone, in their order."""
    if op_name(move) != _SLICE or any(int(stride) < 0 for stride in move.attrs.strides or ()):
        return False
    before, after = (read_shape(e.checked_type) for e in (move.args[0], move))
    kept = (axis for axis in range(len(after)) if axis not in pool.window_axes)
    return all(before[axis] == after[axis] for axis in kept)
