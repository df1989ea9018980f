"""Why an exchange is refused.  The wording lives here and nowhere else.

A refusal is a value, said as "*subject* is *actual* but must be *required* (*lift*)".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from textwrap import shorten


class Reason(Enum):
    """Every reason there is; a test asserts each one and that none is missing."""

    NOT_A_MAX_POOL = "not-a-max-pool"
    NO_ACTIVATION = "no-activation"
    UNKNOWN_OPERATOR = "unknown-operator"
    UNKNOWN_SIGN = "unknown-sign"
    SHARED = "shared"
    FUNCTION_OUTPUT = "function-output"
    NOT_MONOTONE = "not-monotone"
    NEGATIVE_SCALE = "negative-scale"
    NEGATIVE_SLOPE = "negative-slope"
    DECREASES_AS_COMPUTED = "decreases-as-computed"
    UNPROVEN = "unproven"
    INTEGER_OVERFLOW = "integer-overflow"
    NON_FINITE_CONSTANT = "non-finite-constant"
    CONTRACTION = "contraction"
    VARIES_IN_WINDOW = "varies-in-window"
    DYNAMIC_WINDOW = "dynamic-window"
    EMPTY_POOL = "empty-pool"
    PADDING_ONLY_WINDOW = "padding-only-window"
    PADDING_VALUE = "padding-value"
    NEGATIVE_INFINITY = "negative-infinity"
    NAN = "nan"
    ZERO_SIGN = "zero-sign"
    NOT_COMPILED = "not-compiled"
    LAYOUT = "layout"
    NO_SAVING = "no-saving"
    BRANCHES_DIFFER = "branches-differ"
    FUSION = "fusion"
    INTERNAL_ERROR = "internal-error"


@dataclass(frozen=True)
class Refusal:
    """One refusal.

    Parameters
    ----------
    reason : Reason
        The machine-readable reason.
    subject, actual, required : str
        The thing, what it is, and what it should be.
    lift : str
        What the user can do about it; empty if no option lifts it.
    """

    reason: Reason
    subject: str
    actual: str
    required: str
    lift: str = ""

    def __str__(self) -> str:
        lift = f" ({self.lift})" if self.lift else ""
        return f"{self.subject} is {self.actual} but must be {self.required}{lift}"


def require(
    condition: bool, reason: Reason, subject: str, actual: object, required: str
) -> Refusal | None:
    """None if the condition holds, else the refusal."""
    return None if condition else Refusal(reason, subject, str(actual), required)


def overflow(name: str, dtype: str, lift: str = "") -> Refusal:
    """The refusal of an integer step that may overflow."""
    return Refusal(
        Reason.INTEGER_OVERFLOW,
        f"{name} on {dtype}",
        "able to leave the range of its dtype",
        "within it",
        lift,
    )


def unrounded_cast() -> Refusal:
    """The refusal of TVM's cast from float64 to float16."""
    return Refusal(Reason.UNPROVEN, "the cast from float64 to float16", "no rounding in TVM", "one")


def non_finite(subject: str) -> Refusal:
    """The refusal of a constant that is infinite or NaN."""
    return Refusal(Reason.NON_FINITE_CONSTANT, subject, "infinite or NaN", "finite")


def varies(subject: str) -> Refusal:
    """The refusal of an operand that differs inside a window."""
    return Refusal(
        Reason.VARIES_IN_WINDOW, subject, "varying inside the window", "constant along it"
    )


def internal_error(error: Exception) -> Refusal:
    """The refusal of a site at which the pass itself fails."""
    lines = str(error).strip().splitlines()[-1:]  # TVM's last line says what is wrong
    text = ": ".join([type(error).__name__, *lines])
    return Refusal(
        Reason.INTERNAL_ERROR,
        "the pass at this site",
        f"stopped by an internal error ({shorten(text, 200)})",
        "without one: please report this line with the model",
    )


def unknown_sign(subject: str) -> Refusal:
    """The refusal of a factor whose sign nobody knows yet."""
    return Refusal(Reason.UNKNOWN_SIGN, subject, "computed at run time", "a constant")
