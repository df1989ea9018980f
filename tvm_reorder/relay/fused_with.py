"""What FuseOps puts into one kernel with the steps on a value.

Rules (``src/relay/analysis/graph_partitioner.cc``)
    * A convolution, a dense layer or a pool takes along the elementwise steps behind it, up to
      the next operator of another kind or the next value with a second user.
    * Elementwise, broadcast and injective operators (sums, concatenations, transposes) join each
      other: they are one kernel, which reads and writes every value once.
    * Inputs, values with a second user and results of reductions and opaque operators are read
      from memory: the steps on them begin a kernel.
"""

from __future__ import annotations

from typing import NamedTuple

from tvm import relay
from tvm.relay.op import OpPattern

from ..core.workload import Home
from .facts import read_shape
from .patterns import AVERAGE_POOLS, MAX_POOLS
from .sites import FunctionGraph, op_name, read_pattern
from .steps import count_uses

_POOLS = frozenset([*MAX_POOLS, *AVERAGE_POOLS])
ANCHORED = (Home.PRODUCER, Home.ANOTHER_POOL)
# Scheduled like elementwise operators, see tests/relay/test_contraction.py.
_INLINED_MOVES = frozenset(["strided_slice", "transpose", "reshape", "layout_transform"])


class Kernel(NamedTuple):
    """What shares a kernel with the steps on a value.

    Parameters
    ----------
    home : Home
        As far as the value decides it.
    calls : tuple of relay.Expr
        The value and the operators above it, up to the one that makes it that home; empty if it
        is read from memory.
    """

    home: Home
    calls: tuple[relay.Expr, ...] = ()


_FROM_MEMORY = Kernel(Home.ALONE)


def find_kernel(graph: FunctionGraph, value: relay.Expr, uses: int) -> Kernel:
    """The kernel of the steps on a value, which use it `uses` times."""
    if not graph.is_private(value, uses):
        return _FROM_MEMORY
    if isinstance(value, relay.TupleGetItem):
        is_split = graph.users(value.tuple_value) > 1
        return _FROM_MEMORY if is_split else _copy(value, value.tuple_value)
    pattern = read_pattern(value)
    if pattern == OpPattern.OUT_ELEMWISE_FUSABLE:
        return Kernel(Home.ANOTHER_POOL if op_name(value) in _POOLS else Home.PRODUCER, (value,))
    if pattern == OpPattern.INJECTIVE:
        return _copy(value, *(each for each in value.args if isinstance(each, relay.Tuple)))
    if pattern > OpPattern.INJECTIVE:
        return _FROM_MEMORY
    for argument in value.args:
        above = _find_above(graph, value, argument)
        if above.home in ANCHORED:
            return Kernel(above.home, (value, *above.calls))
    return _copy(value)


def find_anchor(graph: FunctionGraph, value: relay.Expr, uses: int) -> relay.Expr:
    """The operator by which the kernel of the steps on a value is scheduled, if it is known.

    Of several convolutions FuseOps takes one along; `value` itself stands for a kernel of which
    nobody says which.
    """
    kernel = find_kernel(graph, value, uses)
    if kernel.home not in ANCHORED or any(_joins(graph, call) for call in kernel.calls[:-1]):
        return value
    return kernel.calls[-1]


def _joins(graph: FunctionGraph, call: relay.Call) -> bool:
    """True if more than one argument has a kernel that could take the call along."""
    homes = [_find_above(graph, call, argument).home for argument in dict.fromkeys(call.args)]
    return sum(home in ANCHORED for home in homes) > 1


def is_elementwise_kernel(graph: FunctionGraph, value: relay.Expr, uses: int) -> bool:
    """True if the steps on a value share a kernel with elementwise operators and moves, or none.

    TVM schedules it with AutoInlineInjective.  `uses` is how often the steps use the value.
    A convolution takes no step along that is behind a move.
    """
    shape, waiting, unmoved = read_shape(value.checked_type), {value: uses}, {value}
    while waiting:
        latest = max(waiting, key=graph.index)  # all its users have been seen
        if not graph.is_private(latest, waiting.pop(latest)):
            continue  # somebody else reads it, so it comes from memory
        pattern = read_pattern(latest)
        is_anchor = pattern == OpPattern.OUT_ELEMWISE_FUSABLE and latest in unmoved
        is_anchor = is_anchor and read_shape(latest.checked_type) == shape
        is_part = isinstance(latest, (relay.Tuple, relay.TupleGetItem))
        moves = pattern == OpPattern.INJECTIVE
        if is_anchor or is_part or (moves and op_name(latest) not in _INLINED_MOVES):
            return False
        for argument in latest.args if pattern <= OpPattern.INJECTIVE else ():
            waiting[argument] = waiting.get(argument, 0) + 1
            unmoved.update([argument] if latest in unmoved and not moves else [])
    return True


def _copy(*calls: relay.Expr) -> Kernel:
    return Kernel(Home.COPY, calls)


def _find_above(graph: FunctionGraph, value: relay.Call, argument: relay.Expr) -> Kernel:
    """The kernel of an argument, if FuseOps may take `value` along in it: it has the same shape."""
    if not isinstance(argument, relay.Call):
        return _FROM_MEMORY
    if read_shape(argument.checked_type) != read_shape(value.checked_type):
        return _FROM_MEMORY
    return find_kernel(graph, argument, count_uses(argument, [value]))
