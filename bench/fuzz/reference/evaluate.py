"""A typed Relay expression evaluated in bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relay
from tvm.ir import Op

from .bounds import Bounds, anything, exact, hull, join_open
from .elementwise import ELEMENTWISE, shape_of
from .placing import MOVES, WINDOWS, join, split
from .products import PRODUCTS
from .quantised import QUANTISED

_FAST = {"exp": "fast_exp", "tanh": "fast_tanh", "erf": "fast_erf"}
Tuple = list[Bounds]


def _lift(mover) -> Callable[..., Bounds]:
    return lambda call, x, *others: x.moved(lambda array: mover(call, array))


_PLACING = {name: _lift(mover) for name, mover in MOVES.items()}
DEFINED: dict[str, Callable[..., Bounds]] = {**PRODUCTS, **WINDOWS, **_PLACING}
_OPEN_IN_OPEN_OUT = {**ELEMENTWISE, **QUANTISED}
_DECIDES = frozenset(["where", "equal", "not_equal", "less", "less_equal", "greater"])
_DECIDES |= {"greater_equal", "logical_and", "logical_or", "logical_not"}
_DECIDES |= {"isnan", "isinf", "isfinite"}
# How many of the operands vary with the data; what is behind them are lists of constants.
_VARYING = {**dict.fromkeys((*QUANTISED, "nn.prelu", "nn.bias_add", "cast_like"), 1)}
FILLED = {"zeros": 0.0, "ones": 1.0, "zeros_like": 0.0, "ones_like": 1.0}
JOINS = frozenset(["concatenate", "stack"])
NAMES = frozenset([*DEFINED, *_OPEN_IN_OPEN_OUT, *FILLED, *JOINS, "split", "full", "full_like"])


def evaluate(
    mod: tvm.IRModule, inputs: dict[str, np.ndarray], is_fast: bool = False
) -> list[Bounds]:
    """Bounds of the results of a typed module's main function.

    Parameters
    ----------
    mod : tvm.IRModule
        With one function.  An operator that has no definition here gives what is open.
    inputs : dict
        The inputs' values.
    is_fast : bool
        True if FastMath may take the place of exp, tanh and erf.
    """
    body = mod["main"].body
    known: dict[relay.Expr, Bounds | Tuple] = {}

    def visit(expr: relay.Expr) -> None:
        if isinstance(expr, relay.Constant):
            known[expr] = exact(expr.data.numpy())
        elif isinstance(expr, relay.Var) and expr.name_hint in inputs:
            known[expr] = exact(inputs[expr.name_hint])
        elif isinstance(expr, relay.Tuple):
            known[expr] = [known[each] for each in expr.fields]
        elif isinstance(expr, relay.TupleGetItem):
            known[expr] = known[expr.tuple_value][expr.index]
        elif isinstance(expr, relay.Call):
            known[expr] = _call(expr, [known[each] for each in expr.args], is_fast)

    for expr in _in_order(body):
        if isinstance(expr, tuple):
            known[expr[0]] = known[expr[1]]
        else:
            visit(expr)
    result = known[_strip_lets(body)]
    return result if isinstance(result, list) else [result]


def _in_order(body: relay.Expr):
    """All expressions, operands first; a let as its variable and value where it is bound."""
    seen: set[relay.Expr] = set()
    order: list = []

    def collect(expr: relay.Expr) -> None:
        if expr not in seen:
            seen.add(expr)
            order.append(expr)

    while isinstance(body, relay.Let):
        seen.add(body.var)
        relay.analysis.post_order_visit(body.value, collect)
        order.append((body.var, body.value))
        body = body.body
    relay.analysis.post_order_visit(body, collect)
    return order


def _strip_lets(body: relay.Expr) -> relay.Expr:
    while isinstance(body, relay.Let):
        body = body.body
    return body


def _call(call: relay.Call, operands: list[Bounds | Tuple], is_fast: bool) -> Bounds | Tuple:
    name = call.op.name if isinstance(call.op, Op) else ""
    if name == "concatenate" and call.checked_type.dtype == "bfloat16":
        return _open_like(call.checked_type)  # TVM may take its bits for numbers in what follows
    if name in JOINS:
        low, high = ([getattr(b, end) for b in operands[0]] for end in ("low", "high"))
        return Bounds(join(call, low), join(call, high))
    if name == "split":
        pairs = zip(split(call, operands[0].low), split(call, operands[0].high))
        return [Bounds(low, high) for low, high in pairs]
    if name in FILLED:
        return exact(np.full(shape_of(call), FILLED[name]))
    if name == "full" or name == "full_like":
        number = operands[-1] if name == "full_like" else operands[0]
        return number.moved(lambda array: np.broadcast_to(array, shape_of(call)))
    if name in DEFINED:
        return DEFINED[name](call, *operands)
    if name not in _OPEN_IN_OPEN_OUT:
        return _open_like(call.checked_type)
    result = _OPEN_IN_OPEN_OUT[name](call, *operands)
    if is_fast and name in _FAST:
        result = hull(result, _OPEN_IN_OPEN_OUT[_FAST[name]](call, *operands))
    varying = operands[: _VARYING.get(name, len(operands))]
    return result if name in _DECIDES else join_open(result, *varying)


def _open_like(kind: tvm.ir.Type) -> Bounds | Tuple:
    if isinstance(kind, tvm.ir.TupleType):
        return [_open_like(field) for field in kind.fields]
    return anything(tuple(int(extent) for extent in kind.shape))
