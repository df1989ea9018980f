"""A max pool and the steps above it, as facts."""

from __future__ import annotations

from dataclasses import dataclass

from .intervals import Interval, follow_interval
from .lowest import lowest_value
from .monotone import MonotoneMap
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
        Set if the step's value is wanted elsewhere too.
    is_split_addition : bool
        True if the step adds to a product that the step below it gives: a fused multiply-add, if
        both stay in one kernel.
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
    is_split_addition: bool = False
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
    undefined : Refusal or None
        Set if that value may have overflowed on the way, or what TVM computes is undefined.
    stop : Refusal or None
        Why the chain could not be followed further; None if it reaches a producer.  Set if there
        are no links.
    producer : Refusal or None
        Set if no convolution or dense layer computes the chain's input.
    meets_addition : bool
        True if the link next to the pool is a product and the pool's value goes into a sum.
    filters : int
        Filters of the convolution that computes the chain's input, if their weights can take a
        sign each; else 0.
    pad_value : float or None
        What an explicit padding between the chain and the pool writes; see ``padding.py``.
    zeros : Refusal or None
        Set if the sign of a zero that the pool yields makes a difference to what follows.
    totals : tuple of MonotoneMap
        Entry k is f_1 o ... o f_(k+1), where certificates say more of it than its parts do; by
        its parts if not given.
    """

    window: PoolWindow | Refusal
    planes: int
    links: tuple[Link, ...]
    base_dtypes: tuple[str, ...]
    input_range: tuple[int, int] | None = None
    undefined: Refusal | None = None
    stop: Refusal | None = None
    producer: Refusal | None = None
    meets_addition: bool = False
    filters: int = 0
    pad_value: float | None = None
    zeros: Refusal | None = None
    totals: tuple[MonotoneMap, ...] = ()

    def find_padding(self, moved: int) -> float | None:
        """What to pad with before the `moved` links next to the pool; None if nobody knows."""
        dtypes = self.base_dtypes[: moved + 1]
        maps = [link.map for link in self.links[:moved]]
        return find_padding(maps, dtypes, self.pad_value, lowest_value(dtypes[-1]))


def follow_chain(chain: Chain) -> tuple[list[Interval], Refusal | None]:
    """Intervals of the values of ``base_dtypes``, and why an integer may overflow on the way."""
    maps = [link.map for link in chain.links]
    inside = [link.inside for link in chain.links]
    intervals, wrapping = follow_interval(maps, chain.base_dtypes, chain.input_range, inside)
    if chain.undefined or wrapping is None:
        return intervals, chain.undefined
    link = chain.links[wrapping]
    return intervals, overflow(link.map.name, link.dtype)
