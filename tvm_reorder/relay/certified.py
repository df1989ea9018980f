"""Certificates as the pass consults them: shipped, cached, or made on the spot.

Place: between what an operator's definition says (``activations.py``, ``operators.py``) and the
decision (``core/checks.py``).  A map whose parts are all correctly rounded needs none.

Side conditions
    * The function is the one compiled: under FastMath its operators stand in the text.
    * Only a certificate of the same target class, TVM and LLVM counts.
    * float16 is computed in float32 and rounded, which is monotone, so a library function (one
      operator) that never strays on float32 never does on float16; a composite may, for it is
      rounded in between.
    * A function is swept as it is written, so one that TVM would still simplify has no certificate.
    * Certificates are of one kernel.  Where each operator is a kernel of its own, or something ends
      one inside the function, nothing is contracted, cancelled or merged, so those of functions in
      which something may be do not count.
    * TVM writes FastMath's polynomials into the kernel, and LLVM contracts them differently
      in another kernel: fast_exp(88) differed by 23 ulp behind a prelu.  No sweep makes them exact.
    * bfloat16 kernels round where they end, so no sweep of one function decides there.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import tvm
from tvm import relay
from tvm.relay.transform import _ffi_api

from ..certify.certifier import at_level, certify, make_key
from ..certify.expressions import ScalarFunction, make_function, make_variable
from ..certify.store import find_certificate, save_certificate
from ..certify.targets import current_target, name_target_class, versions
from ..core.certificates import SWEPT, Certificate, CertificateError, CertificateKey
from ..core.measured import FAST_MATH
from ..core.monotone import Direction, MonotoneMap
from .facts import is_constant, is_literal, read_dtype, read_filled
from .patterns import FENCE
from .sites import op_name

logger = logging.getLogger("tvm_reorder")
_refused: set[CertificateKey] = set()  # what could not be certified here; said once


@dataclass(frozen=True)
class CertificateSource:
    """Where certificates come from.

    Parameters
    ----------
    mode : str
        As ``ReorderConfig.certify``.
    fast_math : bool
        True if FastMath will replace exp, tanh and erf.
    apart : bool
        True if each operator becomes a kernel of its own.
    """

    mode: str
    fast_math: bool = False
    apart: bool = False

    def worst_of(self, operator: str, dtype: str, direction: Direction) -> int | None:
        """How far a one-argument operator strays from its direction, in ulp; None if unknown.

        Parameters
        ----------
        operator : str
            The operator as compiled, ``fast_tanh`` rather than ``tanh`` under FastMath.
        dtype : str
            Dtype of its argument.
        direction : Direction
            How it moves on paper.
        """
        if self.mode == "off" or dtype not in SWEPT:
            return None
        target = name_target_class(dtype=dtype)
        key = CertificateKey(f"{operator}(x)", dtype, target, *versions())
        found = find_certificate(key)
        if found is None and dtype == "float16":
            wide = find_certificate(key._replace(dtype="float32"))
            found = wide if wide is not None and wide.worst_as(direction) == 0 else None
        if found is None and self.mode == "auto":
            variable = make_variable(dtype)
            call = relay.Call(relay.op.get(operator), [variable])
            found = self._make(make_function(call, variable))
        return None if found is None else _read_worst(found, direction)

    def describe(self, known: MonotoneMap, root: relay.Expr, source: relay.Expr) -> MonotoneMap:
        """The map from `source` to `root` with what a certificate adds to it.

        A direction that the parts give is kept, and judged by how far the function strays from it;
        where they give none, a valley that has one side only, or one that the function strays from
        further than from the certificate's own, that is taken.
        """
        is_open = known.directions == (Direction.OTHER,)
        if self.mode == "off" or (known.worst_ulp == 0 and not is_open):
            return known
        function = read_function(root, source)
        if function is None or (self.apart and function.differs_apart):
            return known
        found = self._find(at_level(function, 4) if self.fast_math else function)
        if found is None:
            return known
        (direction,) = known.directions
        own, strays = Direction(found.direction), found.worst_as(direction)
        if strays is None and not is_open:
            return known  # constant: no sweep says anything of that
        if is_open or found.worst_ulp < strays + (direction is Direction.VALLEY):
            worst = _read_worst(found, own)
            return replace(known, directions=(own,), worst_ulp=worst, why=None)
        return replace(known, worst_ulp=_read_worst(found, direction))

    def _find(self, function: ScalarFunction) -> Certificate | None:
        found = find_certificate(make_key(function, current_target()))
        return self._make(function) if found is None and self.mode == "auto" else found

    def _make(self, function: ScalarFunction) -> Certificate | None:
        """A new certificate, cached; None if it cannot be made here.

        Made in a thread of its own, which has neither the pass context nor the session around this.
        """
        target = current_target()
        key = make_key(function, target)
        if key in _refused:
            return None
        logger.info("certifying %s on %s for %s", function.text, function.dtype, key.target)
        try:
            with ThreadPoolExecutor(1) as pool:
                made = pool.submit(certify, function, target, 4 if self.fast_math else 3).result()
        except CertificateError as error:
            _refused.add(key)
            logger.warning("%s is not certified: %s", function.text, error)
            return None
        try:
            save_certificate(made)
        except OSError as error:
            logger.warning("the certificate of %s is not cached: %s", function.text, error)
        return made


NO_CERTIFICATES = CertificateSource("off")


def _read_worst(found: Certificate, direction: Direction) -> int | None:
    """How far a certified function strays from a direction in some kernel."""
    worst = found.worst_as(direction)
    is_polynomial = any(f"{name}(" in found.op for name in FAST_MATH.values())
    return max(worst, 1) if is_polynomial and worst is not None else worst


def read_function(root: relay.Expr, source: relay.Expr) -> ScalarFunction | None:
    """The scalar function from `source` to `root`, if it is one and a sweep decides it."""
    dtype = read_dtype(source)
    if dtype not in SWEPT or read_dtype(root) not in SWEPT:
        return None
    variable = make_variable(dtype)
    cut = _Cut(source, variable)
    function = make_function(cut.visit(root), variable)
    if function is None or "bfloat16" in function.text or not _is_settled(function):
        return None
    return None if cut.has_fences and function.differs_apart else function


@lru_cache(maxsize=1024)
def _is_settled(function: ScalarFunction) -> bool:
    """True if no pass behind this one would rewrite the function, and it has a type on vectors.

    In a pass context of its own: in the one around, what the type checker objects to would be an
    error of the pass that asks.
    """
    with tvm.transform.PassContext():
        try:
            mod = function.with_length(2)
        except tvm.TVMError:
            return False
        return tvm.ir.structural_equal(mod, _ffi_api.SimplifyExprPostAlterOp()(mod))


class _Cut(relay.ExprMutator):
    """Puts a variable in a value's place, and a number in that of a shape filled with it.

    A constant that is only given another shape, as CanonicalizeOps leaves a bias, is one of that
    shape: with a number for each channel no certificate is found.  What only keeps kernels apart is
    taken away.
    """

    def __init__(self, source: relay.Expr, variable: relay.Var):
        super().__init__()
        self._source, self._variable = source, variable
        self.has_fences = False

    def visit(self, expr):
        if expr.same_as(self._source):
            return self._variable
        is_new = expr not in self.memo_map and is_constant(expr)
        values = read_filled(expr) if is_new else None
        if values is None:
            return super().visit(expr)
        number = values.ravel()[0] if is_literal(expr) else values
        if number.size == 1 and number.ndim:
            number = number.ravel()  # a vector as the argument is: any more axes would stay
        self.memo_map[expr] = relay.const(number, read_dtype(expr))
        return self.memo_map[expr]

    def visit_call(self, call):
        if op_name(call) != FENCE:
            return super().visit_call(call)
        self.has_fences = True
        return self.visit(call.args[0])
