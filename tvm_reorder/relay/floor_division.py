"""A hole in one build of TVM 0.19, mended: vectorised integer floor division.

What breaks
    LLVM refuses a debug declaration of a vector ("location of #dbg_declare must be a pointer or
    int").  TVM's LowerIntrin turns a floor division or modulo of two integer vectors into a
    let-bound truncated division, and the LLVM code generator declares every let-bound variable to
    the debugger.

Who meets it
    The ONNX importer folds ``auto_pad=SAME_UPPER/LOWER`` by compiling such a division, so every
    network exported from TensorFlow fails to import.

Which builds
    ``xtc-tvm-python-bindings`` 0.19.0.12, with LLVM 21 and 22 alike.

How it is mended
    Constant folding compiles through the registered function ``relay.backend.build``.  While
    `mend_floor_division` is open, that function first lowers the intrinsics itself and puts the
    values of let-bound vectors where their variables stand.

How to see that it is no longer needed
    `is_needed` compiles the smallest failing kernel and tells; where it returns False the mend does
    nothing, and once no supported build needs it, this file can go.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import tvm
from tvm import te, tir
from tvm.relay.backend import _backend

_BUILD = "relay.backend.build"
_lock = threading.Lock()
_open_blocks = 0


@lru_cache(maxsize=1)
def is_needed() -> bool:
    """True if this TVM cannot compile a vectorised integer floor division."""
    try:
        tvm.build(_make_floor_division(), target="llvm")
    except tvm.TVMError as error:
        return "dbg_declare" in str(error)
    return False


@contextmanager
def mend_floor_division() -> Iterator[None]:
    """Constant folding can compile vectorised integer floor divisions inside the block."""
    global _open_blocks
    if not is_needed():
        yield
        return
    with _lock:
        _open_blocks += 1
        tvm.register_func(_BUILD, _build_without_vector_lets, override=True)
    try:
        yield
    finally:
        with _lock:
            _open_blocks -= 1
            if _open_blocks == 0:
                tvm.register_func(_BUILD, _backend.build, override=True)


def _make_floor_division() -> tvm.IRModule:
    """c[i] = floordiv(a[i], b[i]) on four int64 lanes."""
    a, b = (te.placeholder((4,), "int64", name) for name in "ab")
    c = te.compute((4,), lambda i: te.floordiv(a[i], b[i]), "c")
    schedule = te.create_schedule(c.op)
    schedule[c].vectorize(c.op.axis[0])
    return tvm.lower(schedule, [a, b, c])


def _build_without_vector_lets(mod, target, target_host=None):
    """``relay.backend.build`` with let-bound vectors inlined."""
    if isinstance(mod, tvm.IRModule):
        mod = inline_vector_lets(mod, tvm.target.Target(target))
    return _backend.build(mod, target, target_host)


def inline_vector_lets(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """The module with intrinsics lowered and every let-bound vector put in place.

    Parameters
    ----------
    mod : tvm.IRModule
        Lowered TIR.
    target : tvm.target.Target
        What it will be compiled for.
    """
    bound = tir.transform.BindTarget(target)(mod)
    lowered = tir.transform.LowerIntrin()(bound)
    inlined = tir.transform.prim_func_pass(
        lambda function, *_: function.with_body(
            tir.stmt_functor.ir_transform(function.body, None, _inline, ["tir.Let"])
        ),
        opt_level=0,
        name="tvm_reorder.InlineVectorLets",
    )(lowered)
    return inlined


def _inline(let: tir.Let) -> tir.PrimExpr | None:
    """The let's body with the value in place of a vector variable; None keeps the let."""
    if tvm.DataType(let.var.dtype).lanes == 1:
        return None
    return tir.stmt_functor.substitute(let.body, {let.var: let.value})
