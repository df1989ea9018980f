"""The operand of a two-argument operator, which must not vary inside the window.

A full-size constant that happens not to is shrunk, because it has to broadcast over the pooled
tensor.  Above operators that only move values a constant is moved along first (``moves.py``), and
anything else has to be a single number.  A constant is finite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from tvm import relay

from ..core.refusal import Reason, Refusal, non_finite, unknown_sign, varies
from .facts import PoolFacts, read_constant, read_dtype, read_shape
from .moves import carry
from .scene import Scene, is_full_size
from .sites import op_name

T = TypeVar("T")
_SHAPING = frozenset(
    ["broadcast_to", "broadcast_to_like", "cast", "expand_dims", "reshape", "squeeze"]
)


@dataclass(frozen=True)
class Operand:
    """The other argument of a two-argument operator.

    Parameters
    ----------
    values : numpy.ndarray or None
        Its value, broadcasting over the tensor, or None if unknown at compile time.
    replacement : relay.Expr or None
        A smaller constant to use after the pool, if this one has the full spatial size.
    """

    values: np.ndarray | None
    replacement: relay.Expr | None = None


def read_operand(expr: relay.Expr, scene: Scene, name: str) -> Operand | Refusal:
    """The operand of the operator `name` that is not the data."""
    pool, subject = scene.pool, f"the other operand of {name}"
    if len(read_shape(expr.checked_type)) > len(pool.shape):
        return varies(subject)
    values = read_constant(expr)
    refusal = finite_or(values, subject)
    if refusal:
        return refusal
    is_plain = not is_full_size(expr, pool) if pool.below is None else _is_number(expr, pool.below)
    if is_plain:
        return Operand(_unbounded(values))
    if values is None:
        return varies(subject) if is_full_size(expr, pool) else unknown_above(subject, pool)
    shrunk = shrink(values, pool)
    if shrunk is None:
        return varies(subject)
    return Operand(_unbounded(shrunk), relay.const(shrunk, read_dtype(expr)))


def explain_unknown(outcome: T, call: relay.Call, scene: Scene) -> T:
    """The refusal of an unknown operand of a call, with what it is; any other outcome as it is."""
    if not isinstance(outcome, Refusal) or outcome.reason is not Reason.UNKNOWN_SIGN:
        return outcome
    varying = [argument for argument in call.args if is_full_size(argument, scene.pool)]
    data = (varying or call.args)[0]
    for operand in call.args:
        if operand.same_as(data) or read_constant(operand) is not None:
            continue
        source = find_source(operand)
        if isinstance(source, relay.Var) and source in scene.parameters:
            variable = f"the variable {source.name_hint!r}"
            return replace(outcome, actual=variable, lift="bind it, if it is a parameter")
        if isinstance(source, relay.Constant):
            return replace(outcome, actual=f"of {read_dtype(operand)}, which is not read here")
    return outcome


def find_source(operand: relay.Expr) -> relay.Expr:
    """What an operand is without what only shapes or casts it."""
    while op_name(operand) in _SHAPING:
        operand = operand.args[0]
    return operand


def unknown_above(subject: str, pool: PoolFacts) -> Refusal:
    """The refusal of an operand of a step that it would take a constant to move along."""
    return unknown_sign(f"{subject} above {op_name(pool.moves[-1])}")


def _is_number(expr: relay.Expr, pool: PoolFacts) -> bool:
    """True for a single number that adds no axis to what the pool reads."""
    shape = read_shape(expr.checked_type)
    return len(shape) <= len(pool.shape) and all(extent == 1 for extent in shape)


def _unbounded(values: np.ndarray | None) -> np.ndarray | None:
    """Integers as Python integers, so that evaluating an interval's end cannot wrap."""
    if values is None or values.dtype.kind not in "iu":
        return values
    return values.astype(object)


def spread(values: np.ndarray, pool: PoolFacts) -> np.ndarray | None:
    """One value per (batch, channel) pair of what the pool reads, in its order.

    An open extent counts as 1; None if the values vary along it.
    """
    try:
        return np.broadcast_to(values, (pool.below or pool).plane_shape).ravel()
    except ValueError:
        return None


def shrink(values: np.ndarray, pool: PoolFacts) -> np.ndarray | None:
    """The array with one element along each window axis, None if it varies along one.

    Above moves it is moved along first.
    """
    if pool.below is not None:
        if values.size == 1:
            return values.reshape((1,) * min(values.ndim, len(pool.below.shape)))
        carried = carry(np.broadcast_to(values, pool.shape), pool.moves)
        return None if carried is None else shrink(carried, pool.below)
    offset = len(pool.shape) - values.ndim
    for axis in pool.window_axes:
        if axis < offset:
            continue
        first = np.take(values, [0], axis=axis - offset)
        if not np.array_equal(values, np.broadcast_to(first, values.shape)):
            return None
        values = first
    return np.ascontiguousarray(values)


def place(values: np.ndarray, axis: int, pool: PoolFacts) -> np.ndarray | None:
    """Values along one axis of a tensor, shrunk; None if they vary inside the window."""
    shape = [1] * len(pool.shape)
    shape[axis] = -1
    return shrink(values.reshape(shape), pool)


def finite_or(values: np.ndarray | None, subject: str) -> Refusal | None:
    """Set if a known value is not finite."""
    if values is None or np.isfinite(values.astype(np.float64)).all():
        return None
    return non_finite(subject)
