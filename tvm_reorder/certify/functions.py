"""Names of scalar functions, as users say them: ``sigmoid``, ``leaky_relu:0.01``, ``clip:0:6``.

The composites are written as importers write them; an importer's name behind the function's tells
forms apart.  A form that ends in a correctly rounded step of its own (``x * gate * 0.5``) is
certified without it: the pass reads that step by itself.
"""

from __future__ import annotations

import math

from tvm import relay

from ..core.certificates import CertificateError
from .expressions import ScalarFunction, make_function, make_variable
from .names import DEFAULTS, UNARY, show_usage


def build_function(text: str, dtype: str) -> ScalarFunction:
    """The function that a name and its constants mean.

    Parameters
    ----------
    text : str
        A name, and constants behind colons.
    dtype : str
        Dtype of the argument.

    Raises
    ------
    CertificateError
        If there is no such function, or its constants are not finite, too many or the wrong way
        round.
    """
    name, *words = text.strip().split(":")
    if name not in DEFAULTS:
        raise CertificateError(f"the function is {name!r} but must be one of {', '.join(DEFAULTS)}")
    if len(words) > len(DEFAULTS[name]):
        raise CertificateError(f"the function is {text!r} but must be like {show_usage(name)!r}")
    values = {**DEFAULTS[name], **dict(zip(DEFAULTS[name], map(_read_number, words)))}
    if "low" in values and values["low"] > values["high"]:
        raise CertificateError(f"the function is {text!r} but LOW must not exceed HIGH")
    variable = make_variable(dtype)
    body = MAKERS[name](variable, lambda value: relay.const(value, dtype), **values)
    return make_function(body, variable)


def _read_number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CertificateError(f"the constant is {word!r} but must be a finite number")
    return value


def _unary(name: str):
    return lambda x, c: relay.Call(relay.op.get(name), [x])


def _elu(x, c, alpha):
    return c(-alpha) * relay.nn.relu(c(1.0) - relay.exp(x)) + relay.nn.relu(x)


def _selu(x, c, alpha, gamma):
    return c(gamma) * _elu(x, c, alpha)


def _celu(x, c, alpha):
    inner = relay.minimum(c(0.0), c(alpha) * (relay.exp(x / c(alpha)) - c(1.0)))
    return relay.maximum(c(0.0), x) + inner


def _softplus(x, c):
    return relay.log(relay.exp(x) + c(1.0))


def _gelu(x, c):
    return (c(0.5) * x) * (c(1.0) + relay.erf(x / c(math.sqrt(2))))


def _gelu_torch(x, c):
    return x * (c(0.5) + relay.erf(x * c(0.5**0.5)) * c(0.5))


def _gelu_doubled(x, c):
    return x * (relay.erf(x / c(math.sqrt(2))) + c(1.0))


_TANH_SCALE, _CUBE = math.sqrt(2 / math.pi), 0.044715


def _gelu_tanh(x, c):
    cube = c(_CUBE * _TANH_SCALE) * relay.power(x, c(3.0))
    return (c(0.5) * x) * (c(1.0) + relay.tanh(c(_TANH_SCALE) * x + cube))


def _gelu_tanh_torch(x, c):
    inner = c(_TANH_SCALE) * (x + c(_CUBE) * relay.power(x, c(3.0)))
    return (c(0.5) * x) * (c(1.0) + relay.tanh(inner))


def _hard_swish(x, c):
    return x * relay.clip(x * c(1 / 6) + c(0.5), 0.0, 1.0)


def _hard_swish_torch(x, c):
    return x * (relay.clip(x + c(3.0), 0.0, 6.0) / c(6.0))


def _hard_swish_sixfold(x, c):
    return x * relay.clip(x + c(3.0), 0.0, 6.0)


# From the variable, a maker of constants, and the constants' values to the expression.
MAKERS = {
    "relu": _unary("nn.relu"),
    "leaky_relu": lambda x, c, alpha: relay.nn.leaky_relu(x, alpha),
    "clip": lambda x, c, low, high: relay.clip(x, low, high),
    **{name: _unary(name) for name in UNARY},
    "square": lambda x, c: x * x,
    "power": lambda x, c, exponent: relay.power(x, c(exponent)),
    "softplus": _softplus,
    "softsign": lambda x, c: x / (c(1.0) + relay.abs(x)),
    "elu": _elu,
    "selu": _selu,
    "celu": _celu,
    "silu": lambda x, c: x * relay.sigmoid(x),
    "mish": lambda x, c: x * relay.tanh(_softplus(x, c)),
    "gelu": _gelu,
    "gelu_torch": _gelu_torch,
    "gelu_doubled": _gelu_doubled,
    "gelu_tanh": _gelu_tanh,
    "gelu_tanh_torch": _gelu_tanh_torch,
    "hard_swish": _hard_swish,
    "hard_swish_torch": _hard_swish_torch,
    "hard_swish_sixfold": _hard_swish_sixfold,
}
