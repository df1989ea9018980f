"""What keeps TVM's later passes from folding moved constants into what stands behind the pool.

`relay.build` runs FoldScaleAxis and SimplifyExpr on the module that it is given.  They do not see
past a max pool; behind it they would fold a moved scale into the next convolution's weights, or two
sums into one, which round otherwise.  ``annotation.stop_fusion`` costs no kernel and stops them.
Inside a build the exchange comes after both, and needs none.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relay

from ..core.contraction import ADDITIONS
from .patterns import FENCE
from .sites import FunctionGraph, op_name
from .steps import Step

_SCALES = frozenset(["multiply", "divide"])


def needs_guard(graph: FunctionGraph, pool: relay.Call, steps: Sequence[Step]) -> bool:
    """True if moved steps, from the pool upwards, could be folded into what uses the pool."""
    further = sum(other.args[0].same_as(pool) for other in graph.max_pools)
    if graph.users(pool) == further + graph.is_output(pool):
        return False  # it is the result, or max pools alone read it
    operators = {op_name(call) for step in steps for call in step.region}
    return not operators.isdisjoint(_SCALES) or op_name(steps[0].root) in ADDITIONS


def guard(value: relay.Expr) -> relay.Expr:
    """The value, which no pass folds anything into."""
    is_guarded = op_name(value) == FENCE
    return value if is_guarded else relay.annotation.stop_fusion(value)
