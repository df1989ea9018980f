"""All rules on one function, until nothing moves any more.

Why again and again
    An activation that has gone past one pool may stand above the next: conv, f, pool, pool becomes
    conv, pool, f, pool, and in the next round conv, pool, pool, f.  A round is one pass of every
    rule over every pool; the last one changes nothing, so a second run of the pass has nothing
    left to do.

Why that ends
    Every exchange makes the evaluations of the moved steps fewer (``checks.py``), and none makes
    those of other steps more.

What a site may give up
    A licence for drops counts once a site.  What moved past its pool in an earlier round stands
    below what would move now and may amplify a drop of it, so later rounds take none there.

An error at a site
    ends the attempt; the next one leaves that site alone, from the beginning.  So nothing of what
    was done there stays, and every other site is rewritten.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import tvm
from tvm import relay

from ..core.checks import Plan
from ..core.config import ReorderConfig
from ..core.decision import Action, Decision, is_better
from ..core.refusal import Reason, Refusal, internal_error
from ..core.report import Site, Status
from .context import Surroundings, read_surroundings
from .decisions import SiteDecider, make_decider
from .facts import read_pool
from .fusion import fuse
from .lets import bind_fences, open_graph
from .names import PoolName
from .rewriter import Judge, Verdict, apply
from .rules import Rule
from .sites import FunctionGraph, op_name

logger = logging.getLogger("tvm_reorder")

# Status of a decided site, if the module is left as it is and if it is written.
_STATUS = {
    Action.KEEP: (Status.KEPT, Status.KEPT),
    Action.EXCHANGE: (Status.EXCHANGEABLE, Status.EXCHANGED),
    Action.FUSE: (Status.FUSABLE, Status.FUSED),
}
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class FunctionRewriting:
    """What is to be done to the pools of a function.

    Parameters
    ----------
    config : ReorderConfig
        The options.
    context : tvm.transform.PassContext
        What is being built under.
    rules : sequence of Rule
        The rules, in the order they run.
    in_build, any_target : bool
        As of ``ReorderActivations``.
    names : sequence of PoolName
        The function's max pools, and maybe more behind them.
    left_out : mapping of int to Decision
        Those of its max pools that the options do not select.
    """

    config: ReorderConfig
    context: tvm.transform.PassContext
    rules: Sequence[Rule]
    in_build: bool
    any_target: bool
    names: Sequence[PoolName]
    left_out: Mapping[int, Decision]

    def run(
        self, mod: tvm.IRModule, variable: relay.GlobalVar
    ) -> tuple[tvm.IRModule, list[Site], list[Exception]]:
        """The module with the function rewritten, its pools, and what went wrong at them."""
        graph = open_graph(mod[variable])
        around = read_surroundings(
            mod, variable, self.context, self.config, self.in_build, self.any_target
        )
        decider = make_decider(self.config, self.context, around.target)
        broken: dict[int, Exception] = {}
        while True:
            attempt = _Attempt(self, mod, variable, graph, around, decider, broken)
            try:
                changed, sites = attempt.run()
            except _SiteErrors as found:
                self._log(found.errors)
                broken.update(found.errors)
                continue
            for number, pool in enumerate(graph.average_pools, len(sites)):
                try:
                    sites.append(_describe_average(pool, graph))
                except Exception as error:
                    self._log({number: error})
                    broken[number] = error
                    sites.append(replace(_describe_broken(pool, error), is_max_pool=False))
            return changed, sites, list(broken.values())

    def _log(self, errors: Mapping[int, Exception]) -> None:
        for number, error in errors.items():
            name = self.names[number].own
            logger.warning("%s is left as it is: the pass failed there", name, exc_info=error)


class _SiteErrors(Exception):
    """What went wrong at some sites, by number."""

    def __init__(self, errors: Mapping[int, Exception]):
        super().__init__()
        self.errors = errors


class _Attempt:
    """All rules on a function but for some of its sites."""

    def __init__(
        self,
        task: FunctionRewriting,
        mod: tvm.IRModule,
        variable: relay.GlobalVar,
        graph: FunctionGraph,
        around: Surroundings,
        decider: SiteDecider,
        broken: Mapping[int, Exception],
    ):
        self._task, self._around, self._decider = task, around, decider
        self._mod, self._variable, self._graph = mod, variable, graph
        self._has_lets, self._is_changed = not graph.function.same_as(mod[variable]), False
        self._judge: Judge | None = None  # of the graph as it is
        self._operators = [op_name(pool) for pool in graph.max_pools]
        self._numbers = [None if n in broken else n for n in range(len(graph.max_pools))]
        self._sites: list[Site | None] = [None] * len(self._numbers)
        for number, error in broken.items():
            self._sites[number] = _describe_broken(graph.max_pools[number], error)

    def run(self) -> tuple[tvm.IRModule, list[Site]]:
        """The module and the function's max pools.

        Raises
        ------
        _SiteErrors
            If something went wrong at some of them.
        """
        while any([self._run_rule(rule) for rule in self._task.rules]):
            pass
        if self._around.obstacle is None:
            self._for_each_site(self._decide_bare)
        self._fuse()
        if self._has_lets and self._is_changed:
            self._mod = self._replace(bind_fences(self._mod[self._variable]))
        return self._mod, self._sites

    def _run_rule(self, rule: Rule) -> bool:
        """True if the rule moved something."""
        graph, numbers = self._graph, self._numbers
        if not rule.needs <= graph.operators:
            return False
        if self._judge is None:
            self._judge = Judge(graph, self._around)
        verdicts = self._for_each_site(
            lambda number, pool: self._weigh(number, pool, self._ask(rule, number, pool))
        )
        written = {number: v for number, v in verdicts.items() if v.is_written}
        if written:

            def make(some):
                function, order = apply(graph, rule, numbers, some, self._task.in_build)
                return self._replace(function), order

            self._is_changed = True
            self._mod, self._numbers = _make_for(written, make)
            self._graph, self._judge = FunctionGraph(self._mod[self._variable]), None
        for number, verdict in verdicts.items():
            self._note(number, verdict, rule)
        return bool(written)

    def _ask(self, rule: Rule, number: int, pool: relay.Call) -> Verdict:
        config, site = self._task.config, self._sites[number]
        if site is not None and site.status > Status.KEPT:
            config = replace(config, licence=config.licence.without_drops)
        return self._judge.judge(rule, pool, config)

    def _weigh(self, number: int, pool: relay.Call, verdict: Verdict) -> Verdict:
        """The verdict with the decision on what is exact."""
        plan = verdict.outcome
        if not isinstance(plan, Plan):
            return verdict
        plans = [each for each in (plan, plan.wider) if each]
        found = {p: self._decider.decide(self._graph, pool, verdict.match, p) for p in plans}
        wider = plan.wider
        if wider and is_better(found[wider][1], found[plan][1], wider.folds_signs):
            plan = wider
        workload, decision = found[plan]
        decision = self._task.left_out.get(number) or decision
        return replace(verdict, outcome=plan, workload=workload, decision=decision)

    def _note(self, number: int, verdict: Verdict, rule: Rule) -> None:
        """Keep what a rule says of a site; the later miss is the closer one."""
        found, known = self._describe(number, verdict, rule), self._sites[number]
        if found is not None:
            self._sites[number] = found if known is None else known.merged_with(found)

    def _describe(self, number: int, verdict: Verdict, rule: Rule) -> Site | None:
        outcome = verdict.outcome
        if outcome is None:
            return None
        site = Site(self._operators[number], Status.REFUSED, verdict.window)
        if isinstance(outcome, Refusal):
            links = reversed(verdict.match.chain.links)
            names = tuple(link.map.name for link in links if link.steps)
            return replace(site, chain=names, refusal=outcome)
        return replace(
            site,
            status=_STATUS[verdict.decision.action][self._task.config.write],
            workload=verdict.workload,
            decision=verdict.decision,
            chain=outcome.chain,
            refusal=outcome.note,
            evaluations_before=outcome.evaluations.before,
            evaluations_after=outcome.evaluations.after,
            rule=rule.name,
            ends=outcome.ends,
        )

    def _decide_bare(self, number: int, pool: relay.Call) -> None:
        """Decide on a pool that may stand right behind its convolution."""
        site = self._sites[number]
        if site.status is not Status.REFUSED:
            return
        decided = self._decider.decide_bare(self._graph, pool, read_pool(pool, self._graph))
        if decided is None:
            return
        workload, decision = decided
        status, refusal = Status.REFUSED, site.refusal
        if decision.action is Action.FUSE:
            left_out = self._task.left_out.get(number)
            decision, refusal = left_out or decision, None
            status = _STATUS[decision.action][self._task.config.write]
        self._sites[number] = replace(
            site, status=status, refusal=refusal, workload=workload, decision=decision
        )

    def _fuse(self) -> None:
        chosen = {
            number: pool
            for number, pool in zip(self._numbers, self._graph.max_pools)
            if number is not None and _is_fused(self._sites[number])
        }
        if chosen:
            self._is_changed = True
            self._mod = _make_for(
                chosen, lambda some: self._replace(fuse(self._graph, list(some.values())))
            )

    def _for_each_site(self, function: Callable[[int, relay.Call], _Result]) -> dict[int, _Result]:
        """What a function gives for each site that has not gone wrong."""
        found, errors = {}, {}
        for number, pool in zip(self._numbers, self._graph.max_pools):
            if number is None:
                continue
            try:
                found[number] = function(number, pool)
            except Exception as error:
                errors[number] = error
        if errors:
            raise _SiteErrors(errors)
        return found

    def _replace(self, function: relay.Function) -> tvm.IRModule:
        """The module with the function in its place, typed."""
        functions = dict(self._mod.functions.items())
        functions[self._variable] = function
        mod = tvm.IRModule(functions, self._mod.type_definitions, attrs=self._mod.attrs)
        return relay.transform.InferType()(mod)


def _make_for(
    items: Mapping[int, _Item], make: Callable[[Mapping[int, _Item]], _Result]
) -> _Result:
    """What is made for all items together.

    Raises
    ------
    _SiteErrors
        With the items for which it can't be made, alone or next to those before them.
    """
    try:
        return make(items)
    except Exception as error:
        kept, errors = {}, {}
        for number, item in items.items():
            try:
                make({**kept, number: item})
            except Exception as own:
                errors[number] = own
            else:
                kept[number] = item
        raise _SiteErrors(errors) if errors else error from None


def _is_fused(site: Site) -> bool:
    return site.decision is not None and site.decision.action is Action.FUSE


def _describe_broken(pool: relay.Call, error: Exception) -> Site:
    return Site(op_name(pool), Status.REFUSED, "not read", refusal=internal_error(error))


def _describe_average(pool: relay.Call, graph: FunctionGraph) -> Site:
    refusal = Refusal(Reason.NOT_A_MAX_POOL, "the pool", op_name(pool), "a max pool")
    window = str(read_pool(pool, graph).window)
    return Site(op_name(pool), Status.REFUSED, window, refusal=refusal, is_max_pool=False)
