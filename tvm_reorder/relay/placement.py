"""The kernel in which TVM, left to itself, computes the steps above a pool.

What joins what is in ``fused_with.py``.  Besides, elementwise steps join the reduction (``max``)
that reads them, and nothing fuses behind one.

Why it matters
    An exchange empties the kernel that held the steps.  If it held nothing else it goes, and with
    it a pass over the whole tensor; if not, the evaluations are all that is saved.
"""

from __future__ import annotations

from tvm import relay
from tvm.relay.op import OpPattern

from ..core.workload import Home
from .fused_with import ANCHORED, find_kernel
from .reductions import is_reduction
from .rules import Match
from .rules.rule import find_roots
from .sites import FunctionGraph, op_name, read_pattern
from .steps import Step, count_uses, find_moves


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
        return Home.ALONE if home in ANCHORED else home
    if home in ANCHORED:
        return home
    if match.pool.pad is not None:
        return Home.COPY
    return Home.THIS_POOL if is_reduction(pool) else home


def _is_elementwise(step: Step) -> bool:
    return all(read_pattern(call) <= OpPattern.BROADCAST for call in step.region)
