"""How much of the result the exchange may change.

=================  ============================================================================
``equal``          results compare equal (``==``) wherever no NaN enters or arises and no window
                   holds nothing but -inf (TVM's max pool answers the lowest finite value there,
                   not -inf, and no exchange can tell the two apart); the default
``strict``         as ``equal``, and windows of nothing but -inf too
``ulp:N``          f as computed may drop by at most N units in the last place of its output
``ulp:any``        f as computed may drop by any amount, also where nobody measured it: a library
                   function on a target without a certificate (``tvm-reorder certify`` makes one)
``nan``            also where a NaN enters: relu, clip and others that forget a NaN stay, and so
                   does whatever may make one out of a number
``A+B+C``          several of these: ``strict+nan+ulp:N``
``bitwise``        the sign of zero counts too: max(+0, -0) depends on order, so no rule meets it
=================  ============================================================================
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

ANY_DROP = math.inf
_WORDING = (
    "'equal', 'bitwise', or one or more of 'strict', 'nan', 'ulp:N' (N >= 1 or 'any') in this "
    "order, joined by '+'"
)
_FORM = re.compile(r"(?:(strict)(?:\+|$))?(?:(nan)(?:\+|$))?(?:ulp:([1-9][0-9]*|any))?")


@dataclass(frozen=True)
class Licence:
    """What a user allows.

    Parameters
    ----------
    ulp : int or float
        Allowed drop of an activation as computed, in units in the last place; 0 is none,
        `ANY_DROP` any, known or not.
    strict : bool
        True if windows of nothing but -inf must give the same too.
    nan : bool
        True if results must be the same where a NaN enters too, at the same places.
    bitwise : bool
        True if the sign of zero must be kept too.
    """

    ulp: int | float = 0
    strict: bool = False
    nan: bool = False
    bitwise: bool = False

    @classmethod
    def parse(cls, text: str) -> Licence:
        """Read a licence from its text form.

        Raises
        ------
        ValueError
            If the text is not a licence; the message names the text and the forms there are.
        """
        words = text.strip().lower()
        if words == "equal":
            return EQUAL
        if words == "bitwise":
            return BITWISE
        match = _FORM.fullmatch(words)
        if not words or not match or words.endswith("+"):
            raise ValueError(f"licence is {text!r} but must be {_WORDING}")
        ulp = ANY_DROP if match[3] == "any" else int(match[3] or 0)
        return cls(ulp=ulp, strict=bool(match[1]), nan=bool(match[2]))

    def allows_drop(self, worst_ulp: int | None) -> bool:
        """True if a map whose worst drop is `worst_ulp`, None if unknown, may be exchanged."""
        return (ANY_DROP if worst_ulp is None else worst_ulp) <= self.ulp

    @property
    def without_drops(self) -> Licence:
        """The same, but for activations that never fall as computed."""
        return replace(self, ulp=0)

    def __str__(self) -> str:
        if self.bitwise:
            return "bitwise"
        ulp = "any" if self.ulp == ANY_DROP else self.ulp
        parts = ["strict"] * self.strict + ["nan"] * self.nan + [f"ulp:{ulp}"] * bool(self.ulp)
        return "+".join(parts) or "equal"


EQUAL = Licence()
BITWISE = Licence(bitwise=True)
