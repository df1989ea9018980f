"""Integer arithmetic of quantised networks as maps: shifts, fixed-point products, roundings.

Where they come from
    By the time the pass runs, QnnCanonicalize has written ``qnn.requantize`` as ordinary
    operators.  On x86 with SSE 4.1 they are floats: cast, multiply, add, floor or round, cast back,
    clip, cast to int8.  Elsewhere they are integers: ``fixed_point_multiply`` (rounding upwards),
    or a product, a sum with a rounder that depends on the sign, and a right shift (to nearest).
    TVM's own ``relay.quantize`` writes ``fixed_point_multiply`` of int64.

Why they rise
    x -> floor((x * m + r) / 2^s) rises for m >= 0, as long as nothing leaves 64 bits; with
    r = p for x >= 0 and n below, it rises for p >= n.  All are evaluated on Python integers; a
    value that would not fit is given as one beyond every dtype, which the interval check refuses.

Source: ``src/target/intrin_rule.cc`` (QMultiplyShift), ``src/relay/qnn/utils.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relay
from tvm.ir import Span

from ..core.enclosure import at_ends
from ..core.measured import MEASURED_TARGET
from ..core.monotone import Direction, MonotoneMap, directions_from_signs
from ..core.refusal import Reason, Refusal, unknown_sign, varies
from .facts import PoolFacts, read_constant, read_filled
from .operands import place, spread
from .sites import op_name

_RISING = (Direction.RISING,)
_HALF = 1 << 30  # a multiplier that is a power of two; TVM shifts instead
_FRACTION = 31  # bits behind the point of a multiplier
_BEYOND = 1 << 100  # fits no dtype


@dataclass(frozen=True)
class SignedRounding:
    """x + (p if x >= 0 else n): how rounding to nearest, away from zero, is written.

    Parameters
    ----------
    source : relay.Expr
        x.
    region : tuple of relay.Call
        The calls it is made of, users first.
    upper, lower : numpy.ndarray
        p and n.
    """

    source: relay.Expr
    region: tuple[relay.Call, ...]
    upper: np.ndarray
    lower: np.ndarray

    def describe(self, upper: np.ndarray, lower: np.ndarray) -> MonotoneMap:
        """The map, with addends that broadcast over the tensor."""
        falls = bool(np.any(upper < lower))
        if falls:
            return MonotoneMap("rounding by sign", (Direction.OTHER,), 0)
        above, below = upper.astype(object), lower.astype(object)
        evaluate = at_ends(lambda x: x + np.where(x >= 0, above, below))
        return MonotoneMap("rounding by sign", _RISING, 0, evaluate)


def describe_left_shift(name, values, data, pool) -> MonotoneMap | Refusal:
    """x * 2^s."""
    return _describe_shift(name, values, data, lambda x, s: x << s)


def describe_right_shift(name, values, data, pool) -> MonotoneMap | Refusal:
    """floor(x / 2^s)."""
    return _describe_shift(name, values, data, lambda x, s: x >> s)


def _describe_shift(name, values, data, shift) -> MonotoneMap | Refusal:
    is_known = data == 0 and values is not None
    if not is_known or np.any(values < 0) or np.any(values > 62):
        return Refusal(
            Reason.UNKNOWN_OPERATOR,
            f"{name} by an unknown or too large number",
            "unknown",
            "a shift by constants from 0 to 62",
        )
    return MonotoneMap(name, _RISING, 0, lambda x: shift(x, values))


def describe_fixed_point_multiply(
    call: relay.Call, pool: PoolFacts, target: str
) -> MonotoneMap | Refusal:
    """x * multiplier * 2^(shift - 31), rounded half up, for the whole tensor or per channel.

    Parameters
    ----------
    call : relay.Call
        ``fixed_point_multiply`` or ``fixed_point_multiply_per_axis``.
    pool : PoolFacts
        The pool that the chain leads to.
    target : str
        Kind and architecture; others than x86 have instructions of their own for it.
    """
    name = op_name(call)
    numbers = _read_numbers(call, pool)
    if isinstance(numbers, Refusal):
        return numbers
    multiplier, left, right, shifts = numbers
    compute = np.frompyfunc(_shift_only if shifts else _multiply, 2 if shifts else 4, 1)
    operands = (right,) if shifts else (multiplier, left, right)
    lowest = multiplier.min()
    directions = _RISING
    if lowest < 0:
        planes = lowest if multiplier.size == 1 else spread(multiplier, pool)
        directions = (Direction.OTHER,) if planes is None else directions_from_signs(planes)
    return MonotoneMap(
        name,
        directions,
        0 if target == MEASURED_TARGET else None,
        at_ends(lambda x: compute(x, *operands)),
        Reason.NEGATIVE_SCALE if lowest < 0 else None,
        f"{lowest}" if lowest < 0 else "",
    )


def _read_numbers(call, pool: PoolFacts):
    """Multiplier, left and right shift, and whether TVM shifts instead of multiplying."""
    if op_name(call) == "fixed_point_multiply":
        multiplier, shift = int(call.attrs.multiplier), int(call.attrs.shift)
        shifts = multiplier == _HALF
        if shifts and shift == 1:
            return Refusal(
                Reason.UNKNOWN_OPERATOR,
                "fixed_point_multiply by 1",
                "a shift by -1 bits",
                "a multiplier and a shift that TVM computes",
            )
        left, right = (shift, 0) if shift > 0 else (0, -shift)
        if shifts:
            right = 1 - shift
        return (*(np.asarray(n, object) for n in (multiplier, left, right)), shifts)
    subject = "the multiplier of fixed_point_multiply_per_axis"
    axes = [int(axis) % len(pool.shape) for axis in call.attrs.axes]
    values = [read_constant(argument) for argument in call.args[1:4]]
    if any(value is None for value in values):
        return unknown_sign(subject)
    if pool.below is not None:
        return Refusal(
            Reason.UNKNOWN_OPERATOR,
            f"fixed_point_multiply_per_axis above {op_name(pool.moves[-1])}",
            "along an axis that is moved",
            "along one of what the pool reads",
        )
    if len(axes) != 1 or axes[0] in pool.window_axes:
        return varies(subject)
    multiplier, left, right = (place(v.astype(object), axes[0], pool) for v in values)
    return multiplier, left if call.attrs.is_lshift_required else left * 0, right, False


def _multiply(x: int, multiplier: int, left: int, right: int) -> int:
    """As TVM computes in 64 bits, the result cast to 32."""
    product = (x << left) * multiplier
    total = right + _FRACTION
    rounded = product + (1 << (total - 1))
    return _if_fits(_if_fits(rounded >> total, 63, product, rounded), 31)


def _shift_only(x: int, right: int) -> int:
    """A multiplier of one half: TVM shifts, to the left without rounding, in the tensor's bits."""
    if right < 0:
        return _if_fits(x << -right, 31)
    rounded = x + (1 << (right - 1))
    return _if_fits(rounded >> right, 31, rounded)


def _if_fits(result: int, bits: int, *others: int) -> int:
    """The result, or a number beyond every dtype if it, or another value, needs more bits."""
    if all(-(1 << bits) <= value < 1 << bits for value in (result, *others)):
        return result
    return -_BEYOND if result < 0 else _BEYOND


def read_signed_rounding(root: relay.Call) -> SignedRounding | None:
    """The rounding that a sum is, None if it is none: x + where(x >= 0, p, n)."""
    if op_name(root) != "add" or op_name(root.args[1]) != "where":
        return None
    source, choice = root.args
    condition, *addends = choice.args
    if op_name(condition) != "greater_equal" or not condition.args[0].same_as(source):
        return None
    zero, *values = (read_filled(expr) for expr in (condition.args[1], *addends))
    if zero is None or np.any(zero) or any(value is None for value in values):
        return None
    helpers = [e for e in (condition.args[1], *addends) if isinstance(e, relay.Call)]
    return SignedRounding(source, (root, choice, condition, *helpers), *values)


def build_signed_rounding(data: relay.Expr, span: Span, constants) -> relay.Call:
    """x + where(x >= 0, p, n) over other data.

    Parameters
    ----------
    data : relay.Expr
        x.
    span : Span
        Of the new calls.
    constants : pair of relay.Constant
        p and n.
    """
    zero = relay.const(0, str(constants[0].data.dtype))
    condition = relay.greater_equal(data, zero)
    addend = relay.where(condition, *constants)
    rounded = relay.add(data, addend)
    return relay.Call(rounded.op, rounded.args, rounded.attrs, [], span)
