"""Geometry of a pooling window: what it sees, what it overlaps.

Side condition of the exchange
    TVM pads max pooling with the lowest finite value of the dtype.  A window that sees only
    padding yields that value L in the original network and f(L) after the exchange, so every
    window must see at least one real element.  Asymmetric padding, ceil_mode, dilation and
    padding as wide as the kernel can each break this.

What a window reads
    ``topi/nn/pooling.h`` pads a line x of n elements by (c, d) once: t[i] = x[i - c] where
    0 <= i - c < n, else L.  Window k takes t[k * stride + j * dilation], 0 <= j < kernel, so it
    reads x at k * stride - c + j * dilation, and L outside [0, n).  This goes for negative widths
    too: they hide nothing of x, the first window starts later or there are fewer windows.
    ceil_mode lengthens d by stride - 1.

A padding in front of the pool (`place_window`)
    nn.pad by (b, a), with L or less, gives y[i] = x[i - b] where 0 <= i - b < n, for
    0 <= i < n + b + a; the pool pads y by (c, d).  Window k then reads x at
    p = k * stride - (b + c) + j * dilation, where both 0 <= p < n and -b <= p < n + a, else L.
    Both hold for max(0, -b) <= p < n + min(0, a): a line of n + min(b, 0) + min(a, 0) elements.
    Counted from its first one, p is k * stride - (max(b, 0) + c) + j * dilation, because
    b + max(0, -b) = max(b, 0).  So a negative width crops first; it does not add up with the
    pool's own padding, which hides what was cropped.

Both as one padding (`join_widths`)
    For b >= 0 and a >= 0 that line is x itself, and the two are one padding by (b + c, a + d).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

Widths = tuple[int, int]  # of a padding along one axis: before, after


@dataclass(frozen=True)
class WindowAxis:
    """A pooling window along one spatial axis; every field counts elements.

    A negative `pad_before` is where the first window starts.
    """

    size: int
    output: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    pad_before: int = 0

    @property
    def overlaps(self) -> bool:
        """True if some element may be read by two windows."""
        return self.stride < (self.kernel - 1) * self.dilation + 1 and self.output > 1

    @property
    def has_padding(self) -> bool:
        """True if some window sees padding."""
        return bool((real_elements(self) < self.kernel).any())

    @property
    def ends_in_padding(self) -> bool:
        """True if the last element that some window reads is padding."""
        starts = np.arange(self.output) * self.stride - self.pad_before
        last = starts + (self.kernel - 1) * self.dilation
        return bool(((last < 0) | (last >= self.size)).any())


@dataclass(frozen=True)
class AdaptiveAxis:
    """One axis of an adaptive pool: window i reads floor(i*n/m) up to ceil((i+1)*n/m).

    Source: ``topi/nn/pooling.h``, ``start_index`` and ``end_index``.
    """

    size: int
    output: int
    has_padding = False
    ends_in_padding = False

    @property
    def kernel(self) -> int:
        """Elements of the widest window."""
        return int(real_elements(self).max())

    @property
    def stride(self) -> int:
        """Smallest step from one window to the next."""
        return max(1, self.size // self.output)

    @property
    def overlaps(self) -> bool:
        """True if some element is read by two windows."""
        return self.size % self.output != 0


def count_windows(
    size: int, own: Widths, kernel: int, stride: int = 1, dilation: int = 1, ceil_mode: bool = False
) -> int:
    """Windows of a pool along one axis, as topi counts them; less than 1 if none fits.

    Relay's type says 1 where the window is too wide by less than a stride, because it rounds
    towards zero; such a program fails when it is run.

    Parameters
    ----------
    size : int
        Elements that the pool is given.
    own : pair of int
        Its padding.
    kernel, stride, dilation, ceil_mode
        Its attributes.
    """
    room = size + sum(own) - (kernel - 1) * dilation - 1
    return (room + (stride - 1) * ceil_mode) // stride + 1


def place_window(
    size: int,
    own: Widths,
    kernel: int,
    stride: int = 1,
    dilation: int = 1,
    ceil_mode: bool = False,
    explicit: Widths = (0, 0),
) -> WindowAxis:
    """A pool along one axis, with its own padding behind an explicit one that pads with L or less.

    Parameters
    ----------
    size : int
        Elements in front of both.
    own, explicit : pair of int
        Widths of either sign.
    kernel, stride, dilation, ceil_mode
        Attributes of the pool.
    """
    real = size + sum(min(width, 0) for width in explicit)
    output = count_windows(size + sum(explicit), own, kernel, stride, dilation, ceil_mode)
    return WindowAxis(max(real, 0), output, kernel, stride, dilation, max(explicit[0], 0) + own[0])


def join_widths(explicit: Widths, own: Widths) -> Widths | None:
    """Two paddings in a row as one without negative widths; None if they are none."""
    joined = explicit[0] + own[0], explicit[1] + own[1]
    return joined if min(*explicit, *joined) >= 0 else None


@lru_cache(maxsize=1024)
def real_elements(axis: WindowAxis | AdaptiveAxis) -> np.ndarray:
    """Real elements each window sees along one axis, shape (output,)."""
    index = np.arange(axis.output)
    if isinstance(axis, AdaptiveAxis):
        return -(-(index + 1) * axis.size // axis.output) - index * axis.size // axis.output
    starts = index[:, None] * axis.stride - axis.pad_before
    positions = starts + np.arange(axis.kernel)[None, :] * axis.dilation
    return ((positions >= 0) & (positions < axis.size)).sum(axis=1)


@dataclass(frozen=True)
class PoolWindow:
    """A pooling window over all spatial axes.

    Parameters
    ----------
    axes : tuple of WindowAxis
        The spatial axes, outermost first.
    unpadded : tuple of int or None
        Extents of the values before an explicit padding, where `axes` go over others: over what
        is padded, if that is data to the pool, or over what a crop leaves.
    """

    axes: tuple[WindowAxis | AdaptiveAxis, ...]
    unpadded: tuple[int, ...] | None = None

    @property
    def outputs(self) -> tuple[int, ...]:
        """Windows along each axis."""
        return tuple(axis.output for axis in self.axes)

    @property
    def elements(self) -> int:
        """Values of one channel that are computed for the pool."""
        return prod(self.unpadded or tuple(axis.size for axis in self.axes))

    @property
    def has_padding_only_window(self) -> bool:
        """True if some window sees no real element."""
        return any((real_elements(axis) == 0).any() for axis in self.axes)

    @property
    def has_padding(self) -> bool:
        """True if some window sees padding."""
        return any(axis.has_padding for axis in self.axes)

    @property
    def ends_in_padding(self) -> bool:
        """True if the last element that some window reads, row by row, is padding."""
        return any(axis.ends_in_padding for axis in self.axes)

    @property
    def overlaps(self) -> bool:
        """True if some element is read by two windows."""
        return any(axis.overlaps for axis in self.axes)

    @property
    def comparisons(self) -> int:
        """Two-argument maxima per channel: one fewer than the real elements of each window."""
        reads = prod(int(real_elements(axis).sum()) for axis in self.axes)
        return reads - prod(axis.output for axis in self.axes)

    def __str__(self) -> str:
        kernel = "x".join(str(axis.kernel) for axis in self.axes)
        stride = "x".join(str(axis.stride) for axis in self.axes)
        size = "x".join(str(axis.size) for axis in self.axes)
        output = "x".join(str(axis.output) for axis in self.axes)
        text = f"{kernel}/{stride} on {size} -> {output}"
        dilations = [getattr(axis, "dilation", 1) for axis in self.axes]
        if any(dilation != 1 for dilation in dilations):
            text += " dilated " + "x".join(map(str, dilations))
        return text + (" padded" if self.has_padding else "")
