"""Operators as maps of the operand that varies along the window.

Those of one argument are in ``activations.py``, those of two in ``two_arguments.py``; here are
those with parameters, and which reading counts for which operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from tvm import relay
from tvm.ir import Span
from tvm.relay.op import OpPattern

from ..core.enclosure import FLOATS, cast, is_integer
from ..core.monotone import Direction, MonotoneMap
from ..core.refusal import Reason, Refusal, non_finite, unknown_sign, varies
from .activations import ACTIVATIONS
from .facts import PoolFacts, read_constant, read_dtype
from .operands import explain_unknown, finite_or, place, unknown_above
from .prelu import build_prelu, make_leaky
from .quantised import describe_fixed_point_multiply
from .scene import Reading, Scene
from .sites import op_name
from .two_arguments import TWO_ARGUMENTS, read_two_arguments, shift

_RISING = (Direction.RISING,)
_COMMUTE_WITH_ROUNDING = frozenset(["nn.relu"])


def read_operator(call: relay.Call, scene: Scene) -> Reading | Refusal:
    """Read a call as a map of its data operand.

    Returns
    -------
    Reading or Refusal
        The map, or why the operator is not one along the window.
    """
    reading = _read_by_table(call, scene)
    if isinstance(reading, Refusal):
        return explain_unknown(reading, call, scene)
    return replace(reading, map=doubt_rounding(reading.map, [call], call.args[reading.data]))


def doubt_rounding(
    found: MonotoneMap, calls: Sequence[relay.Call], source: relay.Expr
) -> MonotoneMap:
    """The map of `calls` on `source`, of which nothing is known as computed if it is bfloat16's.

    TVM computes bfloat16 kernels in float32 and rounds where they end (BF16ComputeLegalize), so a
    step's value depends on the kernel it stands in.
    """
    commutes = all(op_name(call) in _COMMUTE_WITH_ROUNDING for call in calls)
    if commutes or "bfloat16" not in map(read_dtype, (source, *calls)):
        return found
    return replace(found, worst_ulp=None)


def _read_by_table(call: relay.Call, scene: Scene) -> Reading | Refusal:
    name = op_name(call)
    if name in ACTIVATIONS:
        dtype = read_dtype(call.args[0])
        return Reading(ACTIVATIONS[name].as_map(name, dtype, scene.certified))
    if name in _PARAMETERISED:
        return _PARAMETERISED[name](call, scene)
    if name in TWO_ARGUMENTS:
        return read_two_arguments(call, scene)
    lift = "register_activation makes one known" if _can_be_registered(call) else ""
    subject = f"{name} on the way to the pool"
    return Refusal(Reason.UNKNOWN_OPERATOR, subject, "unknown", "a known activation", lift)


def _can_be_registered(call: relay.Call) -> bool:
    """True for an elementwise operator of one argument that keeps its dtype."""
    is_function = len(call.args) == 1 and read_dtype(call) == read_dtype(call.args[0])
    return is_function and call.op.get_attr("TOpPattern") == OpPattern.ELEMWISE


def _read_clip(call, scene):
    low, high = float(call.attrs.a_min), float(call.attrs.a_max)
    if np.isnan(low) or np.isnan(high):
        return non_finite("a bound of clip")
    if is_integer(read_dtype(call)):
        low, high = int(max(low, -(2**63))), int(min(high, 2**63 - 1))
    return Reading(MonotoneMap("clip", _RISING, 0, lambda x: np.maximum(np.minimum(x, high), low)))


def _read_leaky_relu(call, scene):
    alpha, dtype = float(call.attrs.alpha), read_dtype(call)
    if not np.isfinite(alpha):
        return non_finite("the slope of nn.leaky_relu")
    kind = object if is_integer(dtype) else "float64" if dtype == "bfloat16" else dtype
    slope = int(alpha) if kind is object else alpha  # TVM casts it to the dtype
    return Reading(make_leaky("nn.leaky_relu", np.asarray(slope, kind), scene.pool))


def _read_prelu(call, scene):
    pool, subject = scene.pool, "the slope of nn.prelu"
    values, axis = read_constant(call.args[1]), int(call.attrs.axis) % len(pool.shape)
    if values is None:
        return unknown_sign(subject)
    slopes = finite_or(values, subject) or place(values, axis, pool)
    if slopes is None or isinstance(slopes, Refusal):
        return slopes or varies(subject)
    build = partial(build_prelu, slopes=slopes, pool=pool, dtype=read_dtype(call))
    stays = _keeps_its_axis(axis, pool)
    return Reading(make_leaky("nn.prelu", slopes, pool), build=None if stays else build)


def _keeps_its_axis(axis: int, pool: PoolFacts) -> bool:
    """True if an operand along this axis stands along the same one behind the pool."""
    return pool.below is None and axis not in pool.window_axes


def _read_cast(call, scene):
    source, target = read_dtype(call.args[0]), read_dtype(call)
    if "bool" in (source, target):
        return Refusal(
            Reason.UNKNOWN_OPERATOR,
            f"the cast from {source} to {target} on the way to the pool",
            "unknown",
            "a cast between numbers",
        )
    is_known = is_integer(target) or target in FLOATS
    evaluate = (lambda x: cast(x, target)) if is_known else None
    return Reading(MonotoneMap(f"cast to {target}", _RISING, 0, evaluate))


def _read_fixed_point(call, scene):
    described = describe_fixed_point_multiply(call, scene.pool, scene.target)
    return described if isinstance(described, Refusal) else Reading(described)


def _read_bias_add(call, scene):
    pool, subject = scene.pool, "the bias of nn.bias_add"
    values, axis = read_constant(call.args[1]), int(call.attrs.axis) % len(pool.shape)
    stays = _keeps_its_axis(axis, pool)
    if values is None:
        unknown = varies(subject) if pool.below is None else unknown_above(subject, pool)
        return Reading(shift("nn.bias_add", None)) if stays else unknown
    bias = finite_or(values, subject) or place(values, axis, pool)
    if bias is None or isinstance(bias, Refusal):
        return bias or varies(subject)
    build = partial(_build_sum, bias=bias, dtype=read_dtype(call))
    return Reading(shift("nn.bias_add", bias), build=None if stays else build)


def _build_sum(data: relay.Expr, span: Span, bias: np.ndarray, dtype: str) -> relay.Call:
    total = relay.add(data, relay.const(bias, dtype))
    return relay.Call(total.op, total.args, total.attrs, [], span)


_Reader = Callable[[relay.Call, Scene], "Reading | Refusal"]

_PARAMETERISED: dict[str, _Reader] = {
    "clip": _read_clip,
    "nn.leaky_relu": _read_leaky_relu,
    "nn.prelu": _read_prelu,
    "cast": _read_cast,
    "nn.bias_add": _read_bias_add,
    "fixed_point_multiply": _read_fixed_point,
    "fixed_point_multiply_per_axis": _read_fixed_point,
}
