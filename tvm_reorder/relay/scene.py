"""What reading an operator depends on, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tvm import relay
from tvm.ir import Span

from ..core.monotone import MonotoneMap
from .certified import NO_CERTIFICATES, CertificateSource
from .facts import PoolFacts, is_constant, read_shape
from .pairs import PairReader

Build = Callable[[relay.Expr, Span], relay.Expr]  # a call made anew, from the data and a span


@dataclass(frozen=True)
class Scene:
    """What reading an operator depends on besides the operator.

    Parameters
    ----------
    pool : PoolFacts
        The pool the chain leads to.
    target : str
        TVM target kind and architecture the module is compiled for.
    certified : CertificateSource
        Where certificates come from.
    pairs : PairReader
        Finds products that meet sums.
    sign_reader : str or None
        The operator behind the pool to which the sign of its zeros makes a difference.
    parameters : frozenset of relay.Var
        Of the function: what a user can bind.
    """

    pool: PoolFacts
    target: str
    certified: CertificateSource = NO_CERTIFICATES
    pairs: PairReader = PairReader()
    sign_reader: str | None = None
    parameters: frozenset[relay.Var] = frozenset()

    def over(self, value: relay.Expr) -> Scene:
        """The scene of a branch joined to what the pool reads: it has extents of its own.

        Above moves it may have other axes than the pool, all of which count as the window's then.
        """
        shape = read_shape(value.checked_type)
        pool = replace(self.pool, shape=shape)
        if len(shape) != len(self.pool.shape):
            pool = replace(pool, window_axes=tuple(range(len(shape))), channel_axis=-1)
        return replace(self, pool=pool)


@dataclass(frozen=True)
class Reading:
    """One call as a map of one of its operands.

    Parameters
    ----------
    map : MonotoneMap
        The map.
    data : int
        Which argument is the data.
    replace : dict
        Arguments to be exchanged for smaller ones after the pool, by position.
    build : callable or None
        Makes the call anew where exchanged arguments do not do.
    """

    map: MonotoneMap
    data: int = 0
    replace: dict[int, relay.Expr] = field(default_factory=dict)
    build: Build | None = None


def is_full_size(expr: relay.Expr, pool: PoolFacts) -> bool:
    """True if the expression has more than one element along some window axis.

    Above moves, which of its axes become window axes is asked of constants alone (``operands.py``).
    """
    shape = read_shape(expr.checked_type)
    if pool.below is not None and not is_constant(expr):
        return shape == pool.shape
    offset = len(pool.shape) - len(shape)
    return any(axis >= offset and shape[axis - offset] != 1 for axis in pool.window_axes)
