"""Pairs of operators that give something else in one kernel than in two.

Identities that fail
    * fma(a, b, c) rounds a * b + c once, a product and a sum of their own round twice.  TVM writes
      a product and a sum that stand in one expression as ``llvm.fmuladd``, and LLVM contracts what
      it finds besides, wherever the processor has a fused multiply-add.
    * (x + y) - y is x to TVM's simplifier, and so on: ``arith/rewrite_simplify.cc`` cancels floats
      in a difference of a sum and one of its terms, on every target.

What an exchange does with such a pair, both of them in a chain of links counted from the pool
    * It *separates* the two if the outer one moves and the inner one does not.
    * It *joins* them if the inner one moves and the outer one stands behind the pool.
    * It *moves* both, from the producer's kernel into the pool's.
    * It *leaves* both where they are, but the kernel around them is another one.
    The first two change the rounding.  The others keep it where all kernels concerned compute
    their elementwise operators in one expression (``relay/kernels.py``), and TVM itself makes one
    operation of the two: of a sum and a product that is its operand as it stands.  Any other pair
    is *fragile*: LLVM contracts it late, in code that it has vectorised and rearranged by then, and
    what comes between the two there depends on the whole kernel.

Where it makes no difference
    * A factor that is a power of two: a * b is exact but for over- and underflow, which change
      nothing for an addend c that is 0 or neither tiny nor huge, see `is_exact`.
    * An addend of 0: fma(a, b, 0) = a * b, rounded once.
    * Two addends of which one is 0 for every x, as in ELU, see `vanish_in_turn`.

No licence lifts this: where a sum cancels, one rounding more or less is any number of ulp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .monotone import ANY_RANK, Direction, MonotoneMap
from .refusal import Reason, Refusal

# TVM writes a division by a number as a product, LLVM squares for a power of 2, and makes
# x * (x > 0 ? 1 : slope) of a PRelu where it knows that x is no NaN.
PRODUCTS = frozenset(["multiply", "divide", "power", "nn.prelu"])
# One of their operands as it is; LLVM adds two such by adding what they choose from, if they choose
# by the same comparison.
SELECTING = frozenset(["nn.relu", "clip", "maximum", "minimum", "nn.leaky_relu"])
ADDITIONS = frozenset(["add", "subtract", "nn.bias_add"])
TRANSPARENT = frozenset(["negative", "copy", "cast"])  # dropped, or made a sign

# Neither a product or what one is passed on by, nor a sum of what they are given.
SEPARATING = frozenset(
    [
        *SELECTING,
        *("abs", "sign"),
        *("ceil", "floor", "round", "trunc", "sigmoid", "sqrt", "rsqrt", "erf", "fast_erf"),
        *("exp", "fast_exp", "log", "log2", "log10", "tanh", "fast_tanh", "sinh", "cosh", "asinh"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "acosh", "atanh"),
        *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
        *("isnan", "isfinite", "isinf", "max", "min", "argmax", "argmin"),
    ]
)

_ONE_WAY = (Direction.CONSTANT, Direction.RISING, Direction.FALLING)
BEHIND = -1  # the place of an operator behind the pool


@dataclass(frozen=True)
class Pair:
    """Two operators that round otherwise in one kernel than in two.

    Parameters
    ----------
    outer, inner : int
        The links they belong to, counted from the pool: `BEHIND` it, or the number of links for
        what never moves.
    name : str
        The two, as a report names them.
    is_fragile : bool
        True if TVM leaves it to LLVM to join the two.
    is_own : bool
        True if both are inside one operator: how much that strays where it moves, its map says.
    """

    outer: int
    inner: int
    name: str
    is_fragile: bool = False
    is_own: bool = False

    def with_links(self, links: int) -> Pair:
        """The pair in a chain of which only that many links are left."""
        return replace(self, outer=min(self.outer, links), inner=min(self.inner, links))


def find_pair_objection(
    pairs: Sequence[Pair],
    moved: int,
    links: int,
    producer: Refusal | None,
    pool: Refusal | None,
) -> Refusal | None:
    """Set if moving that many links may round a pair otherwise.

    Parameters
    ----------
    pairs : sequence of Pair
        All in the kernels that the exchange changes.
    moved, links : int
        How many links move, and how many there are.
    producer, pool : Refusal or None
        Why it is not known that the kernel compiled for the chain's producer, or for the pool,
        computes its elementwise operators in one expression.
    """
    objections = (_find_objection(pair, moved, links, producer, pool) for pair in pairs)
    return next((objection for objection in objections if objection), None)


def _find_objection(pair: Pair, moved: int, links: int, producer, pool) -> Refusal | None:
    if pair.outer == BEHIND and pair.inner >= moved:
        return None  # the pool stands between the two
    if pair.outer == pair.inner == BEHIND:
        return _find_difference(pair, pool)
    if pair.outer == BEHIND:
        return refuse_contraction(pair.name, "brought into one kernel by the exchange")
    if pair.outer >= moved:
        return _find_difference(pair, producer)
    if pair.is_own:
        return None
    if pair.inner < links:  # what keeps the two from moving is why they would be separated
        together = _find_difference(pair, producer, pool)
        if together or pair.inner < moved:
            return together
    return refuse_contraction(pair.name, "separated by the exchange")


def _find_difference(pair: Pair, *kernels: Refusal | None) -> Refusal | None:
    """Set if a pair that stays together may be rounded otherwise; `kernels` are the doubts."""
    if pair.is_fragile:
        return refuse_contraction(pair.name, "joined or not by what stands around the two")
    return next(filter(None, kernels), None)


def refuse_contraction(name: str, actual: str) -> Refusal:
    """The refusal of a pair that would be rounded otherwise."""
    required = "rounded as before (in one kernel the two become one operation, or none)"
    return Refusal(Reason.CONTRACTION, f"the pair of {name}", actual, required)


def is_exact(scale: np.ndarray, addend: np.ndarray, dtype: str) -> bool:
    """True if x * scale + addend is the same rounded once or twice, for every finite x.

    Let 2^-m and 2^M be the least normal and the largest power of two of the dtype and p its
    precision in bits, room = 2^(p + 2).  x * 2^k is x with another exponent and exact, unless

    * it overflows, then |x * 2^k| >= 2^(M + 1), and adding less than 2^(M + 1) / room to that
      gives infinity as well, rounded once or twice;
    * it is subnormal, below 2^-m; to an addend of at least 2^-m * room it adds less than a quarter
      of the distance to the next number, and is lost either way.
    """
    if not np.any(addend):
        return True
    info = np.finfo(dtype)
    with np.errstate(all="ignore"):
        factors = np.abs(scale.astype(np.float64))
        addends = np.abs(addend.astype(np.float64))
    addends = addends[addends != 0]
    if np.all((factors == 0) | (factors == 1)):
        return True
    fractions, _ = np.frexp(factors[factors != 0])
    room = 2.0 ** (info.nmant + 3)
    is_moderate = addends.min() >= float(info.tiny) * room and addends.max() <= info.max / room
    return bool(np.all(fractions == 0.5) and np.isfinite(factors).all() and is_moderate)


def vanish_in_turn(left: MonotoneMap, right: MonotoneMap) -> bool:
    """True if for every x one of two maps is 0 as computed: their sum needs no rounding.

    One of them rises or falls, is 0 at -inf and at 0, and so on all x <= 0 ; the other rises or
    falls, is 0 at 0 and at +inf, and so on all x >= 0.
    """
    return (
        _vanishes(left, -np.inf)
        and _vanishes(right, np.inf)
        or (_vanishes(left, np.inf) and _vanishes(right, -np.inf))
    )


def _vanishes(known: MonotoneMap, end: float) -> bool:
    """True if a map is 0 between 0 and one end, as computed."""
    if known.evaluate is None or known.worst_ulp != 0:
        return False
    if not all(each in _ONE_WAY for each in known.directions):
        return False
    with np.errstate(all="ignore"):
        values = [known.evaluate(np.full(ANY_RANK, x, np.float32)) for x in (0.0, end)]
    return all(bool(np.all(np.asarray(value == 0))) for value in values)
