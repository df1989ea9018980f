"""The kernel in which TVM, left to itself, computes the steps above a pool.

What FuseOps does (``src/relay/analysis/graph_partitioner.cc``)
    * A convolution, a dense layer or a pool takes along the elementwise steps behind it, up to
      the next operator of another kind or the next value with a second user.
    * Elementwise, broadcast and injective operators (sums, concatenations, transposes) join each
      other: they are one kernel, which reads and writes every value once.
    * Elementwise steps join the reduction (``max``) that reads them; nothing fuses behind one.
    * Inputs, values with a second user and results of reductions and opaque operators are read
      from memory: the steps on them begin a kernel.

Why it matters
    An exchange empties the kernel that held the steps.  If it held nothing else it goes, and with
    it a pass over the whole tensor; if not, the evaluations are all that is saved.
"""

from __future__ import annotations

from typing import NamedTuple

from tvm import relay
from tvm.ir import Op
from tvm.relay.op import OpPattern

from ..core.workload import Home
from .facts import read_shape
from .patterns import AVERAGE_POOLS, MAX_POOLS
from .reductions import is_reduction
from .rules import Match
from .rules.rule import find_roots
from .sites import FunctionGraph, op_name
from .steps import Step, count_uses, find_moves

_POOLS = frozenset(MAX_POOLS + AVERAGE_POOLS)
_ANCHORED = (Home.PRODUCER, Home.ANOTHER_POOL)


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


def find_home(graph: FunctionGraph, pool: relay.Call, match: Match, moved: int) -> Home:
    """The kernel that computes the `moved` steps next to a pool before they move."""
    steps, top = match.steps[:moved], match.pool.data_of(pool)
    joins = op_name(top) == "concatenate"
    tops = list(top.args[0].fields) if joins else [top]
    uses = count_uses(steps[-1].source, steps[-1].region)
    homes = {find_kernel(graph, find_roots(steps, each)[-1], uses).home for each in tops}
    home = homes.pop() if len(homes) == 1 else Home.COPY
    if joins:
        return home if home is Home.PRODUCER else Home.COPY
    if find_moves(steps):
        return Home.COPY
    if not all(_is_elementwise(step) for step in steps):  # a flattened PReLU, moves and back
        return Home.ALONE if home in _ANCHORED else home
    if home in _ANCHORED:
        return home
    if match.pool.pad is not None:
        return Home.COPY
    return Home.THIS_POOL if is_reduction(pool) else home


def find_kernel(graph: FunctionGraph, value: relay.Expr, uses: int) -> Kernel:
    """The kernel of the steps on a value, which use it `uses` times."""
    if not graph.is_private(value, uses):
        return _FROM_MEMORY
    if isinstance(value, relay.TupleGetItem):
        is_split = graph.users(value.tuple_value) > 1
        return _FROM_MEMORY if is_split else _copy(value, value.tuple_value)
    pattern = _read_pattern(value)
    if pattern == OpPattern.OUT_ELEMWISE_FUSABLE:
        return Kernel(Home.ANOTHER_POOL if op_name(value) in _POOLS else Home.PRODUCER, (value,))
    if pattern == OpPattern.INJECTIVE:
        return _copy(value, *(each for each in value.args if isinstance(each, relay.Tuple)))
    if pattern > OpPattern.INJECTIVE:
        return _FROM_MEMORY
    for argument in value.args:
        above = _find_above(graph, value, argument)
        if above.home in _ANCHORED:
            return Kernel(above.home, (value, *above.calls))
    return _copy(value)


def _copy(*calls: relay.Expr) -> Kernel:
    return Kernel(Home.COPY, calls)


def _find_above(graph: FunctionGraph, value: relay.Call, argument: relay.Expr) -> Kernel:
    """The kernel of an argument, if FuseOps may take `value` along in it: it has the same shape."""
    if not isinstance(argument, relay.Call):
        return _FROM_MEMORY
    if read_shape(argument.checked_type) != read_shape(value.checked_type):
        return _FROM_MEMORY
    return find_kernel(graph, argument, count_uses(argument, [value]))


def _is_elementwise(step: Step) -> bool:
    return all(_read_pattern(call) <= OpPattern.BROADCAST for call in step.region)


def _read_pattern(value: relay.Expr) -> int:
    if not isinstance(value, relay.Call) or not isinstance(value.op, Op):
        return OpPattern.OPAQUE
    pattern = value.op.get_attr("TOpPattern")
    return OpPattern.OPAQUE if pattern is None else int(pattern)
