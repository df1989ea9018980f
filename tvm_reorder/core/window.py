"""Geometry of a pooling window: what it sees, what it overlaps.

Side condition of the exchange
    TVM pads max pooling with the lowest finite value of the dtype.  A window that sees only
    padding yields that value L in the original network and f(L) after the exchange, so every
    window must see at least one real element.  Asymmetric padding, ceil_mode, dilation and
    padding as wide as the kernel can each break this.

Output index i reads positions ``i * stride - pad_before + j * dilation`` with 0 <= j < kernel
(``topi/nn/pooling.h``); the output size is taken from the typed IR, so ceil_mode needs no formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np


@dataclass(frozen=True)
class WindowAxis:
    """A pooling window along one spatial axis; every field counts elements."""

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
        Their extents before an explicit padding that is data to the pool, if there is one.
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
