"""What above a model's max pools a certificate would speak for.

Each step that no proof covers, the library functions inside a composite, and the chain as one
function, from the pool up to the first step with operands of its own for each channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tvm
from tvm import relay

from ..certify.expressions import ScalarFunction
from ..core.config import ReorderConfig
from ..core.monotone import Direction, MonotoneMap
from ..core.selection import leave_out
from .activations import ACTIVATIONS
from .certified import read_function
from .chains import read_steps
from .facts import read_pool
from .lets import open_graph
from .names import is_relay_graph, name_pools
from .pipeline import reorder
from .scene import Scene
from .sites import FunctionGraph, op_name
from .steps import Step

_ANY_TARGET = "llvm"


def find_candidates(
    mod: tvm.IRModule,
    params: dict | None,
    target: tvm.target.Target,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> list[ScalarFunction]:
    """The functions, each once, in order of execution.

    Parameters
    ----------
    mod : tvm.IRModule
        The model.
    params : dict or None
        Its weights.
    target : tvm.target.Target
        What it is prepared for.
    only, skip : sequence of str
        Names of sites: if there are any in `only` the others are left out, and so are those in
        `skip`.

    Raises
    ------
    UnknownSite
        If a name is no site's.
    """
    config = ReorderConfig(write=False, certify="off")
    prepared, _ = reorder(mod, params, config, target=target)
    names = [name for name in name_pools(prepared, name_pools(mod)) if name.is_max_pool]
    left_out = leave_out([(name.own, name.build) for name in names], only, skip)
    found = {}
    for number, (graph, pool) in enumerate(_list_pools(prepared)):
        for candidate in _find_above(graph, pool) if number not in left_out else ():
            found.setdefault((candidate.text, candidate.dtype), candidate)
    return list(found.values())


def _list_pools(mod: tvm.IRModule) -> Iterator[tuple[FunctionGraph, relay.Call]]:
    for function in filter(is_relay_graph, mod.functions.values()):
        graph = open_graph(function)
        yield from ((graph, pool) for pool in graph.max_pools)


def _find_above(graph: FunctionGraph, pool: relay.Call) -> Iterator[ScalarFunction]:
    facts = read_pool(pool, graph)
    scene = Scene(facts, _ANY_TARGET)
    tops = [facts.data_of(pool)]
    while tops:
        top = tops.pop()
        steps, base, _ = read_steps(graph, top, scene.over(top))
        yield from _read_candidates(steps)
        if op_name(base) == "concatenate" and isinstance(base.args[0], relay.Tuple):
            tops.extend(base.args[0].fields)


def _read_candidates(steps: list[Step]) -> Iterator[ScalarFunction]:
    unproven = [step for step in steps if _is_unproven(step.link.map)]
    pairs = [(step.root, step.source) for step in unproven]
    for step in unproven:
        pairs += [(call, call.args[0]) for call in step.region if _is_library_call(call)]
    found = [read_function(*pair) for pair in pairs]
    if unproven:
        prefixes = [read_function(steps[0].root, step.source) for step in steps]
        found += [function for function in prefixes if function is not None][-1:]
    yield from (function for function in found if function is not None)


def _is_unproven(known: MonotoneMap) -> bool:
    return known.worst_ulp is None or Direction.OTHER in known.directions


def _is_library_call(call: relay.Call) -> bool:
    known = ACTIVATIONS.get(op_name(call))
    return known is not None and isinstance(known.worst_ulp, str)
