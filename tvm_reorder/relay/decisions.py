"""The decision at each site, with all that it rests on: records, the target's model, obstacles."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import tvm
from tvm import relay

from ..core.checks import Plan
from ..core.config import ReorderConfig
from ..core.decision import Action, CostModel, Decision, TimedRecords, choose
from ..core.gpu_model import find_gpu_model
from ..core.lowest import lowest_value
from ..core.measured import MEASURED_TARGET
from ..core.records import describe_problems, read_records
from ..core.refusal import Refusal
from ..core.workload import SiteWorkload
from .circumstances import read_circumstances
from .context import are_apart
from .facts import PoolFacts, read_convolution, read_fused_attributes, read_pool, read_shape
from .fusion import find_general_obstacle, find_obstacle
from .op.conv2d_max_pool2d import FusedAttributes, make_model, read_tuned_times
from .placement import find_home
from .reductions import is_reduction
from .rules import Match
from .sites import FunctionGraph, op_name
from .steps import count_uses, find_moves

logger = logging.getLogger("tvm_reorder")
# Inside a build CanonicalizeOps has been here before us; a workload is the same either way.
_CANONICAL = {"nn.bias_add": "add"}


@dataclass(frozen=True)
class SiteDecider:
    """Decides sites of one run.

    Parameters
    ----------
    wanted : str
        ``ReorderConfig.decision``.
    obstacle : Refusal or None
        What keeps every site from being fused.
    records : TimedRecords or None
        Measured sites.
    model : CostModel or None
        Expected times on the target.
    are_apart : bool
        True if TVM will make a kernel of each operator.
    """

    wanted: str
    obstacle: Refusal | None
    records: TimedRecords | None
    model: CostModel | None
    are_apart: bool = False

    def decide(
        self, graph: FunctionGraph, pool: relay.Call, match: Match, plan: Plan
    ) -> tuple[SiteWorkload, Decision]:
        """Decide a pool at which `plan` is exact."""
        steps = match.steps[: plan.moved]
        joins = op_name(match.pool.data_of(pool)) == "concatenate"
        is_whole = plan.moved == len(match.steps) and not joins and not find_moves(steps)
        base = steps[-1].source if is_whole else None
        uses = count_uses(base, steps[-1].region) if is_whole else 0
        below = match.chain.base_dtypes[plan.moved]
        facts = _read_as_padded_behind(graph, pool, match, plan)
        is_read = is_whole and graph.is_private(base, uses)  # else it is computed anyway
        workload = SiteWorkload(
            window=facts.window,
            planes=facts.planes,
            chain=tuple(_CANONICAL.get(name, name) for name in plan.chain),
            convolution=read_convolution(base) if is_read else None,
            dtype=facts.dtype,
            source=_describe_source(match.pool.data_of(pool) if joins else steps[-1].source),
            ends=_describe_ends(plan),
            base_dtype=None if below == facts.dtype else below,
            home=find_home(graph, pool, match, plan.moved),
            is_reduction=is_reduction(pool),
        )
        # A clamp, a negation are one more kernel, which the fewer values need not pay for.
        are_apart = self.are_apart and not plan.clamps and workload.ends == "one"
        return workload, self._decide(graph, pool, facts, base, uses, workload, are_apart)

    def decide_bare(
        self, graph: FunctionGraph, pool: relay.Call, facts: PoolFacts
    ) -> tuple[SiteWorkload, Decision] | None:
        """Decide a pool with nothing to move; None unless it reads a convolution."""
        base = facts.data_of(pool)
        convolution = read_convolution(base)
        if isinstance(facts.window, Refusal) or convolution is None:
            return None
        workload = SiteWorkload(
            facts.window, facts.planes, (), convolution, facts.dtype, op_name(base)
        )
        return workload, self._decide(graph, pool, facts, base, 1, workload, self.are_apart)

    def _decide(self, graph, pool, facts, base, uses, workload, are_apart) -> Decision:
        obstacle = self.obstacle
        if base is not None:
            obstacle = obstacle or find_obstacle(graph, pool, facts, base, uses, workload.ends)
        possible = {Action.KEEP}
        possible |= {Action.EXCHANGE} if workload.chain else set()
        possible |= {Action.FUSE} if base is not None and obstacle is None else set()
        note = "" if obstacle is None else f"not fused: {obstacle}"
        tuned = (None, None)
        if Action.FUSE in possible and self.model is not None:
            tuned = read_tuned(base, read_fused_attributes(base, pool, facts))
        return choose(
            workload, possible, self.wanted, self.records, self.model, note, tuned, are_apart
        )


def _describe_ends(plan: Plan) -> str:
    """``SiteWorkload.ends`` of an exchange."""
    if plan.ends.is_both:
        return "both"
    return "signed" if plan.ends.signs and not plan.folds_signs else "one"


def _read_as_padded_behind(graph, pool, match: Match, plan: Plan) -> PoolFacts:
    """The pool as it stands after the exchange, if that pads with the lowest value by then."""
    facts = match.pool
    lowest = lowest_value(match.chain.base_dtypes[plan.moved])
    if facts.pad_value is None or match.chain.find_padding(plan.moved) != lowest:
        return facts
    after = read_pool(pool, graph, as_lowest=True)
    return facts if after.window.has_padding_only_window else after


def make_decider(
    config: ReorderConfig, context: tvm.transform.PassContext, target: str
) -> SiteDecider:
    """The decider for one run.

    Parameters
    ----------
    config : ReorderConfig
        The options.
    context : tvm.transform.PassContext
        What is being built under.
    target : str
        Kind and architecture, such as ``"llvm x86-64"``.

    Raises
    ------
    OSError
        If there is a file of records and it cannot be read.
    """
    return SiteDecider(
        config.decision,
        find_general_obstacle(context, target),
        _load_records(config),
        _find_model(target),
        are_apart(context),
    )


def _find_model(target: str) -> CostModel | None:
    if target == MEASURED_TARGET:
        return make_model()
    if target != "cuda":
        return None
    return find_gpu_model(str(tvm.target.Target.current().attrs.get("arch", "")))


def read_tuned(conv: relay.Call, attributes: FusedAttributes) -> tuple[float | None, float | None]:
    """Times of the convolution and of the fused operator in AutoTVM's log in scope, ms."""
    if tvm.target.Target.current(allow_none=True) is None:
        return None, None
    data, kernel = (read_shape(argument.checked_type) for argument in conv.args)
    times = read_tuned_times(data, kernel, attributes)
    return times.plain, times.fused


def _describe_source(base: relay.Expr) -> str:
    """The operator that computes a value; of a concatenation also what it joins."""
    if op_name(base) != "concatenate" or not isinstance(base.args[0], relay.Tuple):
        return op_name(base)
    parts = ("x".join(map(str, read_shape(f.checked_type))) for f in base.args[0].fields)
    return f"concatenate({', '.join(parts)})"


def _load_records(config: ReorderConfig) -> TimedRecords | None:
    if config.records is None:
        return None
    now = read_circumstances()
    records, problems = read_records(
        config.records, now.target, now.threads, now.tvm_version, now.processor
    )
    if problems:
        logger.warning("%s", describe_problems(config.records, problems))
    return records
