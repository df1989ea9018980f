"""A tensor on its way through a random graph: its expression, and what its axes mean."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import tvm
from tvm import relay

FLOATS = ("float16", "bfloat16", "float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32")
DTYPES = (*FLOATS, *SIGNED, *UNSIGNED, "bool")
_SPATIAL = "DHW"


@dataclass(frozen=True)
class Value:
    """A tensor of a random graph.

    Parameters
    ----------
    expr : relay.Expr
        What computes it.
    axes : str
        A letter for each axis, as in TVM's layouts: ``"NCHW"``, ``"NHWC"``, ``"NCHWc"``.
    """

    expr: relay.Expr
    axes: str

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Its extents."""
        return tuple(int(extent) for extent in self._type.shape)

    @cached_property
    def dtype(self) -> str:
        """Its dtype."""
        return str(self._type.dtype)

    @cached_property
    def _type(self) -> tvm.ir.TensorType:
        return type_of(self.expr)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Positions of the axes that a pool goes over."""
        return tuple(n for n, letter in enumerate(self.axes) if letter in _SPATIAL)

    @property
    def is_poolable(self) -> bool:
        """True if TVM has a pool for these axes: W, HW or DHW, in any order."""
        return "".join(sorted(self.axes[n] for n in self.spatial)) in ("W", "HW", "DHW")

    @property
    def channel(self) -> int:
        """Position of the channels' axis; the last one where there is none."""
        return self.axes.index("C") if "C" in self.axes else max(0, len(self.axes) - 1)

    @property
    def layout(self) -> str:
        """The axes as TVM spells them, with the extent of each axis that is a part of one."""
        pairs = zip(self.axes, self.shape)
        return "".join(f"{n}{letter}" if letter.islower() else letter for letter, n in pairs)

    def to(self, expr: relay.Expr, axes: str | None = None) -> Value:
        """Another tensor, whose axes mean the same unless they are given."""
        return Value(expr, self.axes if axes is None else axes)


def type_of(expr: relay.Expr) -> tvm.ir.TensorType:
    """The type of an expression whose operands have types."""
    return relay.transform.InferTypeLocal(expr)


def is_float(dtype: str) -> bool:
    """True for the dtypes that have infinities and NaN."""
    return dtype in FLOATS


def is_integer(dtype: str) -> bool:
    """True for the dtypes of whole numbers."""
    return dtype in SIGNED or dtype in UNSIGNED


def is_signed(dtype: str) -> bool:
    """True for the dtypes of whole numbers below 0 too."""
    return dtype in SIGNED


def is_number(dtype: str) -> bool:
    """True for all dtypes but bool."""
    return dtype != "bool"
