"""Which results a licence leaves open: those of windows with a NaN, or with nothing but -inf.

Every value on the way to the last pool is computed, at opt_level 0 by stock TVM, and what may be
open is marked and pooled like the values themselves; so is what the pool reads as the graph is
compiled, because a scale folded into a convolution's weights overflows elsewhere.  Behind more than
one pool a mark cannot be followed: the whole result is open then.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relay

from tvm_reorder.core.licence import Licence

from .graph import Graph
from .run import build, execute


def find_open(
    graph: Graph, inputs: dict[str, np.ndarray], licence: str, opt_level: int
) -> np.ndarray | bool:
    """Marks on the last output's shape, or one for all of it.

    Parameters
    ----------
    graph : Graph
        The graph.
    inputs : dict
        What it is run on.
    licence : str
        What is asked of its results.
    opt_level : int
        What the graph is compiled at.
    """
    asked = Licence.parse(licence)
    if asked.nan and asked.strict:
        return False
    pool = graph.pools[-1]
    values: list[relay.Expr] = []
    relay.analysis.post_order_visit(
        pool.args[0], lambda e: values.append(e) if isinstance(e, (relay.Call, relay.Var)) else None
    )
    values = [value for value in values if not _is_weight(value)]
    given = _only(inputs, values)
    results = execute(build(_module(values[-1:]), opt_level), given)
    results = execute(build(_module(values), 0), given) + results
    shape = results[-1].shape
    floats = [result for result in results if result.dtype.kind == "f"]
    has_nan, is_lowest = [np.isnan(r) for r in floats], [r == -np.inf for r in floats]
    if len(graph.pools) > 1 or any(r.ndim == len(shape) and r.shape != shape for r in results):
        nan = not asked.nan and any(marks.any() for marks in has_nan)
        return bool(nan or (not asked.strict and any(marks.any() for marks in is_lowest)))
    marks = np.zeros(shape, bool)
    for each in has_nan if not asked.nan else ():
        marks |= each
    is_open = _pool(pool, marks)
    for each in is_lowest if not asked.strict else ():
        is_open |= ~_pool(pool, ~np.broadcast_to(each, shape))
    return is_open


def _is_weight(value) -> bool:
    return isinstance(value, relay.Call) and not relay.analysis.free_vars(value)


def _module(values) -> tvm.IRModule:
    body = relay.Tuple(values)
    mod = tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body))
    return relay.transform.InferType()(mod)


def _only(inputs, values):
    names = {var.name_hint for value in values for var in relay.analysis.free_vars(value)}
    return {name: array for name, array in inputs.items() if name in names}


def _pool(pool, marks) -> np.ndarray:
    """Windows that see a mark."""
    x = relay.var("marks", shape=marks.shape)
    mod = _module([relay.Call(pool.op, [x], pool.attrs)])
    (seen,) = execute(build(mod, 0), {"marks": marks.astype("float32")})
    return seen > 0
