"""The moved steps at the ends of each window that they need.

Identity
    That of ``core/ends.py``: maxpool(f(x)) is f(maxpool(x)) where f rises, f(s * maxpool(s * x))
    with a sign s for each channel where f rises or falls, and the larger of f(maxpool(x)) and
    f(-maxpool(-x)) where f is a valley.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    signs = plan.ends.signs
    if plan.folds_signs:
        data = fold_signs(data, steps[-1].source, signs, mark_span(data.span, rule))
    elif signs:
        data = _turn(plan, match, pool, data, rule)
    pooled = rebuild_pool(pool, match, plan.moved, data, rule)
    value = _turn(plan, match, pool, pooled, rule) if signs else pooled
    return rebuild_steps(steps, roots, value, rule), (pooled,)


def _pool_both_ends(plan, match, pool, steps: Sequence[Step], roots, data, rule):
    largest = rebuild_pool(pool, match, plan.moved, data, rule)
    turned = _turn(plan, match, pool, data, rule)
    smallest = rebuild_pool(pool, match, plan.moved, turned, rule)
    ends = (largest, _turn(plan, match, pool, smallest, rule))
    values = [rebuild_steps(steps, roots, end, rule, end is not ends[0]) for end in ends]
    return mark_call(relay.maximum(*values), pool.span, rule), (largest, smallest)


def _turn(plan, match, pool, data, rule):
    signs, dtype = plan.ends.signs or (-1,), match.chain.base_dtypes[plan.moved]
    turned = apply_signs(data, signs, match.pool.plane_shape, dtype)
    return mark_call(turned, pool.span, rule)
