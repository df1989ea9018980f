"""A max pool and the steps above it, as facts."""

from __future__ import annotations

from dataclasses import dataclass

from .contraction import Pair
from .intervals import Interval, follow_interval
from .lowest import lowest_value
from .monotone import ANY_RANK, MonotoneMap
from .padding import find_padding
from .refusal import Refusal, overflow
from .window import PoolWindow


@dataclass(frozen=True)
class Link:
    """One elementwise step of a chain.

    Parameters
    ----------
    map : MonotoneMap
        What the step does to one value.
    dtype : str
        Dtype of the step's output.
    steps : int
        Elementwise operators the step is made of; 0 if no code comes of it, and nobody is told.
    shared : Refusal or None
        Set if the step has to stay, because its value is wanted elsewhere too, say.
    inseparable : Refusal or None
        Set if the value that the step takes cannot stand at the end of a kernel.
    inside : tuple of pairs
        Of a step of several operators: each value inside it as a map of the step's argument, with
        its dtype.
    keeps_nan : bool
        True if the step is known to give NaN for NaN, as compiled.
    """

    map: MonotoneMap
    dtype: str
    steps: int = 1
    shared: Refusal | None = None
    inseparable: Refusal | None = None
    keeps_nan: bool = False
    inside: tuple[tuple[MonotoneMap, str], ...] = ()


@dataclass(frozen=True)
class Chain:
    """A pool and the steps above it, as facts.

    Parameters
    ----------
    window : PoolWindow or Refusal
        The pool's geometry; a refusal if it is not static.
    planes : int
        Batch times channels.
    links : tuple of Link
        From the pool upwards, as far as they could be read.
    base_dtypes : tuple of str
        Entry k is the dtype of the value that f_1 o ... o f_k takes; entry 0 is the pool's own.
    input_range : tuple of int or None
        Interval of the value below the last link, if that is an integer.
    range_lift : str
        What the user can do about a wide `input_range`, as in ``Refusal.lift``.
    undefined : Refusal or None
        Set if that value may have overflowed on the way, or what TVM computes is undefined.
    stop : Refusal or None
        Why the chain could not be followed further; None at its natural end, an input or an
        operator that is no step.  Set if there are no links.
    pairs : tuple of Pair
        Operators in the kernels that the exchange changes that round otherwise in one kernel than
        in two; see ``contraction.py``.
    producer_kernel, pool_kernel : Refusal or None
        Why it is not known that the kernel that computes the links now, or the pool's, computes
        them in one expression.
    filters : int
        Filters of the convolution that computes the chain's input, if their weights can take a
        sign each; else 0.
    pad_value : float or None
        What an explicit padding between the chain and the pool writes; see ``padding.py``.
    is_padded : bool
        True if there is an explicit padding between the chain and the pool.
    is_order_open : bool
        True if a window's values may come in another order behind the exchange.
    links_constants : bool
        True if constants may be compiled into the kernels.
    zeros : Refusal or None
        Set if the sign of a zero that the pool yields makes a difference to what follows.
    obstacle : Refusal or None
        Set if the build keeps every site as it is.
    totals : tuple of MonotoneMap
        Entry k is f_1 o ... o f_(k+1), where certificates say more of it than its parts do; by
        its parts if not given.
    plane_shape : tuple of int
        The pool's input with 1 along the window: the (batch, channel) pairs in the order in which
        maps name their directions.
    """

    window: PoolWindow | Refusal
    planes: int
    links: tuple[Link, ...]
    base_dtypes: tuple[str, ...]
    input_range: tuple[int, int] | None = None
    range_lift: str = ""
    undefined: Refusal | None = None
    stop: Refusal | None = None
    pairs: tuple[Pair, ...] = ()
    producer_kernel: Refusal | None = None
    pool_kernel: Refusal | None = None
    filters: int = 0
    pad_value: float | None = None
    is_padded: bool = False
    is_order_open: bool = False
    links_constants: bool = False
    zeros: Refusal | None = None
    obstacle: Refusal | None = None
    totals: tuple[MonotoneMap, ...] = ()
    plane_shape: tuple[int, ...] = ANY_RANK

    def find_padding(self, moved: int) -> float | None:
        """What to pad with before the `moved` links next to the pool; None if nobody knows."""
        dtypes = self.base_dtypes[: moved + 1]
        maps, inside = zip(*((link.map, link.inside) for link in self.links[:moved]))
        return find_padding(maps, dtypes, self.pad_value, lowest_value(dtypes[-1]), inside)


def follow_chain(chain: Chain) -> tuple[list[Interval], Refusal | None]:
    """Intervals of the values of ``base_dtypes``, and why an integer may overflow on the way."""
    maps = [link.map for link in chain.links]
    inside = [link.inside for link in chain.links]
    intervals, wrapping = follow_interval(maps, chain.base_dtypes, chain.input_range, inside)
    if chain.undefined or wrapping is None:
        return intervals, chain.undefined
    link = chain.links[wrapping]
    return intervals, overflow(link.map.name, link.dtype, chain.range_lift)
