"""The moved steps at the ends of each window that they need.

Identity
    That of ``core/ends.py``: maxpool(f(x)) is f(maxpool(x)) where f rises, f(s * maxpool(s * x))
    with a sign s for each channel where f rises or falls, and the larger of f(maxpool(x)) and
    f(-maxpool(-x)) where f is a valley.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import relay

from ...core.checks import Plan
from ..signs import apply_signs, fold_signs
from .rule import (
    Match,
    Rewritten,
    Step,
    clamp,
    mark_call,
    mark_span,
    rebuild_moves,
    rebuild_pool,
    rebuild_steps,
)


def exchange_at_ends(
    plan: Plan,
    match: Match,
    pool: relay.Call,
    roots: Sequence[relay.Expr],
    data: relay.Expr,
    rule: str,
) -> Rewritten:
    """The pool over `data`, the moved steps behind it.

    Parameters
    ----------
    plan : Plan
        The decided exchange.
    match : Match
        What it was decided on.
    pool : relay.Call
        The pool, its inputs rewritten already.
    roots : sequence of relay.Expr
        Counterparts of the moved steps' roots below `pool`, as ``find_roots`` gives them.
    data : relay.Expr
        What the pool shall read.
    rule : str
        The rule's name, for the spans.
    """
    steps = match.steps[: plan.moved]
    make = _pool_both_ends if plan.ends.is_both else _pool_one_end
    value, pools = make(plan, match, pool, steps, roots, data, rule)
    if plan.clamps:
        value = clamp(value, match.pool.dtype, pool, rule)
    return Rewritten(value, pools)


def _pool_one_end(plan, match, pool, steps: Sequence[Step], roots, data, rule):
    turn = before = _make_turn(plan, match, pool, rule)
    if plan.folds_signs:
        before, span = _leave, mark_span(data.span, rule)
        data = fold_signs(data, steps[-1].source, plan.ends.signs, span)
    data = before(rebuild_moves(match, plan.moved, data, rule))
    pooled = rebuild_pool(pool, match, plan.moved, data, rule)
    return rebuild_steps(steps, roots, turn(pooled), rule, match.apart), (pooled,)


def _pool_both_ends(plan, match, pool, steps: Sequence[Step], roots, data, rule):
    turn = _make_turn(plan, match, pool, rule)
    data = rebuild_moves(match, plan.moved, data, rule)
    largest = rebuild_pool(pool, match, plan.moved, data, rule)
    smallest = rebuild_pool(pool, match, plan.moved, turn(data), rule)
    ends = (largest, turn(smallest))
    values = [
        rebuild_steps(steps, roots, end, rule, match.apart, copies_scalars=end is not ends[0])
        for end in ends
    ]
    return mark_call(relay.maximum(*values), pool.span, rule), (largest, smallest)


def _leave(data: relay.Expr) -> relay.Expr:
    return data


def _make_turn(plan, match, pool, rule) -> Callable[[relay.Expr], relay.Expr]:
    """What turns the order of values around where the minimum is wanted, and back."""
    if plan.ends.is_maximum:
        return _leave
    signs, dtype = plan.ends.signs or (-1,), match.chain.base_dtypes[plan.moved]
    shape = match.pool.plane_shape
    return lambda data: mark_call(apply_signs(data, signs, shape, dtype), pool.span, rule)
