"""Names of the functions that users may ask for, with their constants; needs no TVM.

What a name means is in ``functions.py``.
"""

from __future__ import annotations

UNARY = (
    *("abs", "acosh", "acos", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf"),
    *("exp", "fast_erf", "fast_exp", "fast_tanh", "floor", "log", "log10", "log2", "negative"),
    *("round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"),
)

# Name to the constants that may stand behind it, with their default values.
DEFAULTS: dict[str, dict[str, float]] = {
    "relu": {},
    "leaky_relu": {"alpha": 0.01},
    "clip": {"low": 0.0, "high": 6.0},
    **{name: {} for name in UNARY},
    "square": {},
    "power": {"exponent": 2.0},
    "softplus": {},
    "softsign": {},
    "elu": {"alpha": 1.0},
    "selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    "celu": {"alpha": 1.0},
    "silu": {},
    "mish": {},
    "gelu": {},
    "gelu_torch": {},
    "gelu_doubled": {},
    "gelu_tanh": {},
    "gelu_tanh_torch": {},
    "hard_swish": {},
    "hard_swish_torch": {},
    "hard_swish_sixfold": {},
}


def show_usage(name: str) -> str:
    """A name with its constants, as a user writes it: ``clip:LOW:HIGH``."""
    return ":".join([name, *map(str.upper, DEFAULTS[name])])
