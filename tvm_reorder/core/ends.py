"""At which values of a window a map has to be evaluated.

Identity
    For x_1 ... x_n of one window, with lo and hi the smallest and the largest of them,

        max_i f(x_i) = f(hi)               where f rises,
        max_i f(x_i) = f(lo)               where f falls,
        max_i f(x_i) = max(f(hi), f(lo))   where f is a valley: it falls, then rises.

Why the last one holds
    Each x_i lies between lo and hi.  Left of the turning point f falls, so f(x_i) <= f(lo); right
    of it f rises, so f(x_i) <= f(hi); hence no f(x_i) exceeds the larger of the two, and both occur
    in the window.  A rising or falling f is a valley whose turning point lies at infinity, so both
    ends serve channels of any mixture.  In floating point the same holds for f as computed if that
    falls, then rises, without a single step the wrong way.

The smallest value by a max pool
    lo = -max_i(-x_i): negation is exact.  With a sign s per channel, s = -1 where f falls,
    s * maxpool(s * x) is lo there and hi elsewhere, in one pool.  Where a convolution with constant
    weights computes x, s goes into its filters, s * conv(x, w) = conv(x, s * w), bit for bit:
    negating every product of a sum negates every rounded partial sum.
    Of integers -x may wrap; there ~x = -1 - x turns the order around, exactly and for unsigned ones
    too.
"""

from __future__ import annotations

from dataclasses import dataclass

from .monotone import Direction


@dataclass(frozen=True)
class Ends:
    """Which ends of a window the moved steps take.

    Parameters
    ----------
    signs : tuple of int
        1 for the maximum, -1 for the minimum: one entry for all channels, or one per (batch,
        channel) pair in the tensor's order.  Empty for the maximum everywhere, or for both ends.
    is_both : bool
        True if f is taken at both ends and the larger result counts.
    """

    signs: tuple[int, ...] = ()
    is_both: bool = False

    @property
    def is_maximum(self) -> bool:
        """True if f is taken at the maximum alone: the plain exchange."""
        return not self.signs and not self.is_both

    def has_one_sign_for_each(self, channels: int) -> bool:
        """True if there are signs, and they are the same for every item of the batch."""
        if not self.signs or not channels:
            return False
        batch = len(self.signs) // channels
        return len(self.signs) == 1 or self.signs == self.signs[:channels] * batch

    def __str__(self) -> str:
        if self.is_both:
            return "both ends"
        if len(set(self.signs)) == 2:
            return "the maximum or the minimum, by channel"
        return "the minimum" if self.signs else "the maximum"


THE_MAXIMUM = Ends()


def find_ends(directions: tuple[Direction, ...]) -> Ends | None:
    """The fewest ends that serve all channels, None if one of them is neither monotone nor valley.

    Parameters
    ----------
    directions : tuple of Direction
        Of the map as a whole: one entry, or one per (batch, channel) pair.
    """
    if Direction.OTHER in directions:
        return None
    if Direction.VALLEY in directions:
        return Ends(is_both=True)
    if all(direction.is_non_decreasing for direction in directions):
        return THE_MAXIMUM
    signs = tuple(1 if direction.is_non_decreasing else -1 for direction in directions)
    return Ends(signs[:1] if len(set(signs)) == 1 else signs)
