"""What pools are called: by the model, and inside a build.

One pass of TVM's pipeline, ToBasicBlockNormalForm, builds all expressions anew and drops their
spans, in which importers leave the model's names.  It neither adds, removes nor reorders pools, so
`give_names` puts the names back by position.  From there on they go with the pools: a later pass
may merge two equal ones, or reorder them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import tvm
from tvm import relay
from tvm.ir import SequentialSpan, SourceName, Span
from tvm.relay.dataflow_pattern import DFPatternCallback, rewrite

from .patterns import make_pool_pattern
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
    place : tuple of int
        First and last line, first and last column in the model's source; zeros where there is none.
    """

    own: str
    build: str
    operator: str
    place: tuple[int, int, int, int] = (0, 0, 0, 0)

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
        The names that the same module's pools had before passes changed it.
    """
    pools = _list_pools(mod)
    operators = [op_name(pool) for pool in pools]
    own = [read_own_name(pool) for pool in pools]
    known = {name.own: name for name in source}
    if len(set(own)) == len(own) and known.keys() >= set(own):
        return [known[name] for name in own]
    if [name.operator for name in source] == operators:
        return list(source)
    build = map(_shorten, number_apart(operators))
    places = map(_read_place, pools)
    return [PoolName(*names) for names in zip(number_apart(own), build, operators, places)]


def give_names(mod: tvm.IRModule, names: Sequence[PoolName]) -> None:
    """Write names into the spans of a module's pools, in place; nothing if they do not fit."""
    pools = _list_pools(mod)
    if [op_name(pool) for pool in pools] != [name.operator for name in names]:
        return
    naming = _Naming(dict(zip(pools, names)))
    for variable, function in list(mod.functions.items()):
        if is_relay_graph(function):
            mod.update_func(variable, rewrite(naming, function))


class _Naming(DFPatternCallback):
    """Copies pools, with other spans."""

    def __init__(self, names: dict[relay.Call, PoolName]):
        super().__init__(require_type=False, rewrite_once=True)
        self.pattern = make_pool_pattern()
        self._names = names

    def callback(self, pre, post, node_map):
        name = self._names.get(pre)
        if name is None:
            return post
        span = Span(SourceName(name.own), *name.place)
        return relay.Call(post.op, post.args, post.attrs, post.type_args, span)


def _list_pools(mod: tvm.IRModule) -> list[relay.Call]:
    graphs = [FunctionGraph(f) for f in mod.functions.values() if is_relay_graph(f)]
    return [pool for graph in graphs for pool in (*graph.max_pools, *graph.average_pools)]


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


def _read_place(call: relay.Call) -> tuple[int, int, int, int]:
    span = call.span
    if not isinstance(span, Span):
        return (0, 0, 0, 0)
    return (span.line, span.end_line, span.column, span.end_column)


def _shorten(operator: str) -> str:
    return re.sub(r"^nn\.", "", operator)
