"""What pools are called: by the model, and inside a build.

TVM's first passes drop the source names, so inside a build a pool is only the third max_pool2d.  A
build does not change the order of the pools: names read before its first pass are handed on by
position, as long as the pools' operators are the same one by one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import tvm
from tvm import relay
from tvm.ir import SequentialSpan

from .sites import FunctionGraph, is_closed, op_name


@dataclass(frozen=True)
class PoolName:
    """The names of one pool; both are distinct from those of all other pools.

    Parameters
    ----------
    own : str
        The model's, as importers leave it in the span; `build` where there is none.
    build : str
        The operator's and a number: ``max_pool2d_3``.
    operator : str
        Such as ``nn.max_pool2d``.
    """

    own: str
    build: str
    operator: str

    @property
    def is_max_pool(self) -> bool:
        """False for average pools."""
        return "max" in self.operator


def is_relay_graph(function) -> bool:
    """True for the functions that the pass looks at."""
    return isinstance(function, relay.Function) and not is_closed(function)


def name_pools(mod: tvm.IRModule, source: Sequence[PoolName] = ()) -> list[PoolName]:
    """Names of a module's pools, function by function, max pools before average pools.

    Parameters
    ----------
    mod : tvm.IRModule
        The module, typed or not.
    source : sequence of PoolName
        The pools of the same module before passes took its names away.
    """
    graphs = [FunctionGraph(f) for f in mod.functions.values() if is_relay_graph(f)]
    pools = [pool for graph in graphs for pool in (*graph.max_pools, *graph.average_pools)]
    operators = [op_name(pool) for pool in pools]
    own, build = number_apart([read_own_name(pool) for pool in pools]), number_apart(operators)
    names = [PoolName(*names) for names in zip(own, map(_shorten, build), operators)]
    if [pool.operator for pool in source] != operators:
        return names
    return [replace(name, own=pool.own) for name, pool in zip(names, source)]


def number_apart(names: Sequence[str]) -> list[str]:
    """Distinct names: one that occurs more than once is numbered."""
    often, seen, apart = Counter(names), Counter(), []
    for name in names:
        seen[name] += 1
        apart.append(name if often[name] == 1 else f"{name}_{seen[name]}")
    return apart


def read_own_name(call: relay.Call) -> str:
    """The model's own name of a call, or its operator's."""
    span = call.span
    first = span.spans[0] if isinstance(span, SequentialSpan) else span
    source = "" if first is None else re.sub(r" ?tvm_reorder\..*", "", first.source_name.name)
    parsed = source.startswith(("from_string", "GeneratedSource"))
    return _shorten(op_name(call)) if parsed or not source else source


def _shorten(operator: str) -> str:
    return re.sub(r"^nn\.", "", operator)
