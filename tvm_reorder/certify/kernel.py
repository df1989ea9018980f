"""A scalar function compiled for a target: vector body and scalar rest of a loop.

`relay.build` compiles the function for a vector whose length is a multiple of every vector width:
TOPI's schedule makes lanes of it, so all of it is *vector* code.  The rest of a loop, and a loop
that cannot be vectorised, are *scalar* code; that is compiled too, with ``tir.disable_vectorize``
and LLVM's opt-level 1, which has no loop or SLP vectoriser.

When the two are the same function
    LLVM lowers an operation lane by lane to the same IEEE operation, and reassociates nothing
    without fast-math flags, which TVM does not set.  What it may choose anew is *contraction*: a
    multiply and an add as one FMA.  So where neither assembly has an FMA instruction, every
    operation is rounded by itself in both; if they also call the same library functions, which are
    scalar, the two agree on every value.  `CompiledPair.lanes` is ``"proven"`` then, and only the
    vector code is walked.  Otherwise both are, and compared bit for bit.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule
from tvm.target import Target

from .expressions import ScalarFunction
from .floats import FORMATS

_FMA = re.compile(r"\bvfn?m(?:add|sub)")
_CALLED = re.compile(r"\b([a-z]\w*)@(?:GOTPCREL|PLT)")


@dataclass(frozen=True)
class CompiledPair:
    """A function's programs.

    Parameters
    ----------
    vector : object
        The library that ``relay.build`` gives.
    scalar : object or None
        The one without lanes, if it has to be walked too.
    lanes : str
        ``"compared"``, ``"proven"`` or ``"one"``; see the module's docstring.
    target : tvm.target.Target
        What they are compiled for.
    dtype_in, dtype_out : str
        Dtypes of argument and result.
    chunk : int
        Values that one call takes.
    """

    vector: object
    scalar: object | None
    lanes: str
    target: Target
    dtype_in: str
    dtype_out: str
    chunk: int


def compile_pair(
    function: ScalarFunction, target: Target, opt_level: int, chunk: int, compare: bool = False
) -> CompiledPair:
    """Compile a function.

    Parameters
    ----------
    function : ScalarFunction
        What to compile.
    target : tvm.target.Target
        For what.
    opt_level : int
        ``PassContext`` opt_level.
    chunk : int
        Values that one call takes.
    compare : bool
        Walk the scalar code also where it is proven to be the same.

    Raises
    ------
    tvm.error.TVMError
        What TVM raises if it cannot compile the function.
    """
    mod = function.with_length(chunk)
    dtype_out = mod["main"].ret_type.dtype
    vector = _build(mod, target, opt_level, {})
    scalar, lanes = None, "one"
    if target.kind.name == "llvm":
        scalar = _build(mod, _without_vectorisers(target), opt_level, _SCALAR)
        lanes = "proven" if _are_the_same(vector, scalar) else "compared"
        scalar = scalar if compare or lanes == "compared" else None
        lanes = lanes if scalar is None else "compared"
    return CompiledPair(vector, scalar, lanes, target, function.dtype, dtype_out, chunk)


_SCALAR = {"tir.disable_vectorize": True}
# What is swept is what is written: a model's own simplifications saw it among other operators.
_DISABLED = ["SimplifyExpr", "SimplifyExprPostAlterOp"]


def _build(mod, target: Target, opt_level: int, config: dict):
    with tvm.transform.PassContext(opt_level, disabled_pass=_DISABLED, config=config):
        return relay.build(mod, target)


def _without_vectorisers(target: Target) -> Target:
    return Target({**target.export(), "opt-level": 1})


def read_assembly(library) -> str:
    """The assembly of a library that ``relay.build`` made for llvm."""
    return library.get_lib().get_source("asm")


def _are_the_same(vector, scalar) -> bool:
    texts = [read_assembly(library) for library in (vector, scalar)]
    is_x86 = all("%rsp" in text or "%rax" in text for text in texts)
    if not is_x86 or any(_FMA.search(text) for text in texts):
        return False
    called = [set(_CALLED.findall(text)) for text in texts]
    return called[0] == called[1]


class Program:
    """One compiled program in one thread: write bits into ``input``, call, read ``output``.

    Parameters
    ----------
    library : object
        What ``relay.build`` gave.
    pair : CompiledPair
        Where it came from.

    Attributes
    ----------
    input, output : numpy.ndarray
        Bit patterns, unsigned, of ``pair.chunk`` values; on a CPU the program's own memory.
    """

    def __init__(self, library, pair: CompiledPair):
        kind = pair.target.kind.name
        executor = GraphModule(library["default"](tvm.device("cpu" if kind == "llvm" else kind)))
        self._run = executor.module["run"]
        self._arrays = executor.get_input(0), executor.get_output(0)
        self._is_shared = kind == "llvm"
        self._number = self._arrays[0].numpy().dtype
        dtypes = [FORMATS[name].unsigned for name in (pair.dtype_in, pair.dtype_out)]
        if self._is_shared:
            self.input, self.output = map(_view, self._arrays, dtypes)
        else:
            self.input, self.output = (np.empty(pair.chunk, dtype) for dtype in dtypes)

    def __call__(self) -> None:
        """Evaluate ``input`` into ``output``."""
        if self._is_shared:
            self._run()
            return
        source, result = self._arrays
        source.copyfrom(self.input.view(self._number))
        self._run()
        self.output[:] = result.numpy().view(self.output.dtype)


def _view(array: tvm.nd.NDArray, dtype: np.dtype) -> np.ndarray:
    """An array's memory as numpy sees it; `array` must outlive the view."""
    size = int(np.prod(array.shape))
    kind = ctypes.c_uint32 if dtype.itemsize == 4 else ctypes.c_uint16
    pointer = ctypes.cast(array.handle.contents.data, ctypes.POINTER(kind))
    return np.ctypeslib.as_array(pointer, (size,))
