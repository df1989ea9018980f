"""The registered pass.

Place in the pipeline: after FoldScaleAxis, before AlterOpLayout and FuseOps; ``pipeline.py`` says
why and puts it there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import tvm

from ..core.config import ReorderConfig
from ..core.decision import Decision
from ..core.report import Report, Site
from ..core.selection import leave_out
from .function_rewriting import FunctionRewriting
from .names import PoolName, is_relay_graph, name_pools
from .rules import DEFAULT_RULES, Rule

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
    any_target : bool
        True if nobody said which processor will be compiled for, whatever target is in scope.
    """

    config: ReorderConfig = ReorderConfig()
    report: Report = field(default_factory=Report)
    rules: tuple[Rule, ...] = DEFAULT_RULES
    source_names: Callable[[], Sequence[PoolName]] = tuple
    in_build: bool = False
    any_target: bool = False

    def as_pass(self) -> tvm.transform.Pass:
        """The pass for a ``tvm.transform.Sequential``.

        It requires InferType; run SimplifyInference and FoldScaleAxis before it, so that batch
        norm does not stand between the convolution and the pool.
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
            own = names[len(sites) :]
            flags = self.in_build, self.any_target
            task = FunctionRewriting(self.config, context, self.rules, *flags, own, here)
            changed, found, errors = task.run(changed, variable)
            sites.extend(found)
            self.report.errors.extend(errors)
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
