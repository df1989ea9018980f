"""Where an exchange gives the same although a NaN enters.

Identity
    TVM's max is ``a > b ? a : b``, which answers b as soon as one of them is NaN, and a pool goes
    through its window row by row.  So a NaN is forgotten by the element after it, the pool answers
    the maximum of what stands behind the window's last NaN, and NaN only where that is the
    window's last element.  A step f that gives NaN for NaN, and only for NaN, leaves every NaN in
    its place, and max(f(a), f(b), ...) = f(max(a, b, ...)) over what stands behind it.

Side conditions
    * Every step is known to give NaN for NaN *as compiled*: relu(NaN) is 0, clip(NaN) its upper
      bound, sign(NaN) 0, maximum and minimum answer their second operand.
    * A window's values come in the same order.  AlterOpLayout lays channels out in blocks as far as
      the steps let it, and a reduction over channels goes through them as they lie.
    * No NaN arises: log(-1), sqrt(-1), inf * 0.  The numbers from which a rising step makes a NaN
      lie at the ends of its domain, so the ends, evaluated, tell.
    * Every window ends in a real element.  Behind a NaN, padding answers the lowest finite value
      L, which the original network keeps and the exchanged one sends through f.
    * Nothing is clamped: max(NaN, L) is L.
    * Where f falls or is a valley, negation keeps a NaN too, and both ends are NaN together.

The fused kernel goes through a window in the same order (``tests/relay/test_nan.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .enclosure import FLOATS, enclose, is_integer
from .intervals import apply, dtype_range
from .monotone import ANY_RANK, MonotoneMap
from .refusal import Reason, Refusal

if TYPE_CHECKING:
    from .chain import Chain


def find_nan_objection(
    total: MonotoneMap, chain: Chain, index: int, clamps: bool
) -> Refusal | None:
    """Why a NaN may make a difference if the links up to `index` move; None if it cannot.

    Parameters
    ----------
    total : MonotoneMap
        These links as one map.
    chain : Chain
        The pool and the links.
    index : int
        The last link that would move.
    clamps : bool
        True if max(., lowest finite value) would stand behind the moved links.
    """
    links, dtype = chain.links[: index + 1], chain.base_dtypes[index + 1]
    can_enter = not dtype.startswith(("int", "uint", "bool"))
    forgetful = next((link for link in links if not link.keeps_nan), None)
    if can_enter and forgetful is not None:
        return _refuse(f"what {forgetful.map.name} gives for NaN", "a number, or not known", "NaN")
    if can_enter and chain.is_order_open:
        subject = "the order in which a reduction over channels goes through them"
        return _refuse(subject, "that of a layout which the exchange may change", "as before")
    if _may_arise(total, dtype):
        subject = f"what {links[-1].map.name} gives for a number"
        return _refuse(subject, "NaN at times, or not known", "a number")
    if can_enter and chain.window.ends_in_padding:
        subject = f"the last element of a window of the pool {chain.window}"
        return _refuse(subject, "padding, which hides a NaN", "a real element")
    if clamps:
        subject = f"the lowest value of {links[-1].map.name}"
        return _refuse(subject, "clamped, which hides a NaN", "finite")
    return None


def _may_arise(total: MonotoneMap, dtype: str) -> bool:
    """True if the map may give NaN for a number, as far as its ends tell."""
    if is_integer(dtype):
        ends = [*dtype_range(dtype), 0]
    elif dtype in FLOATS:
        top = float(np.finfo(dtype).max)
        ends = [-np.inf, -top, 0, top, np.inf]
    else:
        return True  # bfloat16: numpy cannot evaluate it
    points = np.array(ends, object).reshape(-1, *ANY_RANK)
    found = apply(total, enclose(points, dtype))
    return found is None or bool(np.any(found.nan))


def _refuse(subject: str, actual: str, required: str) -> Refusal:
    return Refusal(Reason.NAN, subject, actual, required, "the licence nan asks for it")
