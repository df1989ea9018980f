"""Activations that importers write out as several operators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tvm import relay

from ..value import Value
from .constants import make_scalar
from .kind import Kind, Maker

Scalar = Callable[[float], relay.Expr]


def _relu(x: relay.Expr) -> relay.Expr:
    return relay.nn.relu(x)


def _elu(x, one: Scalar, alpha=1.3, scale=None):
    bent = one(-alpha) * _relu(one(1.0) - relay.exp(x)) + _relu(x)
    return bent if scale is None else bent * one(scale)


def _tanh_gelu(x, one: Scalar):
    cube = x * x * x * one(0.044715)
    return one(0.5) * x * (one(1.0) + relay.tanh((x + cube) * one(0.7978846)))


def _gelu(x, one: Scalar):
    return one(0.5) * x * (one(1.0) + relay.erf(x / one(1.4142135)))


def _where(condition: relay.Expr, yes: relay.Expr, no: relay.Expr) -> relay.Expr:
    return relay.where(condition, yes, no)


# name -> the function of x and of what makes a number a constant, and how often it reads x
_COMPOSITES: dict[str, tuple[Callable[[relay.Expr, Scalar], relay.Expr], int]] = {
    "elu": (_elu, 2),
    "selu": (partial(_elu, alpha=1.6733, scale=1.0507), 2),
    "celu": (lambda x, one: relay.maximum(x, one(0.0)) + relay.minimum(
        one(0.0), one(2.0) * (relay.exp(x / one(2.0)) - one(1.0))), 2),
    "softplus": (lambda x, one: relay.log(one(1.0) + relay.exp(x)), 2),
    "softsign": (lambda x, one: x / (one(1.0) + relay.abs(x)), 2),
    "hard_sigmoid": (lambda x, one: relay.clip(x * one(0.2) + one(0.5), 0.0, 1.0), 1),
    "hard_tanh": (lambda x, one: relay.maximum(relay.minimum(x, one(1.0)), one(-1.0)), 1),
    "silu": (lambda x, one: x * relay.sigmoid(x), 2),
    "gelu": (_gelu, 2),
    "gelu_tanh": (_tanh_gelu, 8),
    "mish": (lambda x, one: x * relay.tanh(relay.log(one(1.0) + relay.exp(x))), 4),
    "hard_swish": (lambda x, one: x * relay.clip(x + one(3.0), 0.0, 6.0) / one(6.0), 2),
    "hard_swish_scaled": (
        lambda x, one: x * relay.clip(x * one(1 / 6) + one(0.5), 0.0, 1.0), 2),
    "square": (lambda x, one: x * x, 2),
    "log_relu": (lambda x, one: relay.log(_relu(x)), 1),
    "tanh_scaled": (lambda x, one: one(1.7159) * relay.tanh(x * one(2 / 3)), 2),
    "max_abs": (lambda x, one: relay.maximum(x, relay.negative(x)), 2),
    "max_scaled": (lambda x, one: relay.maximum(x, x * one(-0.3)), 2),
    "written_prelu": (
        lambda x, one: _relu(x) - one(0.3) * _relu(relay.negative(x)), 2),
    "thresholded_relu": (
        lambda x, one: _where(relay.greater(x, one(1.0)), x, one(0.0)), 2),
    "between": (
        lambda x, one: _where(relay.logical_and(
            relay.greater(x, one(-1.0)), relay.less(x, one(2.0))), x, one(0.0)), 3),
    "outside": (
        lambda x, one: _where(relay.logical_or(
            relay.less_equal(x, one(-1.0)), relay.greater_equal(x, one(0.5))), x, one(0.5)), 3),
    "not_above": (
        lambda x, one: _where(
            relay.logical_not(relay.greater(x, one(1.0))), one(1.0), x), 2),
    "without_nan": (lambda x, one: _where(relay.isnan(x), one(0.0), x), 2),
    "without_infinities": (lambda x, one: _where(relay.isinf(x), one(0.5), x), 2),
    "only_finite": (lambda x, one: _where(relay.isfinite(x), x, one(-0.5)), 2),
    "relu_like": (lambda x, one: relay.maximum(x, relay.zeros_like(x)), 2),
    "one_more": (lambda x, one: x + relay.ones_like(x), 2),
    "at_most": (lambda x, one: relay.minimum(x, relay.full_like(x, one(1.5))), 2),
    "shrink": (
        lambda x, one: _where(relay.less(x, one(-0.5)), x + one(0.5), _where(
            relay.greater(x, one(0.5)), x - one(0.5), one(0.0))), 3),
}  # fmt: skip


def _build(compute, maker: Maker, value: Value, parameters: dict) -> Value:
    return value.to(compute(value.expr, lambda number: make_scalar(number, value.dtype)))


COMPOSITES: dict[str, Kind] = {
    name: Kind(partial(_build, compute), copies=copies)
    for name, (compute, copies) in _COMPOSITES.items()
}
