"""Values that have to stay in one kernel with the step behind them.

TVM 0.19 computes them otherwise, or not at all, where a kernel ends behind them: one whose storage
is narrower than its type, and one whose bits are taken for its number.
"""

from __future__ import annotations

from tvm import relay

from ..core.enclosure import is_integer
from ..core.refusal import Reason, Refusal
from .facts import read_dtype
from .patterns import AVERAGE_POOLS
from .sites import op_name

_KEEPS_STORAGE = ("clip", "maximum", "minimum", "add", "subtract", "nn.relu")


def find_inseparable(value: relay.Expr) -> Refusal | None:
    """Set for a value that may not be parted from the step behind it.

    Parameters
    ----------
    value : relay.Expr
        What the step takes.
    """
    return _find_narrow_product(value) or _find_misread(value)


def _find_narrow_product(value: relay.Expr) -> Refusal | None:
    """TVM computes in 32 bits what Relay says has more or fewer, and what follows up to a cast.

    A kernel that ends there would not fit its storage: ``fixed_point_multiply`` of int64, and
    average pools of small integers, whose divisor is an int32 (``topi/nn/pooling.h``).
    """
    dtype, product = read_dtype(value), value
    while op_name(product) in _KEEPS_STORAGE and read_dtype(product.args[0]) == dtype:
        product = product.args[0]
    name = op_name(product)
    differs = name.startswith("fixed_point_multiply") and dtype != "int32"
    differs |= name in AVERAGE_POOLS and is_integer(dtype) and dtype not in ("int32", "int64")
    if not differs:
        return None
    return Refusal(
        Reason.CONTRACTION,
        f"{name} of {dtype}",
        "separated from the cast behind it (TVM stores 32 bits of it)",
        "in one kernel with it",
    )


def _find_misread(value: relay.Expr) -> Refusal | None:
    """What stands behind a concatenation of bfloat16 in its kernel takes the bits for the number.

    1 is 16256 there.  TVM 0.19 copies such tensors as uint16 (``topi/x86/concat.py``, an extern
    that BF16StorageLegalize does not look into); a step in a kernel of its own reads them rightly.
    """
    if op_name(value) != "concatenate" or read_dtype(value) != "bfloat16":
        return None
    return Refusal(
        Reason.NOT_COMPILED,
        "concatenate of bfloat16",
        "separated from the step behind it (TVM miscompiles the two in one kernel)",
        "in one kernel with it, as stock TVM has it",
    )
