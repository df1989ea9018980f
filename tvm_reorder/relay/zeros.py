"""Where the sign of a zero makes more of a difference than that sign.

An exchange may yield -0 where the network as it was yields +0, because max(+0, -0) depends on the
order.  The two compare equal, and most of what follows keeps them so; 1 / x does not.

What forgets the sign
    * f with f(-0) = f(+0): exp, |x|, x * x, comparisons, a clip above 0.
    * x + c with a number c other than 0: a sum that cancels to zero is +0.
    * Sums of products and averages: they start from +0, and +0 - 0 is +0.

Where a value may go into a closure, a constructor or a reference, nobody follows it here: any
reader in the function may be its reader.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import relay
from tvm.ir import Op

from ..core.contraction import ADDITIONS
from .facts import read_constant, read_dtype
from .patterns import AVERAGE_POOLS, PRODUCERS
from .sites import FunctionGraph, op_name

_DIVISIONS = frozenset(["divide", "floor_divide", "trunc_divide"])
_READERS = _DIVISIONS.union(["rsqrt", "power", "reinterpret"])
_FORGETFUL = PRODUCERS.union(
    AVERAGE_POOLS,
    ["exp", "fast_exp", "sigmoid", "cos", "cosh", "abs", "nn.softmax", "nn.log_softmax"],
    ["sum", "mean", "argmax", "argmin", "nn.matmul", "nn.fast_softmax", "one_hot"],
    ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"],
)


def find_sign_readers(graph: FunctionGraph, others_divide: bool) -> dict[relay.Expr, str]:
    """The values whose zeros' signs matter, each with the operator to which they do.

    Parameters
    ----------
    graph : FunctionGraph
        The function.
    others_divide : bool
        True if other functions of the module may tell its zeros apart.
    """
    if not others_divide and graph.operators.isdisjoint(_READERS):
        return {}
    backwards = graph.order[::-1]
    if any(map(_is_hidden, backwards)):
        return dict.fromkeys(backwards, "a function that is a value, or what it is called with")
    stands_for = _find_values(backwards)
    found: dict[relay.Expr, str] = (
        {graph.function.body: "another function"} if others_divide else {}
    )
    known = -1
    while known < len(found):  # the body of a function may come later than its arguments
        known = len(found)
        for expr in backwards:
            for value, reader in _read(expr, found, others_divide):
                found.setdefault(value, reader)
                found.update({other: reader for other in stands_for.get(value, ())})
    return found


def _is_hidden(expr: relay.Expr) -> bool:
    """True for what takes values along unseen: closures, constructors, matches and references."""
    if isinstance(expr, relay.Call):
        return not isinstance(expr.op, (Op, relay.Function, relay.GlobalVar))
    return isinstance(expr, (relay.Match, relay.RefCreate, relay.RefRead, relay.RefWrite))


def _find_values(order) -> dict[relay.Expr, list[relay.Expr]]:
    """What the variables of lets and of functions called on the spot stand for."""
    values: dict[relay.Expr, list[relay.Expr]] = {}
    for expr in order:
        if isinstance(expr, relay.Let):
            values.setdefault(expr.var, []).append(expr.value)
        elif isinstance(expr, relay.Call) and isinstance(expr.op, relay.Function):
            for variable, argument in zip(expr.op.params, expr.args):
                values.setdefault(variable, []).append(argument)
    return values


def has_readers(function: relay.Function) -> bool:
    """True if a function may tell the zeros apart that it is given."""
    names: set[str] = set()
    relay.analysis.post_order_visit(function, lambda e: names.add(op_name(e)))
    return not names.isdisjoint(_READERS)


def _read(
    expr: relay.Expr, found: dict[relay.Expr, str], others_divide: bool
) -> list[tuple[relay.Expr, str]]:
    """The operands whose zeros an expression reads, itself or by what is made of it."""
    further = found.get(expr)
    if isinstance(expr, relay.Call) and isinstance(expr.op, Op):
        readers = ((a, _find_reader(expr, n, further)) for n, a in enumerate(expr.args))
        return [(argument, reader) for argument, reader in readers if reader is not None]
    if isinstance(expr, relay.Call):
        if isinstance(expr.op, relay.Function):
            return [(expr.op.body, further)] if further else []
        return [(argument, "another function") for argument in expr.args if others_divide]
    if further is None:
        return []
    return [(operand, further) for operand in _operands_of(expr)]


def _operands_of(expr: relay.Expr) -> Sequence[relay.Expr]:
    """What the value of an expression other than a call is, or holds."""
    if isinstance(expr, relay.Tuple):
        return expr.fields
    if isinstance(expr, relay.TupleGetItem):
        return [expr.tuple_value]
    if isinstance(expr, relay.Let):
        return [expr.body]
    return [expr.true_branch, expr.false_branch] if isinstance(expr, relay.If) else []


def _find_reader(call: relay.Call, position: int, further: str | None) -> str | None:
    """What reads an argument's zeros: the call itself, or what reads its result."""
    name = call.op.name
    if not (read_dtype(call.args[position]) or "float").startswith(("float", "bfloat")):
        return None
    if name == "power" and position == 0:
        return _read_by_power(call, further)
    if name in _READERS and (name not in _DIVISIONS or position == 1):
        return name
    return None if further is None or _forgets_sign(call, position) else further


def _read_by_power(call: relay.Call, further: str | None) -> str | None:
    exponent = read_constant(call.args[1])
    if exponent is None:
        return "power"
    odd = exponent[exponent % 2 == 1]
    return further if (odd > 0).all() and odd.size else "power" if odd.size else None


def _forgets_sign(call: relay.Call, position: int) -> bool:
    name = call.op.name
    if name in _FORGETFUL:
        return True
    if name == "cast":
        return not str(call.attrs.dtype).startswith(("float", "bfloat"))
    if name == "clip":
        return float(call.attrs.a_min) > 0 or float(call.attrs.a_max) < 0
    if name == "multiply" and call.args[0].same_as(call.args[1]):
        return True
    if name not in ADDITIONS.union(["maximum", "minimum"]):
        return False
    other = read_constant(call.args[1 - position])
    if other is None:
        return False
    wanted = {"maximum": other > 0, "minimum": other < 0}.get(name, other != 0)
    return bool(np.all(wanted))
