"""Each distinct site of a model as a small module of its own, to be built and timed alone.

A site is cut where its data comes in from memory: what shares a kernel with its steps
(``fused_with.py``) belongs to it, or another kernel than the model's would be timed.  What stands
behind the pool is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import tvm
from tvm import relay
from tvm.ir import TensorType

from ..core.report import Report
from ..core.workload import SiteWorkload
from .chains import read_steps
from .facts import read_constant, read_pool, read_shape
from .fused_with import find_kernel
from .lets import open_graph
from .names import is_relay_graph
from .scene import Scene
from .sites import FunctionGraph, op_name
from .steps import Step, count_uses

# Reading the steps needs a target only to tell how exact they are, which is not asked here.
_ANY_TARGET = "llvm"


@dataclass(frozen=True)
class ExtractedSite:
    """One site, apart from the model it was found in.

    Parameters
    ----------
    names : tuple of str
        Every site of the model that has this workload, in order of execution.
    workload : SiteWorkload
        What they compute.
    mod : tvm.IRModule
        The first of them, typed, its weights constants, its data the parameters of ``main``.
    """

    names: tuple[str, ...]
    workload: SiteWorkload
    mod: tvm.IRModule

    @property
    def name(self) -> str:
        """The first name, and how many more sites are like it."""
        more = len(self.names) - 1
        return f"{self.names[0]} (+{more})" if more else self.names[0]


def extract_sites(mod: tvm.IRModule, report: Report) -> list[ExtractedSite]:
    """The distinct sites of a module, in order of execution.

    Parameters
    ----------
    mod : tvm.IRModule
        The module as the pass sees it: what ``reorder(..., write=False)`` gives.
    report : Report
        Of that very run; pools to which it gives no workload are left out.
    """
    found: dict[str, ExtractedSite] = {}
    for site, (graph, pool) in zip(report.sites, _find_pools(mod)):
        if site.workload is None:
            continue
        known = found.get(site.workload.key)
        if known is not None:
            found[site.workload.key] = replace(known, names=(*known.names, site.name))
            continue
        extracted = extract_site(graph, pool)
        if extracted is not None:
            found[site.workload.key] = ExtractedSite((site.name,), site.workload, extracted)
    return list(found.values())


def extract_site(graph: FunctionGraph, pool: relay.Call) -> tvm.IRModule | None:
    """One pool with all that shares a kernel with its steps; None if shapes are dynamic.

    Parameters
    ----------
    graph : FunctionGraph
        The typed function.
    pool : relay.Call
        One of its max pools.
    """
    cut = _Cut(_collect(graph, pool))
    body = cut.copy(pool)
    if cut.is_dynamic:
        return None
    mod = tvm.IRModule.from_expr(relay.Function(cut.inputs, body))
    return relay.transform.InferType()(mod)


def _find_pools(mod: tvm.IRModule) -> Iterator[tuple[FunctionGraph, relay.Call]]:
    """Max pools in the order in which the pass reports them."""
    for function in mod.functions.values():
        if not is_relay_graph(function):
            continue
        graph = open_graph(function)
        for pool in graph.max_pools:
            yield graph, pool


def _collect(graph: FunctionGraph, pool: relay.Call) -> set[relay.Expr]:
    """The calls that make up a site."""
    facts = read_pool(pool, graph)
    scene = Scene(facts, _ANY_TARGET)
    calls = {pool} if facts.pad is None else {pool, facts.pad}
    chains = [read_steps(graph, facts.data_of(pool), scene)[:2]]
    base = chains[0][1]
    if op_name(base) == "concatenate" and isinstance(base.args[0], relay.Tuple):
        fields = base.args[0].fields
        chains += [read_steps(graph, field, scene.over(field))[:2] for field in fields]
    for steps, below in chains:
        calls.update(call for step in steps for call in step.region)
        calls.update(find_kernel(graph, below, _count_uses(steps, below)).calls)
    return calls


def _count_uses(steps: list[Step], base: relay.Expr) -> int:
    """How often the steps on a value, or the pool if there are none, use it."""
    return count_uses(base, steps[-1].region) if steps else 1


class _Cut:
    """Copies some calls of a function; whatever else they read becomes an input."""

    def __init__(self, calls: set[relay.Expr]):
        self.inputs: list[relay.Var] = []
        self.is_dynamic = False
        self._calls = calls
        self._copies: dict[relay.Expr, relay.Expr] = {}

    def copy(self, expr: relay.Expr) -> relay.Expr:
        """The counterpart of an expression."""
        if expr not in self._copies:
            self._copies[expr] = self._make(expr)
        return self._copies[expr]

    def _make(self, expr: relay.Expr) -> relay.Expr:
        if expr not in self._calls:
            return self._make_input(expr)
        if isinstance(expr, relay.Tuple):
            return relay.Tuple([self.copy(field) for field in expr.fields], expr.span)
        if isinstance(expr, relay.TupleGetItem):
            return relay.TupleGetItem(self.copy(expr.tuple_value), expr.index, expr.span)
        arguments = [self.copy(argument) for argument in expr.args]
        return relay.Call(expr.op, arguments, expr.attrs, [], expr.span)

    def _make_input(self, expr: relay.Expr) -> relay.Expr:
        kind = expr.checked_type
        if not isinstance(kind, TensorType) or None in read_shape(kind):
            self.is_dynamic = True
            return expr
        if isinstance(expr, relay.Constant) or read_constant(expr) is not None:
            return expr
        self.inputs.append(relay.var(f"data{len(self.inputs)}", kind))
        return self.inputs[-1]
