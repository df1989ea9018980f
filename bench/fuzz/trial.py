"""Recipes through stock and ours: what was done at their sites, and what differs.

Several graphs are built as one module, because a build costs more than a graph.  Where one of them
differs, does not build, or makes the pass fail, each is tried alone, and that counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from tvm import relay

from tvm_reorder import ReorderConfig
from tvm_reorder.cli.errors import first_line
from tvm_reorder.cli.measure import compare_outputs
from tvm_reorder.core.licence import ANY_DROP, Licence

from .graph import Graph, draw_inputs, make_graph, make_module
from .open_results import find_open
from .run import build, execute

FAILURES = ("differs", "pass failed", "ours does not build", "ours crashes")


@dataclass
class Outcome:
    """What became of some graphs.

    Parameters
    ----------
    graphs : collections.Counter
        Graphs by verdict: ``"equal"``, ``"untouched"`` (the pass left it as it is: not built),
        ``"open"`` (equal but for what the licence leaves open), ``"invalid"`` (stock TVM does not
        build or run it), or one of `FAILURES`.
    sites : collections.Counter
        Max pools by status, the refused ones by reason.
    failures : list of dict
        Recipe, verdict and detail of each graph that failed.
    """

    graphs: Counter = field(default_factory=Counter)
    sites: Counter = field(default_factory=Counter)
    failures: list[dict] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Count another outcome in."""
        self.graphs.update(other.graphs)
        self.sites.update(other.sites)
        self.failures.extend(other.failures)


def examine(recipes: list[dict], say: Callable[[str], None] = lambda phase: None) -> Outcome:
    """Try some graphs of one group.

    Parameters
    ----------
    recipes : list of dict
        The graphs; they share decision, licence and opt_level.
    say : callable
        Told ``"stock"`` and ``"ours"`` before each build: a compiler that crashes tells no more.
    """
    outcome = Outcome()
    graphs = []
    for recipe in recipes:
        try:
            graph = make_graph(recipe, f"g{len(graphs)}")
            make_module([graph])
            graphs.append((recipe, graph))
        except Exception:  # whatever the type relations object to
            outcome.graphs["invalid"] += 1
    if graphs:
        outcome.add(_examine(graphs, say))
    return outcome


def _examine(graphs: list[tuple[dict, Graph]], say) -> Outcome:
    """Try graphs that TVM can type: the pass first, which tells what need not be built."""
    how, outcome = graphs[0][0], Outcome()
    say("ours")
    try:
        _, report = build(
            make_module([graph for _, graph in graphs]),
            how["opt_level"],
            make_config(how),
            relay.optimize,
        )
    except Exception as error:
        return _halve(graphs, say) or _blame(graphs, "ours does not build", first_line(error), say)
    if report.errors:
        error = report.errors[-1]
        detail = f"{type(error).__name__}: {first_line(error)}"
        return _halve(graphs, say) or _blame(graphs, "pass failed", detail, say)
    touched = _count_sites(outcome, graphs, report)
    outcome.graphs.update("untouched" for is_touched in touched if not is_touched)
    chosen = [each for each, is_touched in zip(graphs, touched) if is_touched]
    if chosen:
        outcome.add(_build_both(chosen, say))
    return outcome


def _build_both(graphs, say) -> Outcome:
    """Build, run and compare; the sites have been counted."""
    mod, how = make_module([graph for _, graph in graphs]), graphs[0][0]
    say("stock")
    try:
        stock = build(mod, how["opt_level"])
        execute(stock, _draw_all(graphs, 0))
    except Exception:
        return _halve(graphs, say, _build_both) or Outcome(Counter(invalid=1))
    say("ours")
    try:
        ours, _ = build(mod, how["opt_level"], make_config(how))
        verdicts = _compare(graphs, stock, ours)
    except Exception as error:
        return _halve(graphs, say, _build_both) or _fail(
            how, "ours does not build", first_line(error)
        )
    if len(graphs) > 1 and any(verdict in FAILURES for verdict, _ in verdicts):
        return _halve(graphs, say, _build_both)
    outcome = Outcome()
    for (recipe, _), (verdict, detail) in zip(graphs, verdicts):
        outcome.graphs[verdict] += 1
        if verdict in FAILURES:
            outcome.failures.append({"recipe": recipe, "verdict": verdict, "detail": detail})
    return outcome


def _blame(graphs, verdict: str, detail: str, say) -> Outcome:
    """The failure of one graph, unless stock TVM does not build it either."""
    ((how, graph),) = graphs
    say("stock")
    try:
        build(make_module([graph]), how["opt_level"])
    except Exception:
        return Outcome(Counter(invalid=1))
    return _fail(how, verdict, detail)


def make_config(recipe: dict) -> ReorderConfig:
    """The pass's options of a recipe."""
    return ReorderConfig(licence=recipe["licence"], decision=recipe["decision"], opt_level=0)


def _halve(graphs, say, examine_half=_examine) -> Outcome | None:
    """One half after the other, down to each graph alone; None if there is but one."""
    if len(graphs) == 1:
        return None
    outcome, middle = Outcome(), len(graphs) // 2
    for half in (graphs[:middle], graphs[middle:]):
        outcome.add(examine_half(half, say))
    return outcome


def _fail(recipe: dict, verdict: str, detail: str) -> Outcome:
    failure = {"recipe": recipe, "verdict": verdict, "detail": detail}
    return Outcome(Counter({verdict: 1}), Counter(), [failure])


def _count_sites(outcome: Outcome, graphs, report) -> list[bool]:
    """Count the sites; whether each graph was touched."""
    for site in report.sites:
        status = str(site.status)
        is_refused = status == "refused" and site.refusal is not None
        outcome.sites[f"refused: {site.refusal.reason.value}" if is_refused else status] += 1
    sites = iter(report.sites)
    counts = [len(graph.pools) for _, graph in graphs]
    if sum(counts) != len(report.sites):  # TVM has merged two pools that were the same
        return [bool(report.exchanged)] * len(graphs)
    done = set(report.exchanged)
    return [any([next(sites) in done for _ in range(count)]) for count in counts]


def _compare(graphs, stock, ours) -> list[tuple[str, str]]:
    """Verdict and detail of each graph."""
    verdicts = [("equal", "")] * len(graphs)
    for kind in range(max(len(recipe["values"]) for recipe, _ in graphs)):
        drawn = [_draw(recipe, graph, kind) for recipe, graph in graphs]
        inputs = _draw_all(graphs, kind)
        pairs = zip(execute(stock, inputs), execute(ours, inputs))
        for number, (recipe, graph) in enumerate(graphs):
            mine = [next(pairs) for _ in graph.outputs]
            verdict = _judge(recipe, graph, drawn[number], mine)
            if verdict[0] != "equal" and verdicts[number][0] != "differs":
                verdicts[number] = verdict
    return verdicts


def _draw(recipe, graph, kind: int) -> dict[str, np.ndarray]:
    kinds = recipe["values"]
    return draw_inputs(recipe, graph.inputs, kinds[kind % len(kinds)])


def _draw_all(graphs, kind: int) -> dict[str, np.ndarray]:
    drawn = (_draw(recipe, graph, kind) for recipe, graph in graphs)
    return {name: array for each in drawn for name, array in each.items()}


def _judge(recipe, graph, inputs, pairs) -> tuple[str, str]:
    licence = Licence.parse(recipe["licence"])
    allowed = licence.ulp if licence.ulp != ANY_DROP else np.inf
    wrong = [n for n, pair in enumerate(pairs) if not _is_near(*pair, allowed)]
    if not wrong:
        return "equal", ""
    is_open = find_open(graph, inputs, recipe["licence"], recipe["opt_level"])
    for number in wrong:
        before, after = pairs[number]
        marks = is_open if np.shape(is_open) in ((), before.shape) else np.any(is_open)
        kept = ~np.broadcast_to(marks, before.shape)
        if not _is_near(before[kept], after[kept], allowed):
            return "differs", _describe(number, before[kept], after[kept])
    return "open", ""


def _is_near(before: np.ndarray, after: np.ndarray, ulp: float) -> bool:
    found = compare_outputs(after, before)
    return found.equal or (found.max_ulp is not None and found.max_ulp <= ulp)


def _describe(number: int, before: np.ndarray, after: np.ndarray) -> str:
    found = compare_outputs(after, before)
    wrong = np.flatnonzero(~((before == after) | ((before != before) & (after != after))))
    first = f"{before.ravel()[wrong[0]]!s} became {after.ravel()[wrong[0]]!s}"
    ulp = "not finite" if found.max_ulp is None else f"{found.max_ulp} ulp"
    return f"output {number}: {wrong.size} of {before.size} differ ({ulp}), {first}"
