"""Convolution and max pool as tensor expressions, cut as a tile asks.

Identity
    out = max over the window of conv; as TVM's own ``conv2d_NCHWc`` and ``pool2d`` define them,
    each sum in the same order (input block, kernel row, kernel column, channel of the block), so
    that the result is the same bit for bit.

Rounded extents
    Rows and columns beyond the edge are computed, read zeros, and are never copied out.
"""

from __future__ import annotations

import tvm
from tvm import te

from ....core.tiles import FusedGeometry, Tile

TAG = "conv2d_max_pool2d_NCHWc"
_NAMES = {"pad": "data_pad", "conv": "conv2d_NCHWc", "pool": "pool_max", "out": "conv2d_max_pool2d"}


def compute_NCHWc(
    data: te.Tensor, kernel: te.Tensor, geometry: FusedGeometry, tile: Tile
) -> te.Tensor:
    """The pooled convolution.

    Parameters
    ----------
    data : te.Tensor
        (N, I/i, H, W, i), float32.
    kernel : te.Tensor
        (O/o, I/i, kh, kw, i, o), float32.
    geometry : FusedGeometry
        What is computed.
    tile : Tile
        How it is cut; rounds the extents of the inner stages.

    Returns
    -------
    te.Tensor
        (N, O/o, pooled height, pooled width, o).
    """
    padded = _pad(data, geometry, tile)
    conv = _convolve(padded, kernel, geometry, tile)
    pooled = _pool(conv, geometry, tile)
    height, width = geometry.pooled
    shape = (geometry.convolution.batch, geometry.out_chunks, height, width, geometry.out_block)
    return te.compute(shape, lambda *i: pooled(*i), name=_NAMES["out"], tag=TAG)


def _pad(data, geometry, tile) -> te.Tensor:
    if not geometry.needs_padding(tile):
        return data
    batch, chunks, height, width, block = data.shape
    top, left = geometry.convolution.padding[:2]
    rows, cols = (geometry.data_extent(a, e) for a, e in enumerate(geometry.rounded_conv(tile)))
    zero = tvm.tir.const(0, data.dtype)

    def value(n, c, h, w, b):
        is_inside = tvm.tir.all(h >= top, h < top + height, w >= left, w < left + width)
        return tvm.tir.if_then_else(is_inside, data[n, c, h - top, w - left, b], zero)

    return te.compute((batch, chunks, rows, cols, block), value, name=_NAMES["pad"])


def _convolve(data, kernel, geometry, tile) -> te.Tensor:
    c, block = geometry.convolution, geometry.in_block
    rows, cols = geometry.rounded_conv(tile)
    ic = te.reduce_axis((0, c.in_channels), name="ic")
    kh, kw = (te.reduce_axis((0, size), name=name) for size, name in zip(c.kernel, ("kh", "kw")))
    div, mod = tvm.tir.indexdiv, tvm.tir.indexmod

    def value(n, o, h, w, b):
        y, x = h * c.strides[0] + kh * c.dilation[0], w * c.strides[1] + kw * c.dilation[1]
        taps = data[n, div(ic, block), y, x, mod(ic, block)]
        weights = kernel[o, div(ic, block), kh, kw, mod(ic, block), b]
        return te.sum(taps * weights, axis=[ic, kh, kw])

    shape = (c.batch, geometry.out_chunks, rows, cols, geometry.out_block)
    return te.compute(shape, value, name=_NAMES["conv"])


def _pool(conv, geometry, tile) -> te.Tensor:
    vertical, horizontal = geometry.window.axes
    rh = te.reduce_axis((0, vertical.kernel), name="rh")
    rw = te.reduce_axis((0, horizontal.kernel), name="rw")

    def value(n, o, i, j, b):
        h = i * vertical.stride + rh * vertical.dilation - vertical.pad_before
        w = j * horizontal.stride + rw * horizontal.dilation - horizontal.pad_before
        edges = [
            condition
            for is_masked, at, axis in zip(geometry.is_masked, (h, w), geometry.window.axes)
            if is_masked
            for condition in (at >= 0, at < axis.size)
        ]
        seen = conv[n, o, h, w, b]
        if edges:
            lowest = tvm.tir.min_value(conv.dtype)
            seen = tvm.tir.if_then_else(tvm.tir.all(*edges), seen, lowest)
        return te.max(seen, axis=[rh, rw])

    rows, cols = geometry.rounded_pooled(tile)
    shape = (geometry.convolution.batch, geometry.out_chunks, rows, cols, geometry.out_block)
    return te.compute(shape, value, name=_NAMES["pool"])
