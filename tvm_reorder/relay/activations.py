"""The table of one-argument operators, and how to extend it.

Extending it needs no change to the package::

    import tvm_reorder
    tvm_reorder.register_activation("my.swoosh", "rising", evaluate=my_numpy_swoosh)

Parameterised operators (clip, leaky_relu, prelu, add, multiply, cast, ...) are read in
``operators.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core import library
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
        The function on numpy arrays and on enclosures, see ``core/enclosure.py``.
    worst_ulp : int, str or None
        0 if every step is correctly rounded; the operator whose certificate says it, of a library
        function; None if nothing is known.
    """

    direction: Direction
    evaluate: Evaluate | None = None
    worst_ulp: int | str | None = _EXACT

    @property
    def is_library(self) -> bool:
        """True for a function that a library computes, or a polynomial in its place."""
        return isinstance(self.worst_ulp, str)

    def as_map(self, name: str, dtype: str, certified: CertificateSource) -> MonotoneMap:
        """The map of operator `name` on `dtype`, as compiled."""
        worst, shown, evaluate = self.worst_ulp, name, self.evaluate
        if self.is_library:
            function = FAST_MATH.get(worst, worst) if certified.fast_math else worst
            if function != worst:
                shown, evaluate = function, ACTIVATIONS[function].evaluate
            worst = certified.worst_of(function, dtype, self.direction)
        return MonotoneMap(shown, (self.direction,), worst, evaluate)


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
        The function on numpy arrays (any float dtype, shape kept).  Its values count as near to
        what TVM computes, never as exactly that.
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
    if evaluate is not None:
        evaluate = library.approximate(evaluate, direction not in (_VALLEY, _OTHER))
    ACTIVATIONS[name] = Activation(direction, evaluate, worst_ulp)


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
    "round": Activation(_RISING, library.round_half_away),
    "trunc": Activation(_RISING, np.trunc),
    "sign": Activation(_RISING, np.sign),
    "sigmoid": Activation(_RISING, library.sigmoid, "sigmoid"),
    "tanh": Activation(_RISING, library.tanh, "tanh"),
    "exp": Activation(_RISING, library.exp, "exp"),
    "log": Activation(_RISING, library.log, "log"),
    "log2": Activation(_RISING, library.log2, "log2"),
    "log10": Activation(_RISING, library.log10, "log10"),
    "sqrt": Activation(_RISING, library.sqrt, "sqrt"),
    "erf": Activation(_RISING, library.erf, "erf"),
    "atan": Activation(_RISING, library.atan, "atan"),
    "sinh": Activation(_RISING, library.sinh, "sinh"),
    "asinh": Activation(_RISING, library.asinh, "asinh"),
    "asin": Activation(_RISING, library.asin, "asin"),
    "acosh": Activation(_RISING, library.acosh, "acosh"),
    "atanh": Activation(_RISING, library.atanh, "atanh"),
    "fast_exp": Activation(_RISING, library.fast_exp, "fast_exp"),
    "fast_tanh": Activation(_RISING, library.fast_tanh, "fast_tanh"),
    "fast_erf": Activation(_RISING, library.fast_erf, "fast_erf"),
    "negative": Activation(_FALLING, np.negative),
    "bitwise_not": Activation(_FALLING, np.invert),
    "acos": Activation(_FALLING, library.acos, "acos"),
    "rsqrt": Activation(_FALLING, library.rsqrt, "rsqrt"),
    "abs": Activation(_VALLEY, np.abs),
    "cosh": Activation(_VALLEY, library.cosh, "cosh"),
    "sin": Activation(_OTHER, library.sin),
    "cos": Activation(_OTHER, library.cos),
    "tan": Activation(_OTHER, library.tan),
}
