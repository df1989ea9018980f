"""Runs one rule over one function: judge every pool, then rewrite in a single sweep.

TVM's pattern rewriter calls back for every match, again in every sweep, and drops matches whose
inner nodes are shared.  So nothing is decided or counted in the callback: the decisions are made
before, on the enumerated pools, and the callback only looks its pool up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tvm import relay
from tvm.relay.dataflow_pattern import DFPatternCallback, rewrite

from ..core.checks import Plan
from ..core.config import ReorderConfig
from ..core.decision import Action, Decision
from ..core.refusal import Refusal
from ..core.workload import SiteWorkload
from .context import Surroundings
from .facts import read_pool
from .guards import guard, needs_guard
from .pairs import PairReader, read_behind
from .patterns import make_max_pool_pattern
from .reductions import restore_shape
from .rules import Match, Rule
from .rules.rule import mark_span
from .scene import Scene
from .sites import FunctionGraph
from .steps import Step, needs_axes
from .zeros import find_sign_readers


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
    workload : SiteWorkload or None
        The site, if there is a plan.
    decision : Decision or None
        Whether the plan is carried out.
    """

    outcome: Plan | Refusal | None
    match: Match | None
    window: str
    workload: SiteWorkload | None = None
    decision: Decision | None = None

    @property
    def is_written(self) -> bool:
        """True if there is a plan and nothing speaks against carrying it out."""
        is_kept = self.decision is not None and self.decision.action is Action.KEEP
        return isinstance(self.outcome, Plan) and not is_kept

    @property
    def moved(self) -> Sequence[Step]:
        """The steps that the plan moves, from the pool upwards."""
        return self.match.steps[: self.outcome.moved]


class Judge:
    """Reads and checks the pools of one function.

    Parameters
    ----------
    graph : FunctionGraph
        The typed function.
    around : Surroundings
        What the decisions depend on besides.
    """

    def __init__(self, graph: FunctionGraph, around: Surroundings):
        self._graph = graph
        self._around = around
        self._pairs = PairReader(around.kernels, read_behind(graph, around.kernels))
        self._readers = find_sign_readers(graph, around.others_divide)
        self._parameters = frozenset(graph.function.params)

    def judge(self, rule: Rule, pool: relay.Call, config: ReorderConfig) -> Verdict:
        """What a rule makes of one pool."""
        around, facts = self._around, read_pool(pool, self._graph)
        scene = Scene(
            facts,
            around.target,
            around.certified,
            self._pairs,
            self._readers.get(pool),
            self._parameters,
        )
        match, window = rule.read(self._graph, pool, scene), str(facts.window)
        if match is None:
            return Verdict(None, None, window)
        chain = replace(
            match.chain, obstacle=around.obstacle, links_constants=around.links_constants
        )
        return Verdict(rule.check(chain, config), match, window)


def apply(
    graph: FunctionGraph,
    rule: Rule,
    numbers: Sequence[int | None],
    written: Mapping[int, Verdict],
    in_build: bool,
) -> tuple[relay.Function, list[int | None]]:
    """Make the planned exchanges.

    Parameters
    ----------
    graph : FunctionGraph
        The function.
    rule : Rule
        Whose plans they are.
    numbers : sequence of int or None
        The site of each max pool, in order of execution.
    written : mapping of int to Verdict
        The plans to carry out, by site.
    in_build : bool
        True at the pass's place in `relay.build`; see ``guards.py``.

    Returns
    -------
    function : relay.Function
        The function, untyped where it is new.
    numbers : list of int or None
        The site of each of its max pools, in order of execution: a pool that an activation stood
        above may come later or earlier now.  None for the second pool of a site that needs both
        ends of its windows.
    """
    sites = dict(zip(graph.max_pools, numbers))
    guarded = {
        pool
        for pool, number in sites.items()
        if number in written and needs_guard(graph, pool, written[number].moved, in_build)
    }
    exchange = _Exchange(rule, sites, written, guarded)
    function = rewrite(exchange, graph.function)
    pools = FunctionGraph(function).max_pools  # untyped: a `max` over any axes is among them
    return function, [exchange.numbers[pool] for pool in pools if pool in exchange.numbers]


class _Exchange(DFPatternCallback):
    """Adapter from a rule and its plans to TVM's rewriter."""

    def __init__(
        self,
        rule: Rule,
        sites: Mapping[relay.Call, int | None],
        written: Mapping[int, Verdict],
        guarded: set[relay.Call],
    ):
        super().__init__(require_type=False, rewrite_once=True)
        self.pattern = make_max_pool_pattern()
        self.numbers: dict[relay.Call, int | None] = {}
        self._rule = rule
        self._sites = sites
        self._written = written
        self._guarded = guarded

    def callback(self, pre, post, node_map):
        if pre not in self._sites:
            return post  # in a nested function that is not ours
        number = self._sites[pre]
        verdict = self._written.get(number)
        if verdict is None:
            self.numbers[post] = number
            return post
        value, (own, *others) = self._rule.rewrite(verdict.outcome, verdict.match, post)
        self.numbers[own] = number
        self.numbers.update(dict.fromkeys(others))
        if any(map(needs_axes, verdict.moved)):
            value = restore_shape(value, pre, mark_span(post.span, self._rule.name))
        return guard(value, verdict.match.apart) if pre in self._guarded else value
