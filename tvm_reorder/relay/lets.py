"""Let-bound values, read as the graph that they make, and written as lets again.

Identity
    let v = e in b   =   b with e in the place of v, where every use of v shares the one e.

Side conditions
    * To compute e has no effect but its value, and ends: nothing in the function but calls of
      operators without a state, tuples, constants and variables.  With branches, closures, calls of
      other functions or references a function is read as it stands, and so is one that binds a pool
      to a name that nobody uses.
    * FuseOps makes no kernel across a let, and what shares a kernel decides what is rounded: LLVM
      contracts a product and a sum of one kernel.  So a let-bound value, and what a let yields, is
      an ``annotation.stop_fusion`` in the graph.  FuseOps ends a kernel there just as well
      (``IndexedForwardGraphCreator`` in ``src/relay/transforms/fuse_ops.cc``), rules move it with
      the steps that it stands between, and `bind_fences` makes lets of it again.  So what is not
      rewritten stays in the kernel in which it was.  What an ``nn`` pool reads needs no fence, for
      nothing is fused into a pool; but a let also ends a blocked layout of AlterOpLayout's, and it
      has one where that would show behind the pool (``layouts.py``).
    * A scalar constant bound by a let, alone or in a tuple, is no literal in the kernels that read
      it, and would be one without.  A function with such a let is read as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relay
from tvm.ir import Op

from .layouts import shows_layout
from .patterns import FENCE, MAX_POOLS
from .sites import FunctionGraph, op_name

_PLAIN = (relay.Var, relay.Constant, relay.Tuple, relay.TupleGetItem, relay.Let, Op)


def open_graph(function: relay.Function) -> FunctionGraph:
    """The graph of a function, lets read as what they bind.

    Parameters
    ----------
    function : relay.Function
        A typed function.

    Returns
    -------
    FunctionGraph
        Its pools are in the order in which they stand in `function`, and its ``function`` is
        another one if there are lets.
    """
    graph = FunctionGraph(function)
    order = list(graph.order)
    if not graph.max_pools or not any(isinstance(expr, relay.Let) for expr in order):
        return graph
    if not all(map(_is_plain, order)) or any(map(_binds_scalar, order)):
        return graph
    unfenced = {
        pool
        for pool in graph.max_pools
        if op_name(pool) in MAX_POOLS and not shows_layout(graph, pool)
    }
    unbound = _Unbound(order, unfenced)
    untyped = _with_body(function, unbound.read(function.body))
    typed = relay.transform.InferType()(tvm.IRModule({"main": untyped}))["main"]
    places = {expr: n for n, expr in enumerate(_list(untyped.body))}
    found = _list(typed.body)  # one by one the same, typed
    if len(found) != len(places):
        return graph
    opened = FunctionGraph(typed)
    for ours, theirs in (
        (opened.max_pools, graph.max_pools),
        (opened.average_pools, graph.average_pools),
    ):
        numbers = [places.get(unbound.read(pool)) for pool in theirs]
        if None in numbers:
            return graph
        ours[:] = [found[number] for number in numbers]
    return opened


def bind_fences(function: relay.Function) -> relay.Function:
    """The function, untyped, with a let for each value at which fusion has to stop."""
    bindings: list[tuple[relay.Var, relay.Expr]] = []
    made: dict[relay.Expr, relay.Expr] = {}
    for expr in _list(function.body):
        copied = _copy(expr, made.get)
        if op_name(expr) == FENCE:
            copied = copied.args[0]
            if not isinstance(copied, (relay.Var, relay.Constant)):
                bindings.append((relay.var(f"let{len(bindings)}"), copied))
                copied = bindings[-1][0]
        made[expr] = copied
    body = made[function.body]
    for variable, value in reversed(bindings):
        body = relay.Let(variable, value, body)
    return _with_body(function, body)


class _Unbound:
    """What the expressions of a function are without its lets.

    Parameters
    ----------
    order : sequence of relay.Expr
        All of them, in post order.
    unfenced : set of relay.Expr
        Pools that may share a kernel with what they read.
    """

    def __init__(self, order: Sequence[relay.Expr], unfenced: set[relay.Expr]):
        self._unfenced = unfenced
        self._bound = {let.var: let.value for let in order if isinstance(let, relay.Let)}
        self._made: dict[relay.Expr, relay.Expr] = {}
        self._fences: dict[relay.Expr, relay.Expr] = {}
        for expr in order:
            if not isinstance(expr, (relay.Let, relay.Var)):
                self._made[expr] = self._make(expr)

    def read(self, expr: relay.Expr) -> relay.Expr:
        """The counterpart of an expression."""
        while isinstance(expr, relay.Let) or expr in self._bound:
            expr = expr.body if isinstance(expr, relay.Let) else self._bound[expr]
        return self._made.get(expr, expr)

    def _make(self, expr: relay.Expr) -> relay.Expr:
        copied = _copy(expr, self.read if expr in self._unfenced else self._use)
        if isinstance(expr, relay.TupleGetItem) and not isinstance(expr.tuple_value, relay.Tuple):
            whole = copied.tuple_value
            return whole.fields[expr.index] if isinstance(whole, relay.Tuple) else copied
        return copied

    def _use(self, expr: relay.Expr) -> relay.Expr:
        """The counterpart as others use it."""
        is_let = isinstance(expr, relay.Let) or expr in self._bound
        return self._fence(self.read(expr)) if is_let else self.read(expr)

    def _fence(self, value: relay.Expr) -> relay.Expr:
        if isinstance(value, (relay.Var, relay.Constant)) or op_name(value) == FENCE:
            return value
        if value not in self._fences:
            is_tuple = isinstance(value, relay.Tuple)  # which rules look into
            fields = [self._fence(field) for field in value.fields] if is_tuple else []
            fenced = relay.Tuple(fields) if is_tuple else relay.annotation.stop_fusion(value)
            self._fences[value] = fenced
        return self._fences[value]


def _is_plain(expr: relay.Expr) -> bool:
    if isinstance(expr, relay.Call):
        return isinstance(expr.op, Op) and not expr.op.get_attr("TOpIsStateful")
    return isinstance(expr, _PLAIN)


def _binds_scalar(expr: relay.Expr) -> bool:
    return isinstance(expr, relay.Let) and _holds_scalar(expr.value)


def _holds_scalar(value: relay.Expr) -> bool:
    if isinstance(value, relay.Tuple):
        return any(map(_holds_scalar, value.fields))
    return isinstance(value, relay.Constant) and not value.data.shape


def _list(body: relay.Expr) -> list[relay.Expr]:
    """All expressions in post order."""
    found: list[relay.Expr] = []
    relay.analysis.post_order_visit(body, found.append)
    return found


def _copy(expr: relay.Expr, use) -> relay.Expr:
    """An expression over what `use` gives for its operands."""
    if isinstance(expr, relay.Call):
        return relay.Call(expr.op, [use(a) for a in expr.args], expr.attrs, [], expr.span)
    if isinstance(expr, relay.Tuple):
        return relay.Tuple([use(field) for field in expr.fields], expr.span)
    if isinstance(expr, relay.TupleGetItem):
        return relay.TupleGetItem(use(expr.tuple_value), expr.index, expr.span)
    return expr


def _with_body(function: relay.Function, body: relay.Expr) -> relay.Function:
    return relay.Function(
        function.params,
        body,
        function.ret_type,
        function.type_params,
        function.attrs,
        function.span,
    )
