"""Recipes through stock and ours and past the reference: what the pass did and what differs.

Several graphs are built as one module, because a build costs more than a graph.  Where it does not
build, or the pass fails, each is tried alone, and that counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tvm_reorder import ReorderConfig
from tvm_reorder.cli.errors import first_line
from tvm_reorder.core.report import Report

from .facets import describe
from .graph import Graph, draw_inputs, make_graph, make_module
from .judge import WRONG, Judge
from .onnx_graph import import_graph
from .run import How, Run, build, build_ours, optimize, read_report

FAILURES = (*WRONG, "pass failed", "ours does not build", "ours crashes")
_LLVM_FAILS = "LLVM module verification failed"
_LONGEST = 120  # of a reason that is counted


@dataclass
class Outcome:
    """What became of some graphs.

    Parameters
    ----------
    graphs : collections.Counter
        Graphs by verdict: ``"equal"``, ``"untouched"`` (the pass left it as it is: not built),
        ``"open"`` (equal but for what the licence leaves open), ``"invalid"`` (stock TVM does not
        build or run it), ``"simplified"`` (equal, and off the reference because TVM's own
        simplifications are inexact: without them stock is right), ``"executors differ"`` (stock TVM
        gives something else by its graph executor, and there ours is right), ``"LLVM fails"`` (its
        own verifier finds that its passes made an invalid module), or one of `FAILURES`:
        ``"differs"`` from stock, ``"wrong"`` by the reference where stock is right, ``"both
        wrong"`` by it, ``"not judged"`` for an error in the fuzzer itself.
    sites : collections.Counter
        Max pools by status, the refused ones by reason.
    drawn : collections.Counter
        Graphs by what occurs in them.
    checked : collections.Counter
        Results held against the reference, and those that it leaves open.
    invalid : collections.Counter
        Why stock TVM does not build or run graphs.
    failures : list of dict
        Recipe, verdict and detail of each graph that failed.
    """

    graphs: Counter = field(default_factory=Counter)
    sites: Counter = field(default_factory=Counter)
    drawn: Counter = field(default_factory=Counter)
    checked: Counter = field(default_factory=Counter)
    invalid: Counter = field(default_factory=Counter)
    failures: list[dict] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Count another outcome in."""
        for mine, its in zip(self._counters(), other._counters()):
            mine.update(its)
        self.failures.extend(other.failures)

    def _counters(self) -> tuple[Counter, ...]:
        return self.graphs, self.sites, self.drawn, self.checked, self.invalid


Say = Callable[[str], None]
Pair = tuple[dict, Graph]


def examine(recipes: list[dict], say: Say = lambda phase: None) -> Outcome:
    """Try some graphs of one group.

    Parameters
    ----------
    recipes : list of dict
        The graphs; they share how they are built.
    say : callable
        Told ``"stock"`` and ``"ours"`` before each build: a compiler that crashes tells no more.
    """
    outcome = Outcome()
    graphs = []
    say("stock")  # the importer compiles constants
    for recipe in recipes:
        try:
            make = import_graph if "onnx" in recipe else make_graph
            graph = make(recipe, f"g{len(graphs)}")
            make_module([graph])
            graphs.append((recipe, graph))
            outcome.drawn.update(describe(recipe, graph))
        except Exception as error:  # whatever the type relations object to
            outcome.add(refuse(error))
    if graphs:
        outcome.add(_examine(graphs, say))
    return outcome


def _examine(graphs: list[Pair], say: Say) -> Outcome:
    """Try graphs that TVM can type: the pass first, which tells what need not be built."""
    recipe, outcome = graphs[0][0], Outcome()
    mod = make_module([graph for _, graph in graphs])
    if len(graphs) == 1:  # the process may have died of it before, in either compiler
        say("stock")
        try:
            optimize(mod, How.of(recipe))
        except Exception as error:
            return refuse(error)
    say("ours")
    try:
        report = read_report(mod, How.of(recipe), make_config(recipe))
    except Exception as error:
        return _halve(graphs, say) or _blame(graphs, "ours does not build", first_line(error), say)
    failed = _find_internal_error(report)
    if failed is not None:
        return _halve(graphs, say) or _blame(graphs, "pass failed", failed, say)
    touched = _count_sites(outcome, graphs, report)
    outcome.graphs.update("untouched" for is_touched in touched if not is_touched)
    chosen = [each for each, is_touched in zip(graphs, touched) if is_touched]
    if chosen:
        outcome.add(_build_both(chosen, say))
    return outcome


def _find_internal_error(report: Report) -> str | None:
    """What went wrong in the pass, on the whole module or at a site."""
    if report.errors:
        error = report.errors[-1]
        return f"{type(error).__name__}: {first_line(error)}"
    refusals = (site.refusal for site in report.sites if site.refusal is not None)
    return next((str(each) for each in refusals if "internal" in each.reason.value), None)


def _build_both(graphs: list[Pair], say: Say) -> Outcome:
    """Build, run and compare; the sites have been counted."""
    mod, recipe = make_module([graph for _, graph in graphs]), graphs[0][0]
    how = How.of(recipe)
    say("stock")
    try:
        stock = build(mod, how)
        stock(_draw_all(graphs, 0))
    except Exception as error:
        return _halve(graphs, say, _build_both) or refuse(error)
    say("ours")
    try:
        ours, _ = build_ours(mod, how, make_config(recipe))
        ours(_draw_all(graphs, 0))
    except Exception as error:
        if len(graphs) == 1 and _LLVM_FAILS in str(error):
            return Outcome(Counter({"LLVM fails": 1}))
        return _halve(graphs, say, _build_both) or _fail(
            recipe, "ours does not build", first_line(error)
        )
    compared = _compare(graphs, stock, ours)
    outcome = Outcome(checked=compared.checked)
    for (each, _), (verdict, detail) in zip(graphs, compared.verdicts):
        outcome.graphs[verdict] += 1
        if verdict in FAILURES:
            outcome.failures.append({"recipe": each, "verdict": verdict, "detail": detail})
    return outcome


def _blame(graphs: list[Pair], verdict: str, detail: str, say: Say) -> Outcome:
    """The failure of one graph, unless stock TVM does not build it either."""
    ((recipe, graph),) = graphs
    say("stock")
    try:
        build(make_module([graph]), How.of(recipe))
    except Exception as error:
        return refuse(error)
    return _fail(recipe, verdict, detail)


def refuse(error: Exception | str) -> Outcome:
    """A graph with which stock TVM can do nothing, and why, without what is that graph's own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = re.sub(r"[0-9]+", "N", lines[-1] if lines else repr(error))[:_LONGEST]
    return Outcome(Counter(invalid=1), invalid=Counter({reason: 1}))


def make_config(recipe: dict) -> ReorderConfig:
    """The pass's options of a recipe."""
    certify = recipe.get("certify", "cached")  # older recipes say nothing
    options = {name: recipe[name] for name in ("licence", "decision")}
    return ReorderConfig(**options, certify=certify, opt_level=0)


def _halve(graphs: list[Pair], say: Say, examine_half=_examine) -> Outcome | None:
    """One half after the other, down to each graph alone; None if there is but one."""
    if len(graphs) == 1:
        return None
    outcome, middle = Outcome(), len(graphs) // 2
    for half in (graphs[:middle], graphs[middle:]):
        outcome.add(examine_half(half, say))
    return outcome


def _fail(recipe: dict, verdict: str, detail: str) -> Outcome:
    failure = {"recipe": recipe, "verdict": verdict, "detail": detail}
    return Outcome(Counter({verdict: 1}), failures=[failure])


def _count_sites(outcome: Outcome, graphs: list[Pair], report: Report) -> list[bool]:
    """Count the sites; whether each graph was touched."""
    done, named = list(report.exchanged), {graph.name for _, graph in graphs}
    for site in report.sites:
        status = str(site.status)
        is_refused = status == "refused" and site.refusal is not None
        outcome.sites[f"refused: {site.refusal.reason.value}" if is_refused else status] += 1
    owners = {site.name.partition("/")[0] for site in done}
    if not owners <= named:  # TVM has merged two pools that were the same, and lost a name
        return [True] * len(graphs)
    return [graph.name in owners for _, graph in graphs]


@dataclass
class _Compared:
    verdicts: list[tuple[str, str]]
    checked: Counter


def _compare(graphs: list[Pair], stock: Run, ours: Run) -> _Compared:
    """Verdict and detail of each graph."""
    compared = _Compared([("equal", "")] * len(graphs), Counter())
    judges = [Judge(recipe, graph) for recipe, graph in graphs]
    for kind in range(max(len(recipe["values"]) for recipe, _ in graphs)):
        drawn = [_draw(recipe, graph, kind) for recipe, graph in graphs]
        inputs = _draw_all(graphs, kind)
        pairs = zip(stock(inputs), ours(inputs))
        for number, judge in enumerate(judges):
            mine = [next(pairs) for _ in judge.graph.outputs]
            verdict = judge.judge(drawn[number], mine)
            if verdict[0] in WRONG and _is_fault_of_executor(*graphs[number], drawn[number], mine):
                verdict = "executors differ", verdict[1]
            if verdict[0] != "equal" and compared.verdicts[number][0] not in FAILURES:
                compared.verdicts[number] = verdict
    for judge in judges:
        compared.checked.update(judge.checked)
    return compared


def _is_fault_of_executor(recipe: dict, graph: Graph, inputs: dict, pairs: list) -> bool:
    """True if stock TVM gives something else by another executor, and there nothing fails.

    AOT reads what nobody has written where a tuple of one is concatenated at opt_level 0.
    """
    plain = {**recipe, "executor": "graph"}
    if plain == recipe or examine([plain]).failures:
        return False
    try:
        expected = build(make_module([graph]), How.of(plain))(inputs)
    except Exception:  # as where it stores 64 bits of what it computes in 32
        return True
    is_float = (each.dtype.kind == "f" for each in expected)
    checks = zip(expected, pairs, is_float)
    return not all(np.array_equal(e, stock, equal_nan=nan) for e, (stock, _), nan in checks)


def _draw(recipe: dict, graph: Graph, kind: int) -> dict[str, np.ndarray]:
    kinds = recipe["values"]
    return draw_inputs(recipe, graph.inputs, kinds[kind % len(kinds)])


def _draw_all(graphs: list[Pair], kind: int) -> dict[str, np.ndarray]:
    drawn = (_draw(recipe, graph, kind) for recipe, graph in graphs)
    return {name: array for each in drawn for name, array in each.items()}
