"""What a full sweep of one function found, as data that can be shipped and checked.

A *certificate* says how far a scalar function, as one target's code computes it, strays from being
rising, from being falling, and from being a valley.  With f_1, f_2, ... the results in the order
of their arguments:

=========  =====================================================================================
rising     largest running maximum minus value
falling    largest value minus running minimum
valley     largest f(x) - max(min of f up to x, min of f from x on): left of the turning point the
           rise above the running minimum, right of it the drop below the running maximum
=========  =====================================================================================

all in units in the last place of the result.  0 is an exact exchange.  Where a loop's vector body
and its scalar rest differ, or f(-0) from f(+0), the largest difference is added: the network as it
was may have used the one where the rewritten one uses the other.

The checksum is no signature: it tells a slip of the hand, not malice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

from .monotone import Direction

SCHEMA = 2  # in 1 functions were simplified before they were swept
SWEPT = ("float32", "float16")  # dtypes of which a sweep takes all values
SHAPES = (Direction.RISING, Direction.FALLING, Direction.VALLEY)


class CertificateError(ValueError):
    """A certificate that cannot be used; the message is one line."""


class CertificateKey(NamedTuple):
    """What a certificate is about; it is consulted for exactly this."""

    op: str
    dtype: str
    target: str
    tvm: str
    llvm: str


@dataclass(frozen=True)
class Certificate:
    """What a full sweep found.

    Parameters
    ----------
    op : str
        The function of ``x`` as compiled, constants as ``float.hex``: ``multiply(x, sigmoid(x))``.
    constants : tuple of str
        The constants in it, as in the text.
    dtype : str
        Dtype of ``x``.
    target : str
        Target class, such as ``"llvm x86-64 avx512"``.
    opt_level : int
        ``PassContext`` opt_level it was compiled at; FastMath is in the text already.
    tvm, llvm : str
        Versions.
    libm : str
        C library the code called, for the record.
    direction : str
        ``"rising"``, ``"falling"`` or ``"valley"``.
    steps : int
        Neighbouring values that step against the direction, and mismatches.
    worst_step_ulp : int
        Largest single step against the direction.
    worst : dict of str to int
        Direction to how far the function strays from it, in ulp; see the module's docstring.
    turning_point : str or None
        Where the function is smallest, for a valley; ``float.hex``.
    counterexample : tuple of pairs of str
        Two or three arguments with their results that prove a `worst_ulp` above 0.
    values, nan : int
        Arguments evaluated, and how many of them gave NaN.
    lanes : str
        ``"compared"``: scalar and vector code were compared on every value; ``"proven"``: neither
        contracts, so both round every operation by itself; ``"one"``: there is one program only.
    mismatches, worst_mismatch_ulp : int
        Values on which the two differ, and the largest difference.
    date : str
        ISO date of the sweep.
    """

    op: str
    constants: tuple[str, ...]
    dtype: str
    target: str
    opt_level: int
    tvm: str
    llvm: str
    libm: str
    direction: str
    steps: int
    worst_step_ulp: int
    worst: dict[str, int]
    turning_point: str | None
    counterexample: tuple[tuple[str, str], ...]
    values: int
    nan: int
    lanes: str
    mismatches: int
    worst_mismatch_ulp: int
    date: str

    @property
    def key(self) -> CertificateKey:
        """What the certificate is about."""
        return CertificateKey(self.op, self.dtype, self.target, self.tvm, self.llvm)

    @property
    def worst_ulp(self) -> int:
        """How far the function strays from its own direction, in ulp."""
        return self.worst[self.direction]

    def worst_as(self, direction: Direction) -> int | None:
        """How far it strays from a direction, in ulp; None for one that no sweep decides."""
        return self.worst.get(direction.value)

    def as_dict(self) -> dict:
        """The certificate as JSON values, its checksum included."""
        body = json.loads(json.dumps({"schema": SCHEMA, **asdict(self)}))
        return {**body, "checksum": _checksum(body)}

    @classmethod
    def from_dict(cls, data: object) -> Certificate:
        """The certificate out of JSON values.

        Raises
        ------
        CertificateError
            If a field is missing, unknown or of the wrong kind, or the checksum does not fit.
        """
        if not isinstance(data, dict):
            raise CertificateError(f"is {type(data).__name__} but must be a JSON object")
        body = {name: value for name, value in data.items() if name != "checksum"}
        if body.get("schema") != SCHEMA:
            raise CertificateError(f"has schema {body.get('schema')!r} but must have {SCHEMA}")
        if data.get("checksum") != _checksum(body):
            raise CertificateError("has been changed since it was made: its checksum is wrong")
        for name in [f.name for f in fields(cls)] + ["schema"]:
            if name not in body:
                raise CertificateError(f"lacks {name!r}")
        unknown = set(body) - {f.name for f in fields(cls)} - {"schema"}
        if unknown:
            raise CertificateError(f"has the unknown field {min(unknown)!r}")
        del body["schema"]
        for name, is_right in _CHECKS.items():
            if not is_right(body[name]):
                raise CertificateError(f"has {name} {body[name]!r}, which cannot be")
        body["constants"] = tuple(body["constants"])
        body["counterexample"] = tuple(tuple(pair) for pair in body["counterexample"])
        return cls(**body)


def _checksum(body: dict) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number_text(value: object) -> bool:
    try:
        float.fromhex(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_list_of(check):
    return lambda value: isinstance(value, list) and all(map(check, value))


def _is_worst(value: object) -> bool:
    names = {shape.value for shape in SHAPES}
    return isinstance(value, dict) and set(value) == names and all(map(_is_count, value.values()))


_is_point = _is_list_of(_is_number_text)

_CHECKS = {
    **dict.fromkeys(("op", "dtype", "target", "tvm", "llvm", "libm", "date"), _is_text),
    **dict.fromkeys(("opt_level", "steps", "worst_step_ulp", "values", "nan"), _is_count),
    **dict.fromkeys(("mismatches", "worst_mismatch_ulp"), _is_count),
    "constants": _is_list_of(_is_number_text),
    "direction": lambda value: value in {shape.value for shape in SHAPES},
    "worst": _is_worst,
    "turning_point": lambda value: value is None or _is_number_text(value),
    "counterexample": _is_list_of(lambda pair: _is_point(pair) and len(pair) == 2),
    "lanes": lambda value: value in ("compared", "proven", "one"),
}
