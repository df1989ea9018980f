"""Where in a model a NaN arises.

The origin is the first operator, in order of execution, whose result holds a NaN.  It is found by
running stock TVM: a module is built that answers of each floating-point value of the model whether
it holds one.  An answer is a single truth value, so that no value has to be kept for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import tvm
from tvm import relay

from ..core.licence import Licence
from ..relay.names import read_own_name
from ..relay.sites import op_name
from .builds import build_stock, named_failure
from .errors import UsageError
from .measure import Runner
from .models import Model

_INPUT, _CONSTANT = "the input", "a constant"


@dataclass(frozen=True)
class NanOrigin:
    """Where a NaN comes from.

    Parameters
    ----------
    operator : str
        What it arises at; ``the input`` or ``a constant`` if it was there from the start.
    name : str
        The model's name of that.
    licence : str or None
        The licence that keeps results equal all the same; None if that was the one.
    """

    operator: str
    name: str
    licence: str | None

    def __str__(self) -> str:
        verb = "stands in" if self.operator in (_INPUT, _CONSTANT) else "arises at"
        mend = "" if self.licence is None else f"; --licence {self.licence} keeps results equal"
        return (
            f"a NaN {verb} {self.operator} {self.name!r}, and what a max pool makes of one depends "
            f"on its place in the window{mend}"
        )


def find_nan(model: Model, inputs: dict[str, np.ndarray], target, device, args) -> NanOrigin | None:
    """The origin of a NaN in a run of the stock build; None if none is found.

    Parameters
    ----------
    model : Model
        The model.
    inputs : dict
        All inputs.
    target, device
        What to build for and where to run it.
    args
        The parsed command line.
    """
    order = _list_in_order(model.mod["main"].body)
    given = next(_find_given(order, {**model.params, **inputs}), None)
    found = given or _find_computed(order, model, inputs, target, device, args)
    if found is None:
        return None
    licence = Licence.parse(args.licence)
    return NanOrigin(*found, None if licence.nan else str(replace(licence, nan=True)))


def _find_given(order: list[relay.Expr], arrays: dict) -> Iterator[tuple[str, str]]:
    """Inputs and weights that hold a NaN."""
    for expr in order:
        if isinstance(expr, relay.Var) and _has_nan(arrays.get(expr.name_hint)):
            yield _INPUT, expr.name_hint
        elif isinstance(expr, relay.Constant) and _has_nan(expr.data):
            yield _CONSTANT, read_own_name(expr)


def _has_nan(array) -> bool:
    values = np.asarray(array.numpy() if hasattr(array, "numpy") else array)
    return values.dtype.kind == "f" and bool(np.isnan(values).any())


def _find_computed(order, model: Model, inputs, target, device, args) -> tuple[str, str] | None:
    """The first operator whose result holds a NaN."""
    values = [(expr, *value) for expr in order for value in _list_tensors(expr)]
    if not values:
        return None
    variable = model.mod.get_global_var("main")
    functions = dict(model.mod.functions.items())
    answers = relay.Tuple([_ask(value, dtype) for _, value, dtype in values])
    functions[variable] = relay.Function(functions[variable].params, answers)
    asking = replace(model, mod=tvm.IRModule(functions, model.mod.type_definitions))
    try:
        with named_failure(args, "run"):
            outputs = Runner(build_stock(asking, target, args), inputs, device).outputs()
    except UsageError:
        return None  # the operators alone may not compile where the whole does
    for (expr, _, _), answer in zip(values, outputs):
        if answer.any():
            return op_name(expr), read_own_name(expr)
    return None


def _list_tensors(expr: relay.Expr) -> Iterator[tuple[relay.Expr, str]]:
    """The floating-point tensors that a call or a branch computes, and their dtypes."""
    if not isinstance(expr, (relay.Call, relay.If)):
        return
    kind = expr.checked_type
    if isinstance(kind, relay.TensorType):
        fields = [(expr, kind)]
    else:
        kinds = getattr(kind, "fields", ())
        fields = [(relay.TupleGetItem(expr, k), kinds[k]) for k in range(len(kinds))]
    for value, its_kind in fields:
        if isinstance(its_kind, relay.TensorType) and "float" in its_kind.dtype:
            yield value, its_kind.dtype


def _ask(value: relay.Expr, dtype: str) -> relay.Expr:
    """Whether a value holds a NaN; TVM has isnan for float32 and float64 only."""
    wide = value if dtype == "float64" else relay.cast(value, "float32")
    return relay.any(relay.isnan(wide))


def _list_in_order(body: relay.Expr) -> list[relay.Expr]:
    """Every expression after those it is computed from; a branch or a function is one of them."""
    order: dict[relay.Expr, None] = {}
    stack = [body]
    while stack:
        waiting = [each for each in _list_operands(stack[-1]) if each not in order]
        if waiting:
            stack.extend(reversed(waiting))
        else:
            order[stack.pop()] = None
    return list(order)


def _list_operands(expr: relay.Expr) -> list[relay.Expr]:
    if isinstance(expr, relay.Call):
        return list(expr.args)
    if isinstance(expr, relay.Tuple):
        return list(expr.fields)
    return [expr.tuple_value] if isinstance(expr, relay.TupleGetItem) else []
