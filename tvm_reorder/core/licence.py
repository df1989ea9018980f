"""How much of the result the exchange may change.

=================  ============================================================================
``equal``          results compare equal (``==``) wherever no NaN enters or arises and no window
                   holds nothing but -inf (TVM's max pool answers the lowest finite value there,
                   not -inf, and no exchange can tell the two apart); the default
``strict``         as ``equal``, and windows of nothing but -inf too
``ulp:N``          f as computed may drop by at most N units in the last place of its output
``ulp:any``        f as computed may drop by any amount, also where nobody measured it: a library
                   function on a target without a certificate (``tvm-reorder certify`` makes one)
``strict+ulp:N``   both; also ``strict+ulp:any``
``bitwise``        the sign of zero counts too: max(+0, -0) depends on order, so no rule meets it
=================  ============================================================================
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

ANY_DROP = math.inf
_WORDING = "'equal', 'strict', 'ulp:N', 'strict+ulp:N' (N >= 1 or 'any') or 'bitwise'"


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
    bitwise : bool
        True if the sign of zero must be kept too.
    """

    ulp: int | float = 0
    strict: bool = False
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
        match = re.fullmatch(r"(strict)?(\+?)(?:ulp:([1-9][0-9]*|any))?", words)
        if not words or not match or bool(match[2]) != bool(match[1] and match[3]):
            raise ValueError(f"licence is {text!r} but must be {_WORDING}")
        ulp = ANY_DROP if match[3] == "any" else int(match[3] or 0)
        return cls(ulp=ulp, strict=bool(match[1]))

    def allows_drop(self, worst_ulp: int | None) -> bool:
        """True if a map whose worst drop is `worst_ulp`, None if unknown, may be exchanged."""
        return (ANY_DROP if worst_ulp is None else worst_ulp) <= self.ulp

    def __str__(self) -> str:
        if self.bitwise:
            return "bitwise"
        ulp = "any" if self.ulp == ANY_DROP else self.ulp
        parts = ["strict"] * self.strict + [f"ulp:{ulp}"] * bool(self.ulp)
        return "+".join(parts) or "equal"


EQUAL = Licence()
BITWISE = Licence(bitwise=True)
