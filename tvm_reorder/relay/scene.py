"""What reading an operator depends on, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tvm import relay

from ..core.monotone import MonotoneMap
from .certified import NO_CERTIFICATES, CertificateSource
from .facts import PoolFacts, read_shape
from .moves import as_uniform


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
    is_summand : bool
        True if what the pool yields goes into a sum.
    sign_reader : str or None
        The operator behind the pool to which the sign of its zeros makes a difference.
    """

    pool: PoolFacts
    target: str
    certified: CertificateSource = NO_CERTIFICATES
    is_summand: bool = False
    sign_reader: str | None = None

    def over(self, value: relay.Expr) -> Scene:
        """The scene of a branch joined to what the pool reads: it has extents of its own.

        Above a move the pool's axes are not its axes.
        """
        shape = read_shape(value.checked_type)
        if len(shape) != len(self.pool.shape):
            return replace(self, pool=as_uniform(self.pool, value))
        return replace(self, pool=replace(self.pool, shape=shape))


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
    """

    map: MonotoneMap
    data: int = 0
    replace: dict[int, relay.Expr] = field(default_factory=dict)


def is_full_size(expr: relay.Expr, pool: PoolFacts) -> bool:
    """True if the expression has more than one element along some window axis."""
    shape = read_shape(expr.checked_type)
    offset = len(pool.shape) - len(shape)
    return any(axis >= offset and shape[axis - offset] != 1 for axis in pool.window_axes)
