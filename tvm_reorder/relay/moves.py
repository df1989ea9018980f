"""Operators that only move values about: layout_transform, reshape, transpose and their like.

Identity
    move(f(x)) = f(move(x))   for f the same on every element, so
    maxpool(move(f(x))) = f(maxpool(move(x))), whatever the windows see.

Side conditions
    * f has no operand but single numbers: a constant per channel would have to move along.
    * The operator writes nothing of its own, such as zeros that fill up a block of channels.
    * A product above the operator and a sum below it stay apart: TVM may make one kernel of them,
      with one rounding, or two.

The moves stay where they are, between the chain's input and the pool.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tvm import relay

from .facts import PoolFacts, read_shape
from .sites import op_name

MOVES = frozenset(
    [
        *("reshape", "squeeze", "expand_dims", "transpose", "layout_transform", "reverse"),
        *("nn.space_to_depth", "nn.depth_to_space"),
    ]
)


def is_move(expr: relay.Expr) -> bool:
    """True for an operator whose values are those of its only operand, each of them once."""
    if op_name(expr) not in MOVES or len(expr.args) != 1:
        return False
    before, after = (read_shape(e.checked_type) for e in (expr.args[0], expr))
    return None not in (*before, *after) and prod(before) == prod(after)


def read_moves(top: relay.Expr) -> tuple[tuple[relay.Call, ...], relay.Expr]:
    """The moves from `top` upwards, and the value that they move."""
    moves = []
    while is_move(top):
        moves.append(top)
        top = top.args[0]
    return tuple(moves), top


def as_uniform(pool: PoolFacts, value: relay.Expr) -> PoolFacts:
    """The pool as steps on `value`, behind which it is moved, have to see it.

    Along every axis an operand has to be constant.
    """
    shape = read_shape(value.checked_type)
    axes = tuple(range(len(shape)))
    return replace(pool, shape=shape, window_axes=axes, channel_axis=-1)
