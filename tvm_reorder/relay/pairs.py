"""The pairs of ``core/contraction.py`` around one pool, in Relay.

What counts as a product that meets a sum
    * ``multiply``; ``divide`` by a number; ``power``; ``nn.prelu``; and any operator of which
      nobody says here that its result is none, if a sum could share its kernel.
    * Any of them behind what LLVM drops or makes a sign of: negation, float casts, factors of 1
      and -1, a 0 that is added.
    * Any of them behind what only moves values.
    * Any of them behind a sum that a difference takes away again, see `_cancels`.
    * A sum that meets itself in a difference, outside a build: two pools of the same become one.
    * In a sum of two values that LLVM may choose by one comparison, any that they choose from; in
      any sum, what ``where`` chooses from: LLVM takes the sum, or a common factor, past the choice.
    * The sum is ``add``, ``subtract``, ``nn.bias_add``; behind the pool also any operator that
      could share the pool's kernel and of which nobody says here that it adds nothing.

Which pairs are not fragile
    Those that ``src/tir/transforms/lower_intrin.cc`` finds: an addition (no subtraction) with a
    product for an operand, nothing between the two.  The product is used nowhere else, or
    CommonSubexprElimTIR computes it before.

Pairs inside one operator
    * fast_exp, and exp where FastMath runs: x - n * ln(2).  fast_tanh and fast_erf have none that
      is fragile.
    * Any operator that is not known here, such as floor_mod or an interpolation.

Where pairs are looked for
    In every kernel that the exchange changes: among the steps and behind the pool, with what either
    takes besides, and among what the value below the steps is computed from without leaving its
    kernel.

Which kernel that is
    A kernel has at most 256 operators, where the one that would be too many begins another
    (``kMaxFusedOps`` in ``src/relay/transforms/fuse_ops.cc``); near that number every pair is
    fragile.
    What a step takes besides may come from a kernel that takes the step along, once its values are
    as few; that one has to be known, too (``chains.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import tvm
from tvm import relay
from tvm.ir import Op
from tvm.relay.op import OpPattern

from ..core.contraction import (
    ADDITIONS,
    BEHIND,
    PRODUCTS,
    SELECTING,
    SEPARATING,
    TRANSPARENT,
    Pair,
    is_exact,
    vanish_in_turn,
)
from ..core.monotone import MonotoneMap
from .facts import is_float, read_constant, read_dtype, read_shape
from .kernels import Kernels
from .moves import MOVES, is_move, read_moves
from .patterns import IDENTICAL, MAX_POOLS, PRODUCERS
from .sites import FunctionGraph, climb, op_name, read_pattern

_SCALED = {"multiply": (0, 1), "divide": (1,), "power": (1,)}  # where a factor of 1 may stand
_SHIFTED = {"add": (0, 1), "subtract": (1,)}  # where a 0 may stand
_KEEPS_VALUES = MOVES.union(
    [
        *("concatenate", "stack", "split", "strided_slice", "take", "tile", "repeat"),
        *("broadcast_to", "nn.batch_flatten", "nn.pad"),
    ]
)
_WHERE = "where"
_NO_SUMS = SEPARATING.union(PRODUCTS, TRANSPARENT, IDENTICAL, _KEEPS_VALUES, [_WHERE])
_FILLED = frozenset(["full", "full_like", "zeros", "zeros_like", "ones", "ones_like"])
_NO_PRODUCTS = SEPARATING.union(
    ADDITIONS,
    TRANSPARENT,
    IDENTICAL,
    _FILLED,
    PRODUCERS,
    MAX_POOLS,
    ["contrib.conv2d_max_pool2d"],
)
_FUSED_SUMS = frozenset(["add", "nn.bias_add"])  # with these products, by LowerIntrin
_FUSED_PRODUCTS = frozenset(["multiply", "divide"])
_NO_CHOICE = _NO_PRODUCTS.union(["multiply", "divide", "power"])
_MOST = 256  # operators looked at above the steps: FuseOps puts no more into a kernel
_MANY = 200  # in a kernel that the exchange may bring to that number


@dataclass(frozen=True)
class Behind:
    """What becomes of the values of a function.

    Parameters
    ----------
    summands : frozenset of relay.Expr
        Those that go into a sum, straight or passed on.
    paired : frozenset of relay.Expr
        Those behind which a product meets a sum, in a kernel that they may share.
    fragile : frozenset of relay.Expr
        Those of them with a fragile pair.
    differences : dict
        To a value what is subtracted from it, or what it is subtracted from.
    shared : frozenset of relay.Expr
        Values that are used more than once.
    graph : FunctionGraph or None
        The function.
    """

    summands: frozenset[relay.Expr] = frozenset()
    paired: frozenset[relay.Expr] = frozenset()
    fragile: frozenset[relay.Expr] = frozenset()
    differences: dict[relay.Expr, list[relay.Expr]] = field(default_factory=dict)
    shared: frozenset[relay.Expr] = frozenset()
    graph: FunctionGraph | None = None


def read_behind(graph: FunctionGraph, kernels: Kernels) -> Behind:
    """What becomes of each value, in one walk from the function's result upwards."""
    summands: set[relay.Expr] = set()
    paired: set[relay.Expr] = set()
    fragile: set[relay.Expr] = set()
    differences: dict[relay.Expr, list[relay.Expr]] = {}
    shared = frozenset(expr for expr in graph.order if graph.users(expr) > 1)
    for expr in reversed(graph.order):
        operands = _operands_in_kernel(expr)
        if _may_add(expr):
            summands.update(operands)
        elif expr in summands:
            summands.update(_find_passed_on(expr))
        met = list(_find_met(expr, kernels, shared, {}))
        if expr in paired or met:
            paired.update(operands)
        may_follow_pool = read_pattern(expr) <= OpPattern.BROADCAST
        has_own = may_follow_pool and _name_own_pair(expr, kernels) != ""
        if expr in fragile or any(each.is_fragile for each in met) or has_own:
            fragile.update(operands)
        if op_name(expr) == "subtract":
            for value, other in zip(expr.args, reversed(expr.args)):
                differences.setdefault(value, []).append(other)
        elif expr in differences and (is_move(expr) or op_name(expr) in IDENTICAL):
            differences.setdefault(expr.args[0], []).extend(differences[expr])
    sets = (frozenset(each) for each in (summands, paired, fragile))
    return Behind(*sets, differences, shared, graph)


@dataclass(frozen=True)
class PairReader:
    """Reads the pairs around the pools of one function.

    Parameters
    ----------
    kernels : Kernels
        What is known of the build's kernels.
    behind : Behind
        What becomes of the function's values.
    """

    kernels: Kernels = Kernels()
    behind: Behind = Behind()

    def read(
        self, pool: relay.Call, top: relay.Expr, base: relay.Expr, steps: Sequence
    ) -> tuple[Pair, ...]:
        """Every pair in the kernels that an exchange changes.

        Parameters
        ----------
        pool : relay.Call
            The pool.
        top, base : relay.Expr
            What the steps yield, and what they take.
        steps : sequence of Step
            The steps, from the pool upwards.
        """
        if self.kernels.apart:
            return ()
        owners = {call: k for k, step in enumerate(steps) for call in step.region}
        beyond = len(steps)
        behind = self._read_behind(pool, top, owners, beyond, steps)
        above = list_above(base)
        found = [*behind, *self._read_above(above, beyond)]
        for k, step in enumerate(steps):
            found += self._read_step(k, step, owners, beyond)
            found += self._read_inside(k, climb_operands(step))
        others, count = self.list_behind(pool)
        found += self._read_inside(BEHIND, climb_all(others))
        if max(count, len(above)) + len(owners) > _MANY:
            found = [replace(pair, is_fragile=True) for pair in found]
        return tuple(dict.fromkeys(found))

    def _read_inside(self, place: int, values: Iterable[relay.Expr]) -> Iterator[Pair]:
        """The pairs in values that are computed with the operators of a place."""
        for expr in values:
            if own := _name_own_pair(expr, self.kernels):
                yield Pair(place, place, own, True)
            for met in _find_met(expr, self.kernels, self.behind.shared, {}):
                yield Pair(place, place, met.name, met.is_fragile)

    def list_behind(self, pool: relay.Call) -> tuple[list[relay.Expr], int]:
        """What the operators in a pool's kernel behind it take besides, and how many they are."""
        if self.behind.graph is None:
            return [], 0
        behind = self.behind.graph.climb_users(
            pool, lambda call: read_pattern(call) <= OpPattern.BROADCAST
        )
        inside = dict.fromkeys(behind)
        operands = (operand for call in inside if call is not pool for operand in call.args)
        return [operand for operand in operands if operand not in inside], len(inside)

    def _read_merged(self, pool, steps) -> Iterator[Pair]:
        """Pairs that come together because EliminateCommonSubexpr makes one of two pools."""
        for other in self.behind.graph.max_pools:
            if other.same_as(pool) or not _is_alike(other, pool):
                continue
            above = list(islice(climb(other.args[0], _find_above_pool), _MOST))
            for k, step in enumerate(steps):
                if any(tvm.ir.structural_equal(step.source, each) for each in above):
                    yield Pair(BEHIND, k, "sums of two pools, of which TVM makes one,")

    def _read_behind(self, pool, top, owners, beyond, steps) -> Iterator[Pair]:
        may_choose_again = pool in self.behind.shared
        for product in _find_chosen(top, may_choose_again):
            is_product = _may_be_product(product, self.kernels)
            is_product |= may_choose_again and _is_slope(product, self.kernels)
            if pool in self.behind.summands and is_product:
                name = f"{_describe(product)} and a sum behind the pool"
                yield Pair(BEHIND, owners.get(product, beyond), name)
        others = self.behind.differences.get(pool, ())
        total = _strip_identical(top)
        if any(_cancels(total, other) for other in others):
            yield Pair(BEHIND, owners.get(total, beyond), _cancelled(total))
        if pool in self.behind.summands and not self.kernels.in_build:
            yield from self._read_merged(pool, steps)
        is_fragile = pool in self.behind.fragile
        if is_fragile or pool in self.behind.paired:
            yield Pair(BEHIND, BEHIND, "a product and a sum behind the pool", is_fragile)

    def _read_step(self, k, step, owners, beyond) -> Iterator[Pair]:
        for call in step.region:
            if own := _name_own_pair(call, self.kernels):
                yield Pair(k, k, own, True, is_own=True)
            for met in _find_met(call, self.kernels, self.behind.shared, step.maps):
                yield Pair(k, owners.get(met.product, beyond), met.name, met.is_fragile)
            for total in _cancelled_by(call):
                yield Pair(k, owners.get(total, beyond), _cancelled(total))

    def _read_above(self, found: Sequence[relay.Expr], beyond: int) -> Iterator[Pair]:
        for expr in found[:_MOST]:
            if own := _name_own_pair(expr, self.kernels):
                yield Pair(beyond, beyond, own, True, is_own=True)
            for met in _find_met(expr, self.kernels, self.behind.shared, {}):
                yield Pair(beyond, beyond, met.name, met.is_fragile)
        if len(found) > _MOST:
            yield Pair(beyond, beyond, "a product and a sum")


def list_above(base: relay.Expr) -> list[relay.Expr]:
    """A value and what is computed in its kernel, one more than a kernel has; see `_MOST`."""
    if _is_reduction(base):
        return []  # nothing of its kernel changes
    return list(islice(climb(base, _find_above), _MOST + 1))


def list_operands(step) -> list[relay.Expr]:
    """What the operators of a step take besides its data."""
    found = (operand for call in step.region for operand in call.args)
    return [each for each in found if each not in step.region and not each.same_as(step.source)]


def climb_operands(step) -> Iterator[relay.Expr]:
    """What is computed in the kernel of a step for it to take besides its data."""
    return climb_all(list_operands(step))


def climb_all(values: Iterable[relay.Expr]) -> Iterator[relay.Expr]:
    """Values and what is computed in their kernels."""
    for value in values:
        yield from islice(climb(value, _find_above), _MOST)


def _is_alike(pool: relay.Call, other: relay.Call) -> bool:
    return pool.op == other.op and bool(tvm.ir.structural_equal(pool.attrs, other.attrs))


def _find_above(expr: relay.Expr) -> list[relay.Expr]:
    """The operands that are computed in the kernel of a value: a reduction ends its own."""
    return [each for each in _operands_in_kernel(expr) if not _is_reduction(each)]


def _find_above_pool(expr: relay.Expr) -> Iterable[relay.Expr]:
    """The operands in the kernel of a value, or of a max pool."""
    return expr.args if op_name(expr) in MAX_POOLS else _operands_in_kernel(expr)


class Met(NamedTuple):
    """A product that meets a sum."""

    product: relay.Expr
    name: str
    is_fragile: bool


def _find_met(
    call: relay.Expr,
    kernels: Kernels,
    shared: frozenset[relay.Expr],
    maps: dict[relay.Expr, MonotoneMap],
) -> Iterator[Met]:
    """The products that meet a call, if it is a sum, and make a difference there."""
    for argument, product in _products_of(call, kernels):
        if not _is_harmless(call, argument, product, maps):
            name = f"{_describe(product)} and {op_name(call)}"
            yield Met(product, name, _is_fragile(call, argument, product, shared))


def _products_of(expr: relay.Expr, kernels: Kernels) -> Iterator[tuple[relay.Expr, relay.Expr]]:
    """The arguments of a sum that are products, or pass one on, each with the product."""
    if not _may_add(expr):
        return
    both_choose = all(_may_choose(strip(argument)) for argument in expr.args)
    for argument in expr.args:
        for product in _find_chosen(argument, both_choose):
            if _may_be_product(product, kernels) or (both_choose and _is_slope(product, kernels)):
                yield argument, product


def _may_choose(expr: relay.Expr) -> bool:
    """True if a value may be one of two, by a comparison."""
    is_operator = isinstance(expr, relay.Call) and isinstance(expr.op, Op)
    return is_operator and (op_name(expr) in SELECTING or op_name(expr) not in _NO_CHOICE)


def _is_slope(expr: relay.Expr, kernels: Kernels) -> bool:
    """True for a leaky ReLU, which chooses between a value and a product."""
    return op_name(expr) == "nn.leaky_relu" and kernels.may_contract(read_dtype(expr) or "")


def _find_chosen(argument: relay.Expr, by_any: bool) -> Iterator[relay.Expr]:
    """The value, and what ``where`` chooses it from; `by_any`, what any operator does."""

    def find_above(value: relay.Expr) -> Iterable[relay.Expr]:
        if op_name(value) == _WHERE:
            return map(strip, value.args[1:])
        return map(strip, value.args) if by_any and op_name(value) in SELECTING else ()

    return climb(strip(argument), find_above)


def _is_fragile(
    call: relay.Call, argument: relay.Expr, product: relay.Expr, shared: frozenset[relay.Expr]
) -> bool:
    """True if TVM does not make one operation of a sum and the product in its argument."""
    is_written = op_name(call) in _FUSED_SUMS and op_name(product) in _FUSED_PRODUCTS
    return not is_written or product in shared or not _strip_identical(argument).same_as(product)


def _name_own_pair(expr: relay.Expr, kernels: Kernels) -> str:
    """A fragile pair inside an operator, empty if there is none."""
    name = op_name(expr)
    has_own = name == "fast_exp" or (kernels.fast_math and name == "exp")
    is_known = name in _NO_SUMS or name in _NO_PRODUCTS or _repeats(expr)
    if read_pattern(expr) > OpPattern.INJECTIVE or (is_known and not has_own):
        return ""
    may_contract = kernels.may_contract(read_dtype(expr) or "")
    return f"products and sums inside {name}" if may_contract else ""


def _repeats(expr: relay.Expr) -> bool:
    """True for an upsampling that gives each value several times, and computes none."""
    return op_name(expr) == "nn.upsampling" and expr.attrs.method == "nearest_neighbor"


def _may_be_product(expr: relay.Expr, kernels: Kernels) -> bool:
    """True if LLVM may see a float product in a value, which is not passed on by anything."""
    if isinstance(expr, relay.TupleGetItem):
        return True
    if not isinstance(expr, relay.Call) or not isinstance(expr.op, Op):
        return False
    name = op_name(expr)
    if name == _WHERE or name in _NO_PRODUCTS or not kernels.may_contract(read_dtype(expr) or ""):
        return False
    if name == "divide":
        return all(extent == 1 for extent in read_shape(expr.args[1].checked_type))
    return name in PRODUCTS or read_pattern(expr) not in (OpPattern.COMM_REDUCE, OpPattern.OPAQUE)


def _describe(product: relay.Expr) -> str:
    name = op_name(product)
    return name if name in PRODUCTS else f"{name}, which may end in a product,"


def _may_add(expr: relay.Expr) -> bool:
    """True if an expression may add to its arguments in their kernel."""
    return op_name(expr) not in _NO_SUMS and read_pattern(expr) <= OpPattern.COMM_REDUCE


def _is_reduction(expr: relay.Expr) -> bool:
    """True for what FuseOps takes into the kernel of nothing that uses it."""
    return read_pattern(expr) == OpPattern.COMM_REDUCE


def _operands_in_kernel(expr: relay.Expr) -> Sequence[relay.Expr]:
    """The operands that may be computed in the kernel of a value."""
    if isinstance(expr, relay.Tuple):
        return expr.fields
    if isinstance(expr, relay.TupleGetItem):
        return [expr.tuple_value]
    return expr.args if read_pattern(expr) <= OpPattern.COMM_REDUCE else []


def _find_passed_on(expr: relay.Expr) -> Sequence[relay.Expr]:
    """The operands of which a value is made without computing."""
    if isinstance(expr, (relay.Tuple, relay.TupleGetItem)) or op_name(expr) in _KEEPS_VALUES:
        return _operands_in_kernel(expr)
    if op_name(expr) == _WHERE:
        return expr.args[1:]
    passed = find_passed(expr)
    return [] if passed is None else [passed]


def find_passed(expr: relay.Expr) -> relay.Expr | None:
    """The value of which an operator gives at most another sign or dtype; None for others."""
    name = op_name(expr)
    if name in TRANSPARENT or name in IDENTICAL:
        return expr.args[0] if is_float(expr.args[0]) else None
    if name == "nn.leaky_relu":
        return expr.args[0] if abs(float(expr.attrs.alpha)) == 1 else None
    remaining = next(_find_remaining(expr), None)
    if remaining is not None:
        return remaining
    for position in (*_SCALED.get(name, ()), *_SHIFTED.get(name, ())):
        operand = read_constant(expr.args[position])
        if operand is not None and _is_neutral(operand, name):
            return expr.args[1 - position]
    return None


def _is_neutral(operand: np.ndarray, name: str) -> bool:
    values = operand.astype(np.float64)
    if name in _SHIFTED:
        return not np.any(values)
    return bool(np.all(values == 1 if name == "power" else np.abs(values) == 1))


def strip(expr: relay.Expr) -> relay.Expr:
    """What is above the moves and the steps that pass values on."""
    while True:
        above = read_moves(expr)[1]
        passed = find_passed(above)
        if passed is None:
            return above
        expr = passed


def _strip_identical(expr: relay.Expr) -> relay.Expr:
    while is_move(expr) or op_name(expr) in IDENTICAL:
        expr = expr.args[0]
    return expr


# --- what makes no difference ---------------------------------------------------------------------


def _is_harmless(call, argument, product, maps) -> bool:
    """True if a product and a sum are the same rounded once or twice."""
    if op_name(call) not in ADDITIONS:
        return False
    (other,) = [a for a in call.args if not a.same_as(argument)] or [argument]
    if argument in maps and other in maps:
        return vanish_in_turn(maps[argument], maps[other])
    scale, addend = _read_scale(product), read_constant(other)
    dtype = read_dtype(product)
    is_known = scale is not None and addend is not None and read_dtype(call) == dtype
    return is_known and dtype.startswith("float") and is_exact(scale, addend, dtype)


def _read_scale(product: relay.Call) -> np.ndarray | None:
    """The constant factor of a product, None if there is none."""
    if op_name(product) == "divide":
        divisor = read_constant(product.args[1])
        with np.errstate(all="ignore"):
            return None if divisor is None else 1 / divisor
    if op_name(product) != "multiply":
        return None
    values = [read_constant(argument) for argument in product.args]
    return values[0] if values[0] is not None else values[1]


# --- what TVM cancels -----------------------------------------------------------------------------


def _cancelled_by(call: relay.Expr) -> Iterator[relay.Expr]:
    """The sums of which a difference takes one term away again."""
    if op_name(call) != "subtract":
        return
    for value, other in zip(call.args, reversed(call.args)):
        total = _strip_identical(value)
        if _cancels(total, other):
            yield total


def _find_remaining(call: relay.Expr) -> Iterator[relay.Expr]:
    """What a difference leaves of the sums that it cancels: x of (x + y) - y, y of x - (x + y)."""
    if op_name(call) != "subtract":
        return
    for value, other in zip(call.args, reversed(call.args)):
        total = _strip_identical(value)
        if _cancels(total, other):
            first, second = total.args
            yield second if _is_same(_strip_identical(first), _strip_identical(other)) else first


def _cancels(total: relay.Expr, other: relay.Expr) -> bool:
    if op_name(total) not in ("add", "nn.bias_add"):
        return False
    if not is_float(total):
        return False
    return any(_is_same(_strip_identical(term), _strip_identical(other)) for term in total.args)


def _is_same(left: relay.Expr, right: relay.Expr) -> bool:
    values = read_constant(left), read_constant(right)
    if values[0] is not None and values[1] is not None:
        return np.array_equal(values[0].squeeze(), values[1].squeeze())
    return left.same_as(right) or bool(tvm.ir.structural_equal(left, right))


def _cancelled(total: relay.Expr) -> str:
    return f"{op_name(total)} and a subtraction of the same"
