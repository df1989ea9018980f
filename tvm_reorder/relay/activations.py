"""The table of one-argument operators, and how to extend it.

Extending it needs no change to the package::

    import tvm_reorder
    tvm_reorder.register_activation("my.swoosh", "rising", evaluate=my_numpy_swoosh)

Parameterised operators (clip, leaky_relu, prelu, add, multiply, cast, ...) are read in
``operators.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..core.measured import FAST_MATH
from ..core.monotone import Direction, Evaluate, MonotoneMap
from .certified import CertificateSource

_EXACT = 0


@dataclass(frozen=True)
class Activation:
    """What is known of a one-argument operator.

    Parameters
    ----------
    direction : Direction
        How it moves over its whole domain.
    evaluate : callable or None
        The function on numpy arrays; needed below pools with padding only.
    worst_ulp : int, str or None
        0 if every step is correctly rounded; the operator whose certificate says it, of a library
        function; None if nothing is known.
    """

    direction: Direction
    evaluate: Evaluate | None = None
    worst_ulp: int | str | None = _EXACT

    def as_map(self, name: str, dtype: str, certified: CertificateSource) -> MonotoneMap:
        """The map of operator `name` on `dtype`, as compiled."""
        worst, shown = self.worst_ulp, name
        if isinstance(worst, str):
            function = FAST_MATH.get(worst, worst) if certified.fast_math else worst
            shown = function if function != worst else name
            worst = certified.worst_of(function, dtype, self.direction)
        return MonotoneMap(shown, (self.direction,), worst, self.evaluate)


def register_activation(
    name: str,
    direction: Direction | str,
    *,
    evaluate: Evaluate | None = None,
    worst_ulp: int | None = _EXACT,
) -> None:
    """Tell the pass about a one-argument Relay operator.

    Parameters
    ----------
    name : str
        The operator's name in Relay, such as ``"nn.relu"``.
    direction : Direction or str
        ``"rising"``, ``"falling"``, ``"valley"``, ``"constant"`` or ``"other"``.
    evaluate : callable, optional
        The function on numpy arrays (any float dtype, shape kept).
    worst_ulp : int or None
        Largest drop of the operator as computed, in ulp; None if unknown.

    Raises
    ------
    ValueError
        If the direction is none of the five, or `worst_ulp` is negative.
    """
    try:
        direction = Direction(direction)
    except ValueError:
        known = ", ".join(repr(d.value) for d in Direction)
        raise ValueError(f"direction is {direction!r} but must be one of {known}") from None
    if worst_ulp is not None and (not isinstance(worst_ulp, int) or worst_ulp < 0):
        raise ValueError(f"worst_ulp is {worst_ulp!r} but must be None or an integer from 0")
    ACTIVATIONS[name] = Activation(direction, evaluate, worst_ulp)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


def _round(x: np.ndarray) -> np.ndarray:
    """To the nearest whole number, halves away from 0; float64 would add 0.5 inexactly."""
    whole = np.trunc(x)
    return whole + np.copysign(np.abs(x - whole) >= 0.5, x)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _keep(x: np.ndarray) -> np.ndarray:
    return x


_RISING, _FALLING = Direction.RISING, Direction.FALLING
_VALLEY, _OTHER = Direction.VALLEY, Direction.OTHER

# log and sqrt rise on their domain; outside it they give NaN, which the licence leaves open.
ACTIVATIONS: dict[str, Activation] = {
    "nn.relu": Activation(_RISING, _relu),
    "copy": Activation(_RISING, _keep),
    "annotation.stop_fusion": Activation(_RISING, _keep),
    "ceil": Activation(_RISING, np.ceil),
    "floor": Activation(_RISING, np.floor),
    "round": Activation(_RISING, _round),
    "trunc": Activation(_RISING, np.trunc),
    "sign": Activation(_RISING, np.sign),
    "sigmoid": Activation(_RISING, _sigmoid, "sigmoid"),
    "tanh": Activation(_RISING, np.tanh, "tanh"),
    "exp": Activation(_RISING, np.exp, "exp"),
    "log": Activation(_RISING, np.log, "log"),
    "log2": Activation(_RISING, np.log2, "log2"),
    "log10": Activation(_RISING, np.log10, "log10"),
    "sqrt": Activation(_RISING, np.sqrt, "sqrt"),
    "erf": Activation(_RISING, _erf, "erf"),
    "atan": Activation(_RISING, np.arctan, "atan"),
    "sinh": Activation(_RISING, np.sinh, "sinh"),
    "asinh": Activation(_RISING, np.arcsinh, "asinh"),
    "asin": Activation(_RISING, np.arcsin, "asin"),
    "acosh": Activation(_RISING, np.arccosh, "acosh"),
    "atanh": Activation(_RISING, np.arctanh, "atanh"),
    "fast_exp": Activation(_RISING, np.exp, "fast_exp"),
    "fast_tanh": Activation(_RISING, np.tanh, "fast_tanh"),
    "fast_erf": Activation(_RISING, _erf, "fast_erf"),
    "negative": Activation(_FALLING, np.negative),
    "bitwise_not": Activation(_FALLING, np.invert),
    "acos": Activation(_FALLING, np.arccos, "acos"),
    "rsqrt": Activation(_FALLING, None, "rsqrt"),
    "abs": Activation(_VALLEY, np.abs),
    "cosh": Activation(_VALLEY, np.cosh, "cosh"),
    "sin": Activation(_OTHER, np.sin),
    "cos": Activation(_OTHER, np.cos),
    "tan": Activation(_OTHER, np.tan),
}
