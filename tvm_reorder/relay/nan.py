"""Which operators give NaN for NaN as TVM compiles them.

Compiled and run, every one, by ``tests/relay/test_nan.py`` on llvm/x86-64.  Absent on purpose:
nn.relu, clip, sign, maximum and minimum (a NaN loses every comparison) and fast_erf, which clips.
Of casts those between floats: as a bool a NaN is true, as an integer it is undefined.
"""

from __future__ import annotations

from collections.abc import Iterable

from tvm import relay

from ..core.measured import MEASURED_TARGET
from .facts import is_float
from .scene import Scene
from .sites import op_name

KEEPS_NAN = frozenset(
    [
        *("copy", "ceil", "floor", "round", "trunc", "cast", "negative", "abs"),
        *("add", "subtract", "multiply", "divide", "nn.bias_add"),
        *("nn.leaky_relu", "nn.prelu"),
        *("sigmoid", "tanh", "exp", "log", "log2", "log10", "sqrt", "rsqrt", "erf", "sinh", "cosh"),
    ]
)
_LOST_BY_FAST_MATH = frozenset(["erf"])


def do_keep_nan(calls: Iterable[relay.Call], scene: Scene) -> bool:
    """True if each of the calls is known to give NaN for NaN."""
    kept = KEEPS_NAN - (_LOST_BY_FAST_MATH if scene.certified.fast_math else frozenset())
    are_kept = all(op_name(call) in kept and is_float(call) for call in calls)
    return are_kept and scene.target == MEASURED_TARGET
