"""Names of scalar functions, as users say them: ``sigmoid``, ``leaky_relu:0.01``, ``clip:0:6``.

The composites are written as importers write them; an importer's name behind the function's tells
forms apart.  A form that ends in a correctly rounded step of its own (``x * gate * 0.5``) is certified
without it: the pass reads that step by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tvm import relay

from ..core.certificates import CertificateError
from .expressions import ScalarFunction, make_function, make_variable

Maker = Callable[..., relay.Expr]


@dataclass(frozen=True)
class NamedFunction:
    """A function and its constants' default values.

    Parameters
    ----------
    make : callable
        From the variable, a maker of constants, and the constants' values to the expression.
    defaults : dict of str to float
        The constants, by name.
    """

    make: Maker
    defaults: dict[str, float]


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
        If there is no such function, or its constants are not finite numbers or too many.
    """
    name, *words = text.strip().split(":")
    named = NAMED_FUNCTIONS.get(name)
    if named is None:
        raise CertificateError(
            f"the function is {name!r} but must be one of {', '.join(NAMED_FUNCTIONS)}"
        )
    if len(words) > len(named.defaults):
        takes = ":".join([name, *map(str.upper, named.defaults)])
        raise CertificateError(f"the function is {text!r} but must be like {takes!r}")
    values = {**named.defaults, **dict(zip(named.defaults, map(_read_number, words)))}
    variable = make_variable(dtype)
    body = named.make(variable, lambda value: relay.const(value, dtype), **values)
    return make_function(body, variable)


def _read_number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CertificateError(f"the constant is {word!r} but must be a finite number")
    return value


def _unary(name: str) -> NamedFunction:
    return NamedFunction(lambda x, c: relay.Call(relay.op.get(name), [x]), {})


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


_UNARY = (
    *("abs", "acosh", "acos", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf"),
    *("exp", "fast_erf", "fast_exp", "fast_tanh", "floor", "log", "log10", "log2", "negative"),
    *("round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"),
)

NAMED_FUNCTIONS: dict[str, NamedFunction] = {
    "relu": _unary("nn.relu"),
    "leaky_relu": NamedFunction(
        lambda x, c, alpha: relay.nn.leaky_relu(x, alpha), {"alpha": 0.01}
    ),
    "clip": NamedFunction(lambda x, c, low, high: relay.clip(x, low, high), {"low": 0, "high": 6}),
    **{name: _unary(name) for name in _UNARY},
    "square": NamedFunction(lambda x, c: x * x, {}),
    "power": NamedFunction(lambda x, c, exponent: relay.power(x, c(exponent)), {"exponent": 2.0}),
    "softplus": NamedFunction(_softplus, {}),
    "softsign": NamedFunction(lambda x, c: x / (c(1.0) + relay.abs(x)), {}),
    "elu": NamedFunction(_elu, {"alpha": 1.0}),
    "selu": NamedFunction(
        _selu, {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
    ),
    "celu": NamedFunction(_celu, {"alpha": 1.0}),
    "silu": NamedFunction(lambda x, c: x * relay.sigmoid(x), {}),
    "mish": NamedFunction(lambda x, c: x * relay.tanh(_softplus(x, c)), {}),
    "gelu": NamedFunction(_gelu, {}),
    "gelu_torch": NamedFunction(_gelu_torch, {}),
    "gelu_doubled": NamedFunction(_gelu_doubled, {}),
    "gelu_tanh": NamedFunction(_gelu_tanh, {}),
    "gelu_tanh_torch": NamedFunction(_gelu_tanh_torch, {}),
    "hard_swish": NamedFunction(_hard_swish, {}),
    "hard_swish_torch": NamedFunction(_hard_swish_torch, {}),
    "hard_swish_sixfold": NamedFunction(_hard_swish_sixfold, {}),
}
