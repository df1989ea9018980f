"""Operators that only move or select values: reshape, transpose, strided_slice and their like.

Identity
    A move m puts the value of position p(i) at position i, for a map p that depends on shapes and
    attributes alone: m(x)[i] = x[p(i)].  For f applied value by value with an operand c, broadcast
    to the shape of x,

        m(f(x, c)) = f(m(x), m(c)),   because both are f(x[p(i)], c[p(i)]) at position i, hence
        maxpool(m(f(x, c))) = maxpool(f(m(x), m(c))) = f(maxpool(m(x)), c')

    for f non-decreasing in x, if m(c) is the same all over each window; c' is m(c) with one element
    along the window axes.  Any number of moves is one: m_1(m_2(c)).  The map p need be neither
    one-to-one nor onto: a slice leaves values out.

Side conditions
    * c is a constant, so that m(c) can be computed and looked at; a single number is m(c) itself.
    * Whether m(c) varies inside a window is asked of its values behind the moves, never of the axes
      above them: a reshape may merge channels into a window axis.
    * How an operator moves values is known here (`_CARRIERS`).  Below one of the others an operand
      has to be a single number.
    * The operator writes nothing of its own, such as zeros that fill up a block of channels.
    * It gives no more values than it takes.  What repeats them (upsampling, tile, repeat,
      broadcast_to) commutes with f just as well, but above it f runs on fewer values already.
    * Whatever it takes besides the values is constant: `take` by constant indices.
    * A product above the operator and a sum below it stay apart: TVM may make one kernel of them,
      with one rounding, or two.

The moves stay between the chain's input and the pool.  Those that undo one another go, unless the
layout shows in which AlterOpLayout hands on what the pool yields (``layouts.py``).  Between two
that a step stood between there is a guard then, or SimplifyExpr would take them away.  ``split`` is
none of them: the value that it takes is used as often as it has parts that anyone wants.

Sources: ``src/tir/ir/data_layout.cc`` for `_carry_layout`; for `needs_gap` ``SimplifyTranspose`` in
``src/relay/transforms/simplify_expr.cc``, which takes a transposition next to a layout_transform
that changes the rank for one on its other side, and fails or permutes the wrong axes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
from tvm import relay

from .facts import PoolFacts, read_constant, read_shape
from .sites import op_name

Moves = tuple[relay.Call, ...]  # from the pool upwards
_SIMPLIFIED = frozenset(["transpose", "layout_transform"])


def is_move(expr: relay.Expr) -> bool:
    """True for an operator all of whose values are its first operand's, and no more than those."""
    if op_name(expr) not in MOVES or any(read_constant(other) is None for other in expr.args[1:]):
        return False
    before, after = (read_shape(e.checked_type) for e in (expr.args[0], expr))
    return None not in (*before, *after) and prod(before) >= prod(after)


def is_flat_prelu(root: relay.Expr) -> bool:
    """True for the ONNX importer's PRelu, which is a step: reshape(prelu(reshape(x, [-1])))."""
    if op_name(root) != "reshape" or op_name(root.args[0]) != "nn.prelu":
        return False
    flat = root.args[0].args[0]
    if op_name(flat) != "reshape":
        return False
    shape = read_shape(root.checked_type)
    is_same = shape == read_shape(flat.args[0].checked_type) and None not in shape
    return is_same and len(read_shape(flat.checked_type)) == 1


def read_moves(top: relay.Expr) -> tuple[Moves, relay.Expr]:
    """The moves from `top` upwards, and the value that they move."""
    moves = []
    while is_move(top) and not is_flat_prelu(top):
        moves.append(top)
        top = top.args[0]
    return tuple(moves), top


def as_moved(pool: PoolFacts, moves: Moves, value: relay.Expr) -> PoolFacts:
    """The pool as steps on `value`, above these moves, have to see it.

    Every axis is a window axis there, until an operand has been carried down to the pool's own.
    """
    shape = read_shape(value.checked_type)
    return replace(
        pool,
        shape=shape,
        window_axes=tuple(range(len(shape))),
        channel_axis=-1,
        moves=pool.moves + moves,
        below=pool.below or pool,
    )


def carry(values: np.ndarray, moves: Moves) -> np.ndarray | None:
    """The array as these moves leave it; None if one of them is not known well enough.

    Parameters
    ----------
    values : numpy.ndarray
        Of the shape that the last move takes.
    moves : tuple of relay.Call
        The moves, from the pool upwards.
    """
    for move in reversed(moves):
        values = None if values is None else _CARRIERS[op_name(move)](values, move)
    return values


def undo_one_another(moves: Moves) -> bool:
    """True if values that go through all of these moves end where they began."""
    if not moves:
        return True
    shape = read_shape(moves[-1].args[0].checked_type)
    numbers = np.arange(prod(shape), dtype="int32").reshape(shape)
    carried = carry(numbers, moves)
    return carried is not None and np.array_equal(carried, numbers)


def needs_gap(move: relay.Call, value: relay.Expr) -> bool:
    """True if TVM could simplify a move of a value that was not next to it before, and wrongly."""
    pair = (move, value)
    return all(op_name(each) in _SIMPLIFIED for each in pair) and any(map(_changes_rank, pair))


def _changes_rank(move: relay.Call) -> bool:
    is_layout = op_name(move) == "layout_transform"
    return is_layout and len(move.attrs.src_layout) != len(move.attrs.dst_layout)


def _carry_reshape(values: np.ndarray, move: relay.Call) -> np.ndarray:
    return values.reshape(read_shape(move.checked_type))


def _carry_transpose(values: np.ndarray, move: relay.Call) -> np.ndarray:
    axes = move.attrs.axes
    return values.transpose([int(axis) for axis in axes] if axes else None)


def _carry_reverse(values: np.ndarray, move: relay.Call) -> np.ndarray:
    return np.flip(values, int(move.attrs.axis))


def _carry_slice(values: np.ndarray, move: relay.Call) -> np.ndarray | None:
    """TVM cuts off and counts from the end as Python does."""
    attrs = move.attrs
    begin, end = ([int(number) for number in numbers] for numbers in (attrs.begin, attrs.end))
    if str(attrs.slice_mode) != "end":
        return None
    strides = [int(stride) for stride in attrs.strides] + [1] * len(begin)
    axes = [int(axis) for axis in attrs.axes or range(len(begin))]
    slices = [slice(None)] * values.ndim
    for axis, *numbers in zip(axes, begin, end, strides):
        slices[axis] = slice(*numbers)
    return _check(values[tuple(slices)], move)


def _carry_take(values: np.ndarray, move: relay.Call) -> np.ndarray | None:
    attrs, indices = move.attrs, read_constant(move.args[1])
    mode = str(attrs.mode)
    if int(attrs.batch_dims) != 0 or mode == "fast":  # which reads any memory there is
        return None
    axis = None if attrs.axis is None else int(attrs.axis)
    return _check(np.take(values, indices, axis, mode=mode), move)


def _check(values: np.ndarray, move: relay.Call) -> np.ndarray | None:
    """The values, if they have the shape that TVM gives them."""
    return values if values.shape == read_shape(move.checked_type) else None


def _carry_layout(values: np.ndarray, move: relay.Call) -> np.ndarray | None:
    """Through the layout with an axis a letter, which both sides are blocked forms of."""
    before, after = (_read_layout(move.attrs[name]) for name in ("src_layout", "dst_layout"))
    if before is None or after is None:
        return None
    letters = [axis for axis, _ in before if axis.isupper()]
    positions = {axis: n for n, (axis, _) in enumerate(before)}
    order = [positions[a] for letter in letters for a in (letter, letter.lower()) if a in positions]
    extents = dict.fromkeys(letters, 1)
    for (axis, _), extent in zip(before, values.shape):
        extents[axis.upper()] *= extent
    whole = values.transpose(order).reshape([extents[letter] for letter in letters])
    factors = dict(after)
    split: list[tuple[str, int]] = []
    for letter in letters:
        inner = factors.get(letter.lower(), 1)
        split += [(letter, extents[letter] // inner), (letter.lower(), inner)]
    apart = whole.reshape([extent for _, extent in split])
    places = {axis: n for n, (axis, _) in enumerate(split)}
    wanted = [places[axis] for axis, _ in after]
    left = [n for n in range(len(split)) if n not in wanted]  # factors of 1
    return apart.transpose(wanted + left).reshape(read_shape(move.checked_type))


def _read_layout(layout: str) -> list[tuple[str, int]] | None:
    """Axes and factors of a layout such as ``NCHW16c``; None for one that splits an axis twice."""
    axes = [(axis, int(factor or 1)) for factor, axis in re.findall(r"(\d*)([A-Za-z])", layout)]
    names = [axis for axis, _ in axes]
    return axes if len(set(names)) == len(names) else None


def _carry_unknown(values: np.ndarray, move: relay.Call) -> None:
    return None


_CARRIERS: dict[str, Callable[[np.ndarray, relay.Call], np.ndarray | None]] = {
    "reshape": _carry_reshape,
    "squeeze": _carry_reshape,
    "expand_dims": _carry_reshape,
    "transpose": _carry_transpose,
    "reverse": _carry_reverse,
    "strided_slice": _carry_slice,
    "take": _carry_take,
    "layout_transform": _carry_layout,
    "nn.space_to_depth": _carry_unknown,
    "nn.depth_to_space": _carry_unknown,
}
MOVES = frozenset(_CARRIERS)
