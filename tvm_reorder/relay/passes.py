"""The registered pass.

Place in the pipeline: after FoldScaleAxis, before AlterOpLayout and FuseOps; ``pipeline.py`` says
why and puts it there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import tvm
from tvm import relay

from ..core.checks import Plan
from ..core.config import ReorderConfig
from ..core.decision import Action, Decision, is_better
from ..core.refusal import Reason, Refusal
from ..core.report import Report, Site, Status
from ..core.selection import leave_out
from .context import read_surroundings
from .decisions import SiteDecider, make_decider
from .facts import read_pool
from .fusion import fuse
from .names import PoolName, is_relay_graph, name_pools
from .rewriter import Verdict, apply, decide
from .rules import DEFAULT_RULES, Rule
from .sites import FunctionGraph, op_name

PASS_NAME = "tvm_reorder.ReorderActivations"


@dataclass(frozen=True)
class ReorderActivations:
    """Moves activations past the max pools that follow them.

    Parameters
    ----------
    config : ReorderConfig
        The options.
    report : Report
        Receives one run per module.
    rules : tuple of Rule
        The rules, in the order they run.
    source_names : callable
        Gives the names that the module's pools had before other passes took them away.
    in_build : bool
        True at the pass's place in `relay.build`, behind FoldScaleAxis and SimplifyExpr; see
        ``guards.py``.
    """

    config: ReorderConfig = ReorderConfig()
    report: Report = field(default_factory=Report)
    rules: tuple[Rule, ...] = DEFAULT_RULES
    source_names: Callable[[], Sequence[PoolName]] = tuple
    in_build: bool = False

    def as_pass(self) -> tvm.transform.Pass:
        """The pass for a ``tvm.transform.Sequential``.

        It requires InferType; run SimplifyInference and FoldScaleAxis before it, so that batch
        norm does not stand between the convolution and the pool, and SimplifyExpr, so that all
        neighbours that TVM merges are merged by then.
        """
        return tvm.transform.module_pass(
            lambda mod, context: self.transform(mod, context),
            opt_level=self.config.opt_level,
            name=PASS_NAME,
            required=["InferType"],
        )

    def transform(
        self, mod: tvm.IRModule, context: tvm.transform.PassContext | None = None
    ) -> tvm.IRModule:
        """The module with every possible exchange made; `mod` itself stays as it is.

        Parameters
        ----------
        mod : tvm.IRModule
            Typed Relay functions; other functions are left alone.
        context : tvm.transform.PassContext, optional
            Tells whether FastMath will run; the current one by default.
        """
        context = context or tvm.transform.PassContext.current()
        sites: list[Site] = []
        changed = mod
        names = name_pools(mod, self.source_names())
        left_out = self._leave_out(names)
        for variable, function in mod.functions.items():
            if not is_relay_graph(function):
                continue
            here = {n - len(sites): decision for n, decision in left_out.items()}
            changed, found = self._transform_function(changed, variable, context, here)
            sites.extend(found)
        self.report.add(replace(site, name=name.own) for site, name in zip(sites, names))
        return changed if self.config.write else mod

    def _leave_out(self, names: list[PoolName]) -> dict[int, Decision]:
        """The pools that the options do not select, by position in `names`."""
        pools = [n for n, name in enumerate(names) if name.is_max_pool]
        if not pools:
            return {}
        known = [(names[n].own, names[n].build) for n in pools]
        found = leave_out(known, self.config.only, self.config.skip)
        return {pools[k]: decision for k, decision in found.items()}

    def _transform_function(self, mod, variable, context, left_out):
        graph = FunctionGraph(mod[variable])
        others = [_describe_average(pool, graph) for pool in graph.average_pools]
        around = read_surroundings(mod, variable, context, self.config, self.in_build)
        sites: list[Site | None] = [None] * len(graph.max_pools)
        numbers = list(range(len(sites)))
        decider = make_decider(self.config, context, around.target)
        for rule in self.rules:
            if not rule.needs <= graph.operators:
                continue
            if not graph.function.same_as(mod[variable]):
                graph = FunctionGraph(mod[variable])
            verdicts = [
                _NO_SITE
                if number is None
                else _weigh(graph, pool, verdict, decider, left_out.get(number))
                for number, pool, verdict in zip(
                    numbers, graph.max_pools, decide(graph, rule, self.config, around)
                )
            ]
            for number, pool, verdict in zip(numbers, graph.max_pools, verdicts):
                if number is not None:
                    found = _describe(pool, verdict, rule, self.config)
                    sites[number] = _merge(sites[number], found)
            after, order = apply(graph, rule, verdicts, around.kernels, self.in_build)
            if not after.same_as(graph.function):
                numbers = [None if k is None else numbers[k] for k in order]
                mod = _replace(mod, variable, after)
        if not graph.function.same_as(mod[variable]):
            graph = FunctionGraph(mod[variable])
        if around.obstacle is None:
            sites = self._decide_bare(graph, numbers, sites, decider, left_out)
        pools = zip(numbers, graph.max_pools)
        chosen = [pool for n, pool in pools if n is not None and _is_fused(sites[n])]
        after = fuse(graph, chosen)
        if not after.same_as(graph.function):
            mod = _replace(mod, variable, after)
        return mod, sites + others

    def _decide_bare(self, graph, numbers, sites, decider, left_out) -> list[Site]:
        """The sites, those included at which a pool stands right behind its convolution."""
        sites = list(sites)
        for number, pool in zip(numbers, graph.max_pools):
            if number is None or sites[number].status is not Status.REFUSED:
                continue
            decided = decider.decide_bare(graph, pool, read_pool(pool, graph))
            if decided is None:
                continue
            workload, decision = decided
            is_fused = decision.action is Action.FUSE
            if is_fused and number in left_out:
                left = {"refusal": None, "workload": workload, "decision": left_out[number]}
                sites[number] = replace(sites[number], status=Status.KEPT, **left)
                continue
            fused = Status.FUSED if self.config.write else Status.FUSABLE
            sites[number] = replace(
                sites[number],
                status=fused if is_fused else Status.REFUSED,
                refusal=None if is_fused else sites[number].refusal,
                workload=workload,
                decision=decision,
            )
        return sites


# The second pool of a site that needs both ends of its windows: the site has been decided.
_NO_SITE = Verdict(None, None, "")

# Status of a decided site, if the module is left as it is and if it is written.
_STATUS = {
    Action.KEEP: (Status.KEPT, Status.KEPT),
    Action.EXCHANGE: (Status.EXCHANGEABLE, Status.EXCHANGED),
    Action.FUSE: (Status.FUSABLE, Status.FUSED),
}


def _replace(mod, variable, after) -> tvm.IRModule:
    functions = dict(mod.functions.items())
    functions[variable] = after
    changed = tvm.IRModule(functions, mod.type_definitions, attrs=mod.attrs)
    return relay.transform.InferType()(changed)


def _weigh(graph, pool, verdict: Verdict, decider: SiteDecider, left_out) -> Verdict:
    """The verdict with the decision on what is exact; `left_out` is that on a site not selected."""
    plan = verdict.outcome
    if not isinstance(plan, Plan):
        return verdict
    found = {p: decider.decide(graph, pool, verdict.match, p) for p in (plan, plan.wider) if p}
    wider = plan.wider
    if wider and is_better(found[wider][1], found[plan][1], wider.folds_signs):
        plan = wider
    workload, decision = found[plan]
    return replace(verdict, outcome=plan, workload=workload, decision=left_out or decision)


def _is_fused(site: Site) -> bool:
    return site.decision is not None and site.decision.action is Action.FUSE


def _describe(pool, verdict: Verdict, rule: Rule, config: ReorderConfig) -> Site | None:
    outcome = verdict.outcome
    if outcome is None:
        return None
    site = Site(op_name(pool), Status.REFUSED, verdict.window)
    if isinstance(outcome, Refusal):
        links = verdict.match.chain.links
        return replace(
            site, chain=tuple(link.map.name for link in reversed(links)), refusal=outcome
        )
    return replace(
        site,
        status=_STATUS[verdict.decision.action][config.write],
        workload=verdict.workload,
        decision=verdict.decision,
        chain=outcome.chain,
        refusal=outcome.note,
        evaluations_before=outcome.evaluations.before,
        evaluations_after=outcome.evaluations.after,
        rule=rule.name,
        ends=outcome.ends,
    )


def _describe_average(pool, graph) -> Site:
    refusal = Refusal(Reason.NOT_A_MAX_POOL, "the pool", op_name(pool), "a max pool")
    window = str(read_pool(pool, graph).window)
    return Site(op_name(pool), Status.REFUSED, window, refusal=refusal, is_max_pool=False)


def _merge(site: Site | None, other: Site | None) -> Site:
    """One site out of what two rules say of it; the later miss is the closer one."""
    if site is None or other is None:
        return site or other
    return site.merged_with(other)
