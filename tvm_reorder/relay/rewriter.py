"""Runs one rule over one function: read every pool, decide, rewrite in a single sweep.

TVM's pattern rewriter calls back for every match, again in every sweep, and drops matches whose
inner nodes are shared.  So nothing is decided or counted in the callback: the decisions are made
before, on the enumerated pools, and the callback only looks its pool up.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import relay
from tvm.relay.dataflow_pattern import DFPatternCallback, rewrite

from ..core.checks import Plan
from ..core.config import ReorderConfig
from ..core.refusal import Refusal
from .facts import read_pool
from .operators import Scene
from .rules import Match, Rule
from .sites import FunctionGraph


@dataclass(frozen=True)
class Verdict:
    """What a rule decided on one pool.

    Parameters
    ----------
    outcome : Plan, Refusal or None
        None if the rule does not apply to the pool.
    match : Match or None
        What the decision rests on.
    window : str
        The pool's geometry.
    """

    outcome: Plan | Refusal | None
    match: Match | None
    window: str


def decide(
    graph: FunctionGraph, rule: Rule, config: ReorderConfig, target: str, fast_math: bool
) -> list[Verdict]:
    """One verdict for each max pool, in order of execution."""
    return [_decide_pool(graph, rule, config, pool, target, fast_math) for pool in graph.max_pools]


def apply(graph: FunctionGraph, rule: Rule, verdicts: list[Verdict]) -> relay.Function:
    """The function with the planned exchanges made; the same object if there are none."""
    plans = {
        pool: verdict
        for pool, verdict in zip(graph.max_pools, verdicts)
        if isinstance(verdict.outcome, Plan)
    }
    return rewrite(_Exchange(rule, plans), graph.function) if plans else graph.function


def _decide_pool(graph, rule, config, pool, target, fast_math) -> Verdict:
    facts = read_pool(pool, graph)
    match = rule.read(graph, pool, Scene(facts, target, fast_math))
    outcome = None if match is None else rule.check(match.chain, config)
    return Verdict(outcome, match, str(facts.window))


class _Exchange(DFPatternCallback):
    """Adapter from a rule and its plans to TVM's rewriter."""

    def __init__(self, rule: Rule, plans: dict[relay.Call, Verdict]):
        super().__init__(require_type=False, rewrite_once=True)
        self.pattern = rule.pattern()
        self._rule = rule
        self._plans = plans

    def callback(self, pre, post, node_map):
        verdict = self._plans.get(pre)
        if verdict is None:
            return post
        return self._rule.rewrite(verdict.outcome, verdict.match, post)
