"""Which values an integer can have, from what computes it.

Identity
    Interval arithmetic over the operators that quantised networks are made of, and
    |sum of w_i x_i| <= (sum of |w_i|) * max |x_i|, filter by filter, for a convolution.

Why it matters
    To TVM and LLVM integer overflow is undefined, and what stands in one kernel with an operator
    that may overflow is simplified as if it never did.  What is read from memory, another kernel's
    result or an input, is whatever its dtype holds.

Behind the pool
    What follows it in its kernel is in one with the moved steps now: behind a relu that moved, a
    clip at 0 of a product that wraps is dropped.  That LLVM lets integers of fewer than 32 bits
    wrap does not help: TVM's own bounds of a sum or a product are those of integers without end
    (``src/arith/const_int_bound.cc``), whatever the dtype.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import prod

import numpy as np
import tvm
from tvm import relay
from tvm.ir import Op
from tvm.relay.op import OpPattern

from ..core.enclosure import FLOATS, is_integer, round_to
from ..core.intervals import dtype_range
from .activations import ACTIVATIONS
from .facts import read_constant, read_dtype, read_shape
from .patterns import AVERAGE_POOLS, MAX_POOLS, MAX_REDUCTION, PRODUCERS
from .reductions import read_reduced_axes
from .sites import FunctionGraph, op_name, read_pattern

Bound = tuple[int, int]
_POOLS = (*MAX_POOLS, MAX_REDUCTION)
_MOST = 256  # operators looked at; a deeper expression is no quantised convolution's


def read_integer_bound(value: relay.Expr) -> Bound | None:
    """Interval of an integer value.

    Parameters
    ----------
    value : relay.Expr
        Typed, of an integer dtype.

    Returns
    -------
    tuple of int or None
        None if an operator in the kernel that computes it may overflow, or is not known here.
    """
    return _Reader().read(value)


def find_overflow(values: Iterable[relay.Expr]) -> relay.Expr | None:
    """The first integer whose sign LLVM may take for known, because it does not see it overflow.

    To LLVM z * z is not negative: of max(x, cast(z * z)) it would drop a ReLU in the same kernel.
    Where the sign is open, 1 - z say, a float that it is cast to tells nothing more than its range.

    Parameters
    ----------
    values : iterable of relay.Expr
        What is computed in some kernel.
    """
    reader, unbounded = _Reader(), _Reader(is_wrapping=True)
    for value in values:
        if op_name(value) != "cast" or _is_whole(value) or not _is_signed(value.args[0]):
            continue
        whole = value.args[0]
        if reader.read(whole) is None:
            bound = unbounded.read(whole)
            if bound is None or bound[0] >= 0 or bound[1] <= 0:
                return whole
    return None


def find_overflow_behind(
    graph: FunctionGraph, pool: relay.Call, bound: Bound | None = None
) -> str | None:
    """The operator behind a pool, in its kernel, that may overflow; None if there is none.

    Parameters
    ----------
    graph : FunctionGraph
        The function.
    pool : relay.Call
        The pool.
    bound : pair of int, optional
        Interval of its values, if they are integers.
    """
    reader = _Reader({pool: bound} if bound else {}, takes_casts=True)
    for call in climb_behind(graph, pool, hides_integers):
        if _is_whole(call) and reader.read(call) is None:
            return op_name(call)
    return None


def climb_behind(
    graph: FunctionGraph, pool: relay.Call, ends: Callable[[relay.Call], bool] = lambda call: False
) -> Iterator[relay.Call]:
    """The operators behind a pool that may share its kernel, up to where `ends` is true of one."""
    # Behind a reduction a kernel of steps begins, which takes in what a pool's kernel does not.
    is_reduction = op_name(pool) == MAX_REDUCTION
    most = OpPattern.COMM_REDUCE if is_reduction else OpPattern.BROADCAST
    users = graph.climb_users(pool, lambda call: read_pattern(call) <= most and not ends(call))
    return islice(users, 1, None)


def hides_integers(call: relay.Call) -> bool:
    """True for a function of floats through which LLVM follows no integer.

    It knows int(float(i)) for i, and sums and products with whole numbers between the two casts.
    """
    if _is_whole(call):
        return False
    if op_name(call) in ("multiply", "divide"):
        return any(map(_is_fractional, call.args))
    return op_name(call) in _TRANSCENDENTAL


def _is_fractional(value: relay.Expr) -> bool:
    """True for a constant of which no element is whole, or one by one part of a whole number."""
    numbers = read_constant(value)
    if numbers is None or not np.isfinite(numbers).all():
        return False
    return bool(
        np.all(numbers != np.trunc(numbers)) and np.all(1 / numbers != np.trunc(1 / numbers))
    )


def is_cast_to_float(value: relay.Expr) -> bool:
    """True for a cast from an integer to a float."""
    return op_name(value) == "cast" and _is_whole(value.args[0]) and not _is_whole(value)


def is_cast_from_float(value: relay.Expr) -> bool:
    """True for a cast from a float to an integer."""
    return op_name(value) == "cast" and _is_whole(value) and not _is_whole(value.args[0])


def _is_signed(value: relay.Expr) -> bool:
    return (read_dtype(value) or "").startswith("int")


def _is_whole(value: relay.Expr) -> bool:
    """True for integers and bools."""
    dtype = read_dtype(value) or ""
    return is_integer(dtype) or dtype == "bool"


class _Reader:
    """Bounds of expressions, each computed once.

    Parameters
    ----------
    known : dict
        Bounds that are known before.
    is_wrapping : bool
        False if what may overflow has no bound; True if it has the one that LLVM takes it for.
    takes_casts : bool
        False if a cast from a float has no bound; True if it may be all that its dtype holds.
    """

    def __init__(
        self,
        known: dict[relay.Expr, Bound | None] | None = None,
        is_wrapping: bool = False,
        takes_casts: bool = False,
    ):
        self._known = known or {}
        self._is_wrapping = is_wrapping
        self._takes_casts = takes_casts
        self._seen = 0

    def read(self, value: relay.Expr) -> Bound | None:
        """Interval of an integer; the dtype's own for what is read from memory."""
        if value not in self._known:
            self._seen += 1
            self._known[value] = None if self._seen > _MOST else self._derive(value)
        return self._known[value]

    def _derive(self, value: relay.Expr) -> Bound | None:
        dtype, everything = read_dtype(value), _find_everything(value)
        constant = read_constant(value)
        if constant is not None:
            return (int(constant.min()), int(constant.max())) if constant.size else everything
        if isinstance(value, relay.Var):
            return everything
        if not isinstance(value, relay.Call):
            return None  # a part of a tuple, say, which may be computed on the spot
        if not isinstance(value.op, Op):
            return everything
        if value.op.name in PRODUCERS:
            return self._limit(self._bound_products(value), everything)
        if value.op.name in _POOLS:
            bound = self.read(value.args[0])  # it comes from memory
            return bound if bound and not _may_miss_data(value) else everything
        if value.op.name in _JOINS and isinstance(value.args[0], relay.Tuple):
            parts = [self.read(field) for field in value.args[0].fields]
            return None if None in parts or not parts else _hull(parts)
        if value.op.name == "cast" and not _is_whole(value.args[0]):
            clipped = _fit(_read_clipped(value.args[0]), everything)
            return clipped or (everything if self._takes_casts else None)
        operands = [self.read(a) for a in value.args if _is_whole(a)]
        if value.op.name in _WITHIN_DTYPE or dtype == "bool":
            return None if None in operands else everything
        derive = _DERIVED.get(value.op.name)
        if derive is not None:
            is_known = len(operands) == len(value.args) and None not in operands
            return self._limit(derive(value, *operands), everything) if is_known else None
        has_pattern = value.op.get_attr("TOpPattern") is not None
        # Read from memory; but a reduction behind the pool is computed in the pool's own kernel.
        return everything if has_pattern and read_pattern(value) > OpPattern.COMM_REDUCE else None

    def _limit(self, bound: Bound | None, limits: Bound) -> Bound | None:
        """The bound if the dtype can hold it, or what of it the dtype can hold."""
        if bound is None or not self._is_wrapping:
            return _fit(bound, limits)
        low, high = (min(max(end, limits[0]), limits[1]) for end in bound)
        return low, high

    def _bound_products(self, producer: relay.Call) -> Bound | None:
        """Of a convolution or dense layer, which sums in the kernel of the steps on it.

        Weights that are not known are taken for the largest of their dtype.
        """
        data, weight = producer.args[:2]
        shape = read_shape(weight.checked_type)
        if None in shape or not (_is_whole(data) and _is_whole(weight)):
            return None
        axes = _list_summed(producer, len(shape))
        values, most = read_constant(weight), max(map(abs, dtype_range(read_dtype(weight))))
        if values is None:
            weights = most * prod(shape[axis] for axis in axes)
        else:
            wide = object if values.dtype.itemsize == 8 else np.int64  # 64 bits do not hold |-2^63|
            weights = int(np.abs(values.astype(wide)).sum(axes).max(initial=0))
        read = self.read(data) or dtype_range(read_dtype(data))  # it comes from memory
        # Padding with zeros belongs to the convolution.
        largest = weights * max(abs(end) for end in read)
        return -largest, largest


def _find_everything(value: relay.Expr) -> Bound:
    """What the dtype of an integer or a bool holds."""
    dtype = read_dtype(value)
    return (0, 1) if dtype == "bool" else dtype_range(dtype)


def _list_summed(producer: relay.Call, rank: int) -> tuple[int, ...]:
    """Axes of the weights that one result sums over; all where that is not known."""
    layout = re.sub("[^A-Za-z]", "", str(getattr(producer.attrs, "kernel_layout", "")))
    if len(layout) == rank and "O" in layout:
        return tuple(axis for axis, letter in enumerate(layout) if letter != "O")
    if op_name(producer) == "nn.dense":
        return (rank - 1,)
    return tuple(range(rank))


def _read_clipped(value: relay.Expr) -> Bound | None:
    """What a clip leaves of floats, and a cast makes of that; a NaN becomes one of its bounds."""
    dtype = read_dtype(value)
    if op_name(value) != "clip" or dtype not in FLOATS:
        return None
    low, high = (round_to(np.float64(end), dtype) for end in (value.attrs.a_min, value.attrs.a_max))
    is_known = np.isfinite((low, high)).all() and low <= high
    return (int(low), int(high)) if is_known else None


def _hull(bounds: list[Bound]) -> Bound:
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _fit(bound: Bound | None, limits: Bound) -> Bound | None:
    """The bound if the dtype can hold it."""
    return bound if bound and limits[0] <= bound[0] and bound[1] <= limits[1] else None


def _same(call, data, *others):
    return data


def _add(call, left, right):
    return left[0] + right[0], left[1] + right[1]


def _subtract(call, left, right):
    return left[0] - right[1], left[1] - right[0]


def _multiply(call, left, right):
    if tvm.ir.structural_equal(*call.args):
        return _square(left)
    ends = [a * b for a in left for b in right]
    return min(ends), max(ends)


def _square(bound: Bound) -> Bound:
    ends = [end * end for end in bound]
    return 0 if bound[0] <= 0 <= bound[1] else min(ends), max(ends)


def _negative(call, data):
    return -data[1], -data[0]


def _maximum(call, left, right):
    return max(left[0], right[0]), max(left[1], right[1])


def _minimum(call, left, right):
    return min(left[0], right[0]), min(left[1], right[1])


def _relu(call, data):
    return max(data[0], 0), max(data[1], 0)


def _clip(call, data):
    low, high = (
        int(np.clip(float(e), -(2**63), 2**63)) for e in (call.attrs.a_min, call.attrs.a_max)
    )
    return None if low > high else tuple(min(max(end, low), high) for end in data)


def _quotient(call, left, right):
    """By a positive number, rounded in any way; towards zero or down."""
    return (min(left[0], 0), max(left[1], 0)) if right[0] > 0 else None


def _shifted_right(call, left, right):
    return min(left[0], 0), max(left[1], 0)


def _where(call, condition, left, right):
    return _hull([left, right])


def _pad(call, data, value):
    is_constant = str(call.attrs.pad_mode) == "constant"
    return (min(data[0], value[0]), max(data[1], value[1])) if is_constant else data


def _sum(call, data):
    shape = read_shape(call.args[0].checked_type)
    return _times(data, [shape[axis] for axis in read_reduced_axes(call)])


def _average(call, data):
    """Of its sum, which has to fit too; what is padded with is 0.

    A global or adaptive pool sums at most everything.
    """
    size = getattr(call.attrs, "pool_size", None) or read_shape(call.args[0].checked_type)
    return _times(data, [extent and int(extent) for extent in size])


def _may_miss_data(pool: relay.Call) -> bool:
    """True if a window may see nothing but padding, for which the pool gives the lowest value.

    Not where windows without gaps begin before the data ends and end after it has begun.
    """
    attrs = pool.attrs
    if not hasattr(attrs, "pool_size"):
        return False  # global and adaptive ones, and ``max``
    is_dense = all(int(step) == 1 for step in attrs.dilation) and not attrs.ceil_mode
    widest = max(int(width) for width in attrs.padding)
    return not is_dense or widest >= min(int(extent) for extent in attrs.pool_size)


def _times(bound: Bound, extents: list[int | None]) -> Bound | None:
    if None in extents:
        return None
    return min(0, bound[0] * prod(extents)), max(0, bound[1] * prod(extents))


_DERIVED: dict[str, Callable[..., Bound | None]] = {
    **dict.fromkeys(("cast", "reshape", "transpose", "layout_transform", "strided_slice"), _same),
    **dict.fromkeys(("expand_dims", "squeeze", "broadcast_to", "repeat", "copy"), _same),
    "add": _add,
    "nn.bias_add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "negative": _negative,
    "maximum": _maximum,
    "minimum": _minimum,
    "nn.relu": _relu,
    "clip": _clip,
    "right_shift": _shifted_right,
    "where": _where,
    **dict.fromkeys(("divide", "floor_divide", "trunc_divide"), _quotient),
    "nn.pad": _pad,
    "sum": _sum,
    "mean": _sum,  # a quotient of the sum, which has to fit too
    "min": _same,
    **dict.fromkeys(AVERAGE_POOLS, _average),
}

# What a library computes; of sine, cosine and tangent nothing is known.
_TRANSCENDENTAL = frozenset(
    ["power", "sin", "cos", "tan", *(name for name, row in ACTIVATIONS.items() if row.is_library)]
)
_JOINS = frozenset(["concatenate", "stack"])
# Nothing overflows in them, and they give no more than that it is a number of their dtype.
_WITHIN_DTYPE = frozenset(
    [
        *("bitwise_not", "sign", "argmax", "argmin"),
        *("fixed_point_multiply", "fixed_point_multiply_per_axis"),
    ]
)
