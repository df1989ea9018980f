"""Scalar functions as Relay expressions of one variable, and their canonical text.

The text names every operator with its attributes and every constant exactly (``float.hex``).  The
operands of a commutative operator are ordered by their text, constants last, so that x * f(x) and
f(x) * x are one function; a sum of two products keeps its order, because which of the two is
contracted with the sum may depend on it.  TVM writes a number without axes into the code, and
divides by it with a product; one with axes is loaded, and has brackets in the text.  TVM takes away
what is added if it is loaded from the same place, not if it is equal: one that occurs several times
has a number behind its brackets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relay
from tvm.ir import Op

from ..core.contraction import ADDITIONS, PRODUCTS, TRANSPARENT
from ..core.measured import FAST_MATH

_COMMUTATIVE = frozenset(["add", "multiply", "maximum", "minimum"])
_SEEN_THROUGH = TRANSPARENT.union(["nn.leaky_relu"])
_OPERATORS = re.compile(r"[\w.]+(?=\()")
_FIRST_MARK = 0xE000  # Unicode's private characters: loaded constants, until they are numbered
_MARK = re.compile("[\ue000-\uf8ff]")
# Said to be pointwise, but what they give depends on the shape or the place, or what they take.
_SHAPING = frozenset(
    [
        *("broadcast_to", "broadcast_to_like", "expand_dims", "repeat", "tile", "trilu"),
        *("nn.bias_add", "nn.prelu"),
    ]
)
_ELEMENTWISE, _BROADCAST = 0, 1  # TOpPattern, include/tvm/relay/op_attr_types.h


@dataclass(frozen=True)
class ScalarFunction:
    """A function from one float to one float; two of the same text and dtype are equal.

    Parameters
    ----------
    text : str
        Its canonical text.
    dtype : str
        Dtype of its argument.
    constants : tuple of str
        The constants in it, in the text's order.
    body : relay.Expr
        Its value.
    variable : relay.Var
        Its argument, a scalar; `with_length` gives another.
    """

    text: str
    dtype: str
    constants: tuple[str, ...]
    body: relay.Expr = field(compare=False)
    variable: relay.Var = field(compare=False)

    @property
    def operators(self) -> frozenset[str]:
        """Names of the operators in it."""
        return frozenset(_OPERATORS.findall(self.text))

    @property
    def may_contract(self) -> bool:
        """True if it has products and sums, which LLVM makes fused multiply-adds in one kernel."""
        return not (self.operators.isdisjoint(PRODUCTS) or self.operators.isdisjoint(ADDITIONS))

    @property
    def differs_apart(self) -> bool:
        """True if several kernels may compute it otherwise than one.

        In one, products are contracted with sums, what is added is taken away again, and casts are
        merged.
        """
        names = _OPERATORS.findall(self.text)
        return self.may_contract or "cast" in names or sum(name in ADDITIONS for name in names) > 1

    def with_length(self, length: int) -> tvm.IRModule:
        """A typed module that applies the function to a vector ``x``."""
        vector = relay.var("x", shape=(length,), dtype=self.dtype)
        body = relay.bind(self.body, {self.variable: vector})
        mod = tvm.IRModule.from_expr(relay.Function([vector], body))
        return relay.transform.InferType()(mod)


def make_function(body: relay.Expr, variable: relay.Var) -> ScalarFunction | None:
    """The function that an expression of one scalar variable is.

    Returns
    -------
    ScalarFunction or None
        None if it has a constant with more than one element, another variable, an operator that
        is not elementwise, or does not use its variable.
    """
    constants: list[str] = []
    text = _write(body, variable, constants, {})
    if text is None or not _uses(body, variable):
        return None
    text = _number_repeated(text)
    return ScalarFunction(text, variable.type_annotation.dtype, tuple(constants), body, variable)


def with_fast_math(function: ScalarFunction) -> ScalarFunction:
    """The function with FastMath's operators in it, as opt_level 4 compiles it."""

    class Replace(relay.ExprMutator):
        def visit_call(self, call):
            call = super().visit_call(call)
            name = FAST_MATH.get(call.op.name)
            return relay.Call(relay.op.get(name), call.args) if name else call

    return make_function(Replace().visit(function.body), function.variable)


def make_variable(dtype: str) -> relay.Var:
    """The scalar variable of a function."""
    return relay.var("x", shape=(), dtype=dtype)


def _uses(body: relay.Expr, variable: relay.Var) -> bool:
    return any(free.same_as(variable) for free in relay.analysis.free_vars(body))


_Marks = dict[relay.Constant, str]


def _number_repeated(text: str) -> str:
    """The text with a number for each loaded constant that occurs several times, no other mark."""
    marks = _MARK.findall(text)
    repeated = [mark for mark in dict.fromkeys(marks) if marks.count(mark) > 1]
    numbers = {mark: f"#{number}" for number, mark in enumerate(repeated, 1)}
    return _MARK.sub(lambda match: numbers.get(match[0], ""), text)


def _write(
    expr: relay.Expr, variable: relay.Var, constants: list[str], marks: _Marks
) -> str | None:
    if expr.same_as(variable):
        return "x"
    if isinstance(expr, relay.Constant):
        return _write_constant(expr, constants, marks)
    if not isinstance(expr, relay.Call) or not isinstance(expr.op, Op) or not _is_scalar(expr.op):
        return None
    parts = []
    for argument in expr.args:
        inner: list[str] = []
        text = _write(argument, variable, inner, marks)
        if text is None:
            return None
        parts.append((isinstance(argument, relay.Constant), len(text), text, inner))
    if expr.op.name in _COMMUTATIVE and not _is_sum_of_products(expr):
        parts.sort(key=lambda part: part[:3])
    for part in parts:
        constants.extend(part[3])
    words = [part[2] for part in parts] + _write_attributes(expr, constants)
    return f"{expr.op.name}({', '.join(words)})"


def _write_constant(expr: relay.Constant, constants: list[str], marks: _Marks) -> str | None:
    values = expr.data.numpy()
    if values.size != 1:
        return None
    if expr.data.dtype == "bfloat16":  # handed out as uint16
        values = (values.astype(np.uint32) << 16).view(np.float32)
    value = values.ravel()[0]
    text = hex(value) if values.dtype.kind in "iu" else float(value).hex()
    constants.append(text)
    if not values.shape:
        return text
    return f"[{text}]{marks.setdefault(expr, chr(_FIRST_MARK + len(marks)))}"


def _write_attributes(call: relay.Call, constants: list[str]) -> list[str]:
    words = []
    for name in sorted(call.attrs.keys()) if call.attrs is not None else ():
        value = getattr(call.attrs, name)
        if isinstance(value, float):
            value = value.hex()
            constants.append(value)
        words.append(f"{name}={value}")
    return words


def _is_scalar(op: Op) -> bool:
    pattern = op.get_attr("TOpPattern")
    is_pointwise = pattern is not None and int(pattern) in (_ELEMENTWISE, _BROADCAST)
    return is_pointwise and op.name not in _SHAPING


def _is_sum_of_products(call: relay.Call) -> bool:
    return call.op.name == "add" and all(map(_may_be_product, call.args))


def _may_be_product(expr: relay.Expr) -> bool:
    """True for a product, also behind steps that LLVM sees through."""
    while isinstance(expr, relay.Call) and expr.op.name in _SEEN_THROUGH:
        expr = expr.args[0]
    return isinstance(expr, relay.Call) and expr.op.name in PRODUCTS
