"""What keeps TVM's later passes from seeing a moved step next to what stands behind the pool.

The rewrites that come after the exchange, and why none of them changes a value

===========================  ======================================================================
FlattenAtrousConv            moves the dilation of a space_to_batch into a convolution: no step
AlterOpLayout                layouts; a convolution's kernel depends on the convolution alone
SimplifyExprPostAlterOp      x + 0, x * 1 and same casts are exact; two reshapes become one; of a
                             clip, its casts and a *cast* behind them it drops what it deems
                             useless, fractions and wrap-around included: **guarded**
FastMath                     one operator at a time; fast_exp is contracted differently from kernel
                             to kernel: refused, see ``pairs.py``
FoldConstant                 computes what depends on nothing, with the same operators
FuseOps, DefuseOps           which operators share a kernel: what that changes is refused, see
                             ``core/contraction.py`` and `find_shared_scalar`
SplitArgs, PlanDevices,      no arithmetic
LabelOps, ManifestAlloc, …
tir.Simplify                 cancels float differences: refused, see ``core/contraction.py``; of
                             min, max and select it merges what is exact; integers as if they never
                             overflowed: neither the steps nor what follows them may
tir.LowerIntrin, LLVM        fused multiply-adds: refused, see ``core/contraction.py``; what LLVM
                             folds besides is exact without fast-math flags
===========================  ======================================================================

Outside a build (`reorder`, the pass in a Sequential) the whole prefix is still to come

===========================  ======================================================================
SimplifyInference            batch norm becomes a product and a sum, which the next ones see
EliminateCommonSubexpr,      the same values, computed once, or in one larger convolution
CombineParallel…
FoldScaleAxis                a *product* into the weights of what follows: **guarded**
SimplifyExpr                 two *products* or two *sums* into one, a sum and a product into a
                             product and a sum, n / *sqrt*(x) into n * rsqrt(x), and as above of
                             *cast* and *clip*: **guarded**
CanonicalizeCast,            a cast for each user; a bias becomes a sum
CanonicalizeOps
===========================  ======================================================================

    The prefix comes a second time there, and is not content with what it has left: SimplifyExpr
    runs before CanonicalizeOps makes sums of biases, and would merge them with other sums now and
    take them behind products; FoldScaleAxis runs before SimplifyExpr has moved products next to
    convolutions.  So each sum of such a pair, and each product, is guarded, exchanged or not.

The guard
    ``copy``: no rewrite knows it, it is elementwise, so that FuseOps takes it into the kernel, and
    its schedule inlines it: it costs nothing.  Where each operator is a kernel of its own it would
    be one; there ``annotation.stop_fusion`` stands, which FuseOps drops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tvm
from tvm import IRModule, relay

from ..core.contraction import ADDITIONS
from .patterns import IDENTICAL
from .sites import FunctionGraph, depends_on_input, is_closed, op_name
from .steps import NEUTRAL, Step

_NARROWING = frozenset(["cast", "clip"])  # SimplifyExprPostAlterOp drops casts behind these
_CASTS = frozenset(["cast", "cast_like"])
_SCALES = frozenset(["multiply", "divide"])  # FoldScaleAxis finds them behind other steps too
_LINEAR = frozenset(["add", "multiply"])
_MERGED = ADDITIONS.union(_NARROWING, ["sqrt"])  # SimplifyExpr merges them with what follows


def needs_guard(
    graph: FunctionGraph, pool: relay.Call, steps: Sequence[Step], in_build: bool
) -> bool:
    """True if moved steps, from the pool upwards, could be merged with what uses the pool.

    Parameters
    ----------
    graph : FunctionGraph
        The function.
    pool : relay.Call
        The pool.
    steps : sequence of Step
        The steps that move past it.
    in_build : bool
        True at the pass's place in `relay.build`, behind FoldScaleAxis and SimplifyExpr.
    """
    if in_build:
        names = (op_name(step.result) for step in steps)
        kept = next((name for name in names if name not in NEUTRAL), None)
        return kept in _NARROWING and _meets_cast(graph, pool)
    last = op_name(steps[0].result)
    further = sum(other.args[0].same_as(pool) for other in graph.max_pools)
    if graph.users(pool) == further + graph.is_output(pool):
        return False  # it is the result, or max pools alone read it
    operators = {op_name(call) for step in steps for call in step.region}
    return last in _MERGED or not operators.isdisjoint(_SCALES)


def is_merged(step: Step) -> bool:
    """True if TVM could merge a step with one that comes to stand behind it."""
    name = op_name(step.result)
    return name in _MERGED or name in _SCALES


def _meets_cast(graph: FunctionGraph, value: relay.Expr) -> bool:
    """True if a cast uses the value, or would once TVM has dropped ``x + 0`` or ``x * 1``."""
    users = graph.calls_on(value)
    if any(op_name(user) in _CASTS for user in users):
        return True
    return any(_meets_cast(graph, user) for user in users if op_name(user) in NEUTRAL)


def guard(value: relay.Expr, apart: bool) -> relay.Expr:
    """The value, which no pass merges with anything; `apart` if kernels are of one operator."""
    if op_name(value) in IDENTICAL:
        return value
    return relay.annotation.stop_fusion(value) if apart else relay.copy(value)


def guard_prepared(mod: IRModule) -> IRModule:
    """The module, prepared by the prefix, such that the prefix changes none of its values."""
    mod = _guard_operands(mod, _is_sum_to_merge)
    guarded = _guard_operands(mod, _is_beside_scale)
    if guarded is mod:
        return mod  # comparing all weights would take longer than the rest
    folded = relay.transform.FoldScaleAxis()(mod)
    return mod if tvm.ir.structural_equal(mod, folded) else guarded


_Choose = Callable[[relay.Call, relay.Expr], bool]  # of a call and one of its operands


def _is_sum_to_merge(call: relay.Call, operand: relay.Expr) -> bool:
    """True for a sum with a constant that SimplifyExpr would merge with what uses it."""
    is_linear = op_name(operand) == "add" and op_name(call) in _LINEAR
    return is_linear and _has_constant(call) and _has_constant(operand)


def _is_beside_scale(call: relay.Call, operand: relay.Expr) -> bool:
    """True for a product with a constant, and for what such a product takes."""
    return _is_scale(operand) or (_is_scale(call) and depends_on_input(operand))


def _guard_operands(mod: IRModule, choose: _Choose) -> IRModule:
    """The module with the chosen operands guarded; the same object if none is."""
    guarding, functions = _Guarding(choose), dict(mod.functions.items())
    for variable, function in functions.items():
        if isinstance(function, relay.Function):
            functions[variable] = guarding.visit(function)
    if not guarding.has_guarded:
        return mod
    made = tvm.IRModule(functions, mod.type_definitions, attrs=mod.attrs)
    return relay.transform.InferType()(made)


class _Guarding(relay.ExprMutator):
    """Guards the operands that are chosen."""

    def __init__(self, choose: _Choose):
        super().__init__()
        self.has_guarded = False
        self._choose = choose

    def visit_function(self, function: relay.Function) -> relay.Function:
        return function if is_closed(function) else super().visit_function(function)

    def visit_call(self, call: relay.Call) -> relay.Call:
        made = super().visit_call(call)
        chosen = [self._choose(call, operand) for operand in call.args]
        if not any(chosen):
            return made
        self.has_guarded = True
        args = [guard(new, False) if is_one else new for new, is_one in zip(made.args, chosen)]
        return relay.Call(made.op, args, made.attrs, made.type_args, made.span)


def _is_scale(value: relay.Expr) -> bool:
    return op_name(value) == "multiply" and _has_constant(value)


def _has_constant(call: relay.Call) -> bool:
    return not all(map(depends_on_input, call.args))
