"""Float products that meet a sum.

Identity
    fma(a, b, c) rounds a * b + c once.  LLVM makes one of a product and a sum in one kernel, so an
    exchange neither takes such a pair apart nor makes a new one.

What counts as a product
    * ``multiply``; ``divide`` by a number, which TVM writes as a product with 1 / c; ``power``,
      because LLVM squares for an exponent of 2.
    * Any of them behind what LLVM drops or makes a sign of: negation, casts, factors of 1 and -1.
    * Any of them behind what only moves values.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from tvm import relay

from ..core.contraction import ADDITIONS, PRODUCTS, TRANSPARENT
from .facts import read_constant, read_dtype, read_shape
from .moves import is_move, read_moves
from .sites import FunctionGraph, op_name

_DROPPED = TRANSPARENT.union(["annotation.stop_fusion"])
_SCALED = {"multiply": (0, 1), "divide": (1,), "power": (1,)}  # where a factor of 1 may stand


def is_product(expr: relay.Expr) -> bool:
    """True for a float product, as far as LLVM sees."""
    expr = _strip(expr)
    if not (read_dtype(expr) or "").startswith(("float", "bfloat")):
        return False
    if op_name(expr) == "divide":
        return all(extent == 1 for extent in read_shape(expr.args[1].checked_type))
    return op_name(expr) in PRODUCTS


def find_passed(expr: relay.Expr) -> relay.Expr | None:
    """The value of which a step gives at most another sign or dtype; None for other steps."""
    name = op_name(expr)
    if name in _DROPPED:
        return expr.args[0]
    if name == "nn.leaky_relu":
        return expr.args[0] if abs(float(expr.attrs.alpha)) == 1 else None
    for position in _SCALED.get(name, ()):
        factor = read_constant(expr.args[position])
        if factor is not None and _is_one(factor, name):
            return expr.args[1 - position]
    return None


def adds(call: relay.Expr, value: relay.Expr) -> bool:
    """True for an addition of the value, or of what passes it on."""
    return op_name(call) in ADDITIONS and any(
        _strip(argument, value).same_as(value) for argument in call.args
    )


def is_added(steps: Iterable[relay.Expr]) -> bool:
    """True if the first of some steps, the next above a product, or what it is passed to, adds."""
    for step in steps:
        if op_name(step) in ADDITIONS:
            return True
        if find_passed(step) is None:
            return False
    return False


def find_summands(graph: FunctionGraph) -> set[relay.Expr]:
    """The values that go into a sum, straight or passed on."""
    found: set[relay.Expr] = set()
    for expr in reversed(graph.order):
        if op_name(expr) in ADDITIONS:
            found.update(expr.args)
        elif expr in found:
            passed = expr.args[0] if is_move(expr) else find_passed(expr)
            found.update([] if passed is None else [passed])
    return found


def _strip(expr: relay.Expr, until: relay.Expr | None = None) -> relay.Expr:
    """What is above the moves and the steps that pass values on."""
    while not expr.same_as(until):
        above = read_moves(expr)[1]
        passed = find_passed(above)
        if passed is None:
            return above
        expr = passed
    return expr


def _is_one(factor: np.ndarray, name: str) -> bool:
    values = factor.astype(np.float64)
    return bool(np.all(values == 1 if name == "power" else np.abs(values) == 1))
