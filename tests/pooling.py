"""Padding and max pooling in NumPy as TVM defines them, and nothing else: the tests' reference.

``topi::pad`` and ``topi/nn/pooling.h``, read index by index: out[i] = x[i - before] where that is
inside x, else a value; widths of either sign.  A pool pads once more, with the lowest finite value,
and ceil_mode lengthens that at the end by a stride less one.
"""

from __future__ import annotations

from itertools import product

import numpy as np

LOWEST = np.finfo("float32").min


def pad(x: np.ndarray, widths, value) -> np.ndarray:
    """``nn.pad``: a pair of widths for each axis."""
    for axis, (before, after) in enumerate(widths):
        size = x.shape[axis]
        at = np.arange(size + before + after) - before
        inside = (at >= 0) & (at < size)
        shape = [1] * x.ndim
        shape[axis] = -1
        picked = (
            np.take(x, np.where(inside, at, 0), axis)
            if size
            else np.zeros([n if k != axis else len(at) for k, n in enumerate(x.shape)], x.dtype)
        )
        x = np.where(inside.reshape(shape), picked, np.asarray(value, x.dtype))
    return x


def max_pool(x: np.ndarray, own, kernel, stride, dilation, ceil_mode=False) -> np.ndarray:
    """A max pool over all axes; each argument has an entry for each axis."""
    if ceil_mode:
        own = [(before, after + s - 1) for (before, after), s in zip(own, stride)]
    given = pad(x, own, LOWEST)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    shape = [(n - span) // s + 1 for n, span, s in zip(given.shape, spans, stride)]
    out = np.full(shape, LOWEST, x.dtype)
    for at in np.ndindex(*shape):
        for tap in product(*map(range, kernel)):
            reads = tuple(i * s + j * d for i, s, j, d in zip(at, stride, tap, dilation))
            out[at] = max(out[at], given[reads])
    return out
