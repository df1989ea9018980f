"""What a rule is, and the rebuilding that rules share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tvm import relay
from tvm.ir import SequentialSpan, SourceName, Span

from ...core.chain import Chain
from ...core.checks import Plan
from ...core.config import ReorderConfig
from ...core.refusal import Refusal
from ..facts import PoolFacts, lowest_constant, read_dtype
from ..guards import guard, is_merged
from ..moves import MOVES, needs_gap
from ..reductions import rebuild_pool_call
from ..scene import Scene
from ..sites import FunctionGraph, op_name
from ..steps import Step, find_moves, follow, needs_axes


@dataclass(frozen=True)
class Match:
    """A pool as a rule reads it: the facts to decide on and the steps to move.

    Parameters
    ----------
    chain : Chain
        The facts.
    steps : sequence of Step
        The same steps in Relay, from the pool upwards.
    pool : PoolFacts
        The pool.
    apart : bool
        True if each operator becomes a kernel of its own.
    """

    chain: Chain
    steps: Sequence[Step]
    pool: PoolFacts
    apart: bool = False


class Rewritten(NamedTuple):
    """The exchanged expression, and the pools inside it: the site's own first."""

    value: relay.Expr
    pools: tuple[relay.Call, ...]


class Rule(Protocol):
    """Three named steps: read (facts), check (pure), rewrite (no decisions left)."""

    name: str
    needs: frozenset[str]  # operators without which the rule cannot apply; saves reading the pools

    def read(self, graph: FunctionGraph, pool: relay.Call, scene: Scene) -> Match | None:
        """Facts of one pool, or None if the rule does not apply to it."""

    def check(self, chain: Chain, config: ReorderConfig) -> Plan | Refusal:
        """Decide."""

    def rewrite(self, plan: Plan, match: Match, pool: relay.Call) -> Rewritten:
        """Build the exchanged expression from `pool`, whose inputs are rewritten already."""


def mark_span(span: Span | None, rule: str) -> Span:
    """The span a rewritten call keeps, with the rule's name behind the source's.

    TVM has SequentialSpan for this, but its text printer crashes on one.
    """
    mark = f"tvm_reorder.{rule}"
    if span is None:
        return Span(SourceName(mark), 0, 0, 0, 0)
    span = span.spans[0] if isinstance(span, SequentialSpan) else span
    source = span.source_name.name
    marked = source if mark in source else f"{source} {mark}".strip()
    return Span(SourceName(marked), span.line, span.end_line, span.column, span.end_column)


def mark_call(call: relay.Call, span: Span | None, rule: str) -> relay.Call:
    """A new call with a span that names what it stands for and the rule."""
    return relay.Call(call.op, call.args, call.attrs, [], mark_span(span, rule))


def rebuild_moves(match: Match, moved: int, data: relay.Expr, rule: str) -> relay.Expr:
    """The value below the `moved` steps, through what only moved values between these."""
    if not find_moves(match.steps[:moved]):
        return data
    for step in reversed(match.steps[:moved]):
        if step.moves and op_name(data) in MOVES:
            is_wrong = needs_gap(step.moves[-1], data)
            data = relay.annotation.stop_fusion(data) if is_wrong else guard(data, match.apart)
        for move in reversed(step.moves):
            again = relay.Call(move.op, [data, *move.args[1:]], move.attrs)
            data = mark_call(again, move.span, rule)
    return data


def rebuild_pool(
    pool: relay.Call, match: Match, moved: int, data: relay.Expr, rule: str
) -> relay.Call:
    """The same pool, and its explicit padding, over what `moved` steps have left."""
    if match.pool.pad is not None:
        pad = pool.args[0]
        value = _pad_value(match, moved, pad.args[1])
        data = mark_call(relay.Call(pad.op, [data, value], pad.attrs), pad.span, rule)
    keeps_axes = any(map(needs_axes, match.steps[:moved]))
    return mark_call(
        rebuild_pool_call(pool, data, match.pool.window_axes, keeps_axes), pool.span, rule
    )


def _pad_value(match: Match, moved: int, before: relay.Expr) -> relay.Expr:
    """What pads below the `moved` steps, where `before` padded behind them."""
    dtype = match.chain.base_dtypes[moved]
    if match.pool.pad_value is not None:
        return relay.const(match.chain.find_padding(moved), dtype)
    return before if dtype == match.pool.dtype else lowest_constant(dtype)


def find_roots(steps: Sequence[Step], top: relay.Expr) -> list[relay.Expr]:
    """Counterparts of each step's root, and of the last step's source, below a rewritten `top`."""
    roots = [top]
    for step in steps:
        roots.append(follow(roots[-1], step.path))
    return roots


def rebuild_steps(
    steps: Sequence[Step],
    roots: Sequence[relay.Expr],
    data: relay.Expr,
    rule: str,
    apart: bool = False,
    copies_scalars: bool = False,
) -> relay.Expr:
    """The steps once more, over other data, guarded where a move has stood between two of them.

    FuseOps writes a scalar constant into the one kernel that uses it, where a division by it
    becomes a product and a power a square; for two kernels it becomes an operand.  So steps that
    are built twice need scalars of their own the second time (`copies_scalars`).
    """
    for number, (step, root) in reversed(list(enumerate(zip(steps, roots)))):
        data = _rebuild_step(step, root, data, rule, copies_scalars)
        if number and step.moves and is_merged(step):
            data = guard(data, apart)
    return data


def clamp(value: relay.Expr, dtype: str, pool: relay.Call, rule: str) -> relay.Call:
    """max(value, lowest finite value): where the pool's own maximum would have started."""
    return mark_call(relay.maximum(value, lowest_constant(dtype)), pool.span, rule)


def _rebuild_step(
    step: Step, root: relay.Expr, data: relay.Expr, rule: str, copies_scalars: bool
) -> relay.Expr:
    before, now = step.result, follow(root, (0,) * len(step.moves))
    rebuilt = {step.source: data}

    def clone(before: relay.Expr, now: relay.Expr) -> relay.Expr:
        if before in rebuilt:
            return rebuilt[before]
        if before in step.replace:
            return step.replace[before]
        if copies_scalars and isinstance(before, relay.Constant):
            rebuilt[before] = relay.const(before.data, read_dtype(before))
            return rebuilt[before]
        if before in step.rebuilds:
            path, build = step.rebuilds[before]
            pair = follow(before, path), follow(now, path)
            rebuilt[before] = build(clone(*pair), mark_span(now.span, rule))
            return rebuilt[before]
        if before not in step.region:
            return now
        arguments = [clone(b, n) for b, n in zip(before.args, now.args)]
        call = relay.Call(now.op, arguments, now.attrs, [], mark_span(now.span, rule))
        rebuilt[before] = call
        return call

    return clone(before, now)
