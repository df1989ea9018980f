"""Pools and convolutions whose window is wider than its input.

TVM compiles some of them (its type relation divides towards zero and finds one output where there
is none) and fails when it runs them.  Along an axis a window of k elements, d apart, s from one to
the next, on n elements with p of padding fits where floor((n + p - (k - 1) d - 1) / s) >= 0; with
``ceil_mode`` the quotient is rounded up, so up to s - 1 elements may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator

import tvm
from tvm import relay

from ..relay.facts import read_shape
from ..relay.names import read_own_name
from ..relay.sites import op_name
from .errors import UsageError

_RANKS = {1: "W", 2: "HW", 3: "DHW"}
_POOLS = [f"nn.{kind}_pool{rank}d" for kind in ("max", "avg") for rank in _RANKS]
_CONVOLUTIONS = ["qnn.conv2d", *(f"nn.conv{rank}d" for rank in _RANKS)]
# What the attributes with the window's size and with the layout are called.
_ATTRIBUTES = {
    **dict.fromkeys(_POOLS, ("pool_size", "layout")),
    **dict.fromkeys(_CONVOLUTIONS, ("kernel_size", "data_layout")),
}


def check_windows(model: str, mod: tvm.IRModule) -> None:
    """Raise `UsageError` for the first window of a typed module that does not fit its input."""
    for call in _list_calls(mod):
        if not _fits(call):
            size = _join(getattr(call.attrs, _ATTRIBUTES[op_name(call)][0]))
            padding = [int(width) for width in call.attrs.padding]
            padded = f" padded by {padding}" if any(padding) else ""
            raise UsageError(
                f"model {model!r}: {op_name(call)} {read_own_name(call)!r} has the window {size} "
                f"on an input of {_join(read_shape(call.args[0].checked_type))}{padded} but must "
                "have one that fits into it"
            )


def _list_calls(mod: tvm.IRModule) -> Iterator[relay.Call]:
    for function in mod.functions.values():
        found: list[relay.Expr] = []
        if isinstance(function, relay.Function):
            relay.analysis.post_order_visit(function, found.append)
        yield from (each for each in found if op_name(each) in _ATTRIBUTES)


def _fits(call: relay.Call) -> bool:
    size_name, layout_name = _ATTRIBUTES[op_name(call)]
    sizes, layout = getattr(call.attrs, size_name), str(getattr(call.attrs, layout_name))
    if not sizes:
        return True
    axes = [axis for axis in layout if axis.isalpha()]
    spatial = _RANKS[len(sizes)]
    shape = read_shape(call.args[0].checked_type)
    extents = [shape[axes.index(axis)] for axis in spatial]
    widths = [int(width) for width in call.attrs.padding]
    rank = len(spatial)
    padding = widths * (2 * rank // len(widths))
    is_rounded_up = bool(getattr(call.attrs, "ceil_mode", False))
    for axis, extent in enumerate(extents):
        covered = (int(sizes[axis]) - 1) * _at(call.attrs.dilation, axis) + 1
        missing = _at(call.attrs.strides, axis) - 1 if is_rounded_up else 0
        if extent is not None and extent + padding[axis] + padding[axis + rank] + missing < covered:
            return False
    return True


def _at(values, axis: int) -> int:
    """An attribute along an axis, given once for all or for each."""
    return int(values[axis if len(values) > 1 else 0])


def _join(sizes) -> str:
    return "x".join("?" if size is None else str(size) for size in sizes)
