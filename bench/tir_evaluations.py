"""How often a lowered CUDA kernel evaluates an activation: threads of the launch, times loops.

A launch has whole blocks of threads, so some of the last block's threads may do nothing.  As many
of them evaluate in vain as write in vain, so of what is launched counts the share

    elements of the result / writes to the result

which is exact and needs no look at the conditions.  It holds where each result is written once:
TVM's CUDA schedules sum up in registers, so it does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import tvm
from tvm import tir

_THREADS = ("blockIdx.", "threadIdx.")


@dataclass
class _Counts:
    """What one launch does, and the loops around the statement being looked at."""

    evaluations: int = 0
    writes: int = 0
    loops: list[int] = field(default_factory=list)
    threads: list[tuple[str, int]] = field(default_factory=list)

    @property
    def times(self) -> int:
        """How often the statement is executed; an inner binding of a thread is the same thread."""
        return prod(self.loops) * prod(dict(self.threads).values())


def count_evaluations(function: tir.PrimFunc, activation: str) -> int:
    """Evaluations of an activation in one call of a kernel.

    Parameters
    ----------
    function : tir.PrimFunc
        The kernel as it is before ``tir.SplitHostDevice``: threads bound, intrinsics not lowered.
    activation : str
        ``"relu"``, a maximum with zero, or the name of an intrinsic, such as ``"sigmoid"``.

    Raises
    ------
    ValueError
        If the kernel writes no buffer that it was given, or sums up in one of them.
    """
    counts = _Counts()
    data = {buffer.data: buffer for buffer in function.buffer_map.values()}
    written: dict[tir.Var, tir.Buffer] = {}
    read: set[tir.Var] = set()

    def enter(node):
        if isinstance(node, tir.For):
            counts.loops.append(int(node.extent))
        elif _is_thread(node):
            counts.threads.append((str(node.node.thread_tag), int(node.value)))
        elif isinstance(node, tir.BufferStore):
            lanes = tvm.DataType(node.value.dtype).lanes
            found = _count_calls(node.value, activation, read)
            counts.evaluations += found * counts.times
            if node.buffer.data in data:
                written[node.buffer.data] = data[node.buffer.data]
                counts.writes += lanes * counts.times
        return None

    def leave(node):
        if isinstance(node, tir.For):
            counts.loops.pop()
        elif _is_thread(node):
            counts.threads.pop()
        return None

    kinds = ["tir.For", "tir.AttrStmt", "tir.BufferStore"]
    tir.stmt_functor.ir_transform(function.body, enter, leave, kinds)
    if not counts.writes:
        raise ValueError("the kernel writes none of its buffers but must write its result")
    if read & set(written):
        raise ValueError("the kernel reads its result again but must write each value once")
    elements = sum(prod(int(extent) for extent in each.shape) for each in written.values())
    return counts.evaluations * elements // counts.writes


def _is_thread(node) -> bool:
    if not isinstance(node, tir.AttrStmt) or node.attr_key != "thread_extent":
        return False
    return str(node.node.thread_tag).startswith(_THREADS)


def _count_calls(value: tir.PrimExpr, activation: str, read: set[tir.Var]) -> int:
    """Scalar evaluations in an expression, a vector by its lanes; adds to what is read."""
    found = 0

    def visit(node):
        nonlocal found
        if _is_call(node, activation):
            found += tvm.DataType(node.dtype).lanes
        if isinstance(node, tir.BufferLoad):
            read.add(node.buffer.data)

    tir.stmt_functor.post_order_visit(value, visit)
    return found


def _is_call(node, activation: str) -> bool:
    if activation == "relu":
        return isinstance(node, tir.Max) and any(_is_zero(side) for side in (node.a, node.b))
    return isinstance(node, tir.Call) and getattr(node.op, "name", "") == f"tir.{activation}"


def _is_zero(node) -> bool:
    if isinstance(node, tir.Broadcast):
        node = node.value
    return isinstance(node, (tir.FloatImm, tir.IntImm)) and float(node.value) == 0
