"""How a fused convolution and max pool is cut into tasks and register tiles.

A *task* is what one thread does at a time: `rows` pooled rows of `chunks` blocks of output
channels.  Inside a task there are two ways to pool the convolution before it leaves the core:

registers
    A register tile holds every convolution result under `tile_rows` x `tile_cols` pooled values;
    it is pooled before anything is stored.  Needs windows that do not overlap and see no padding.
strip
    The convolution's rows under the task's pooled rows go to a strip of one channel block, small
    enough to stay in the L2 cache, in register tiles of `tile_cols` columns, as TVM's own schedule
    does it; then the strip is pooled.  Where windows overlap, tasks share rows and compute them
    twice.

Rows and columns are rounded up to whole tiles; what is computed beyond the edge is dropped.  The
order in which one result is summed up does not depend on any of this, so neither does the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .window import PoolWindow, WindowAxis
from .workload import Convolution

_LARGEST_TASK_COUNT = 4096


@dataclass(frozen=True)
class Tile:
    """One way to cut a fused convolution and pool.

    Parameters
    ----------
    in_registers : bool
        Pool in registers; else in a strip.
    rows : int
        Pooled rows of a task; a multiple of `tile_rows`.
    tile_rows : int
        Pooled rows of a register tile; 1 for a strip.
    tile_cols : int
        Columns of a register tile: pooled ones, or convolution columns for a strip.
    chunks : int
        Blocks of output channels of a task.
    pad_once : bool
        Pad the whole input before the first task, as TVM's own schedule does; else each task pads
        the rows it reads.
    """

    in_registers: bool
    rows: int
    tile_rows: int
    tile_cols: int
    chunks: int
    pad_once: bool = False


@dataclass(frozen=True)
class FusedGeometry:
    """A convolution, the pool behind it, and the channel blocks of both.

    Parameters
    ----------
    convolution : Convolution
        The convolution.
    window : PoolWindow
        The pool over its result: two axes of type `WindowAxis`.
    in_block, out_block : int
        Channels of a block of the data and of the result.
    """

    convolution: Convolution
    window: PoolWindow
    in_block: int
    out_block: int

    @property
    def out_chunks(self) -> int:
        """Blocks of output channels."""
        return self.convolution.channels // self.out_block

    @property
    def pooled(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.window.outputs

    @property
    def is_masked(self) -> tuple[bool, bool]:
        """For each axis, whether some window looks over the convolution's edge."""
        return tuple(_looks_out(axis) for axis in self.window.axes)

    @property
    def may_pool_in_registers(self) -> bool:
        """True if no two windows share a value and none sees padding."""
        return not any(self.is_masked) and not self.window.overlaps

    def conv_extent(self, axis: int, pooled: int) -> int:
        """Convolution rows or columns under the first `pooled` windows along an axis."""
        window = self.window.axes[axis]
        reach = (pooled - 1) * window.stride + _span(window) - window.pad_before
        return max(1, min(reach, window.size)) if self.is_masked[axis] else reach

    def rounded_pooled(self, tile: Tile) -> tuple[int, int]:
        """Pooled rows and columns in whole tasks and tiles."""
        height, width = self.pooled
        cols = tile.tile_cols if tile.in_registers else 1
        return round_up(height, tile.rows), round_up(width, cols)

    def rounded_conv(self, tile: Tile) -> tuple[int, int]:
        """Convolution rows and columns that are computed."""
        height, width = self.rounded_pooled(tile)
        cols = self.conv_extent(1, width)
        if not tile.in_registers:
            cols = round_up(cols, tile.tile_cols)
        return self.conv_extent(0, height), cols

    def data_extent(self, axis: int, conv: int) -> int:
        """Padded data rows or columns under `conv` convolution rows or columns."""
        c = self.convolution
        return (conv - 1) * c.strides[axis] + (c.kernel[axis] - 1) * c.dilation[axis] + 1

    def needs_padding(self, tile: Tile) -> bool:
        """True if the convolution reads beyond the data."""
        rows, cols = self.rounded_conv(tile)
        top, left = self.convolution.padding[:2]
        is_inside = (
            self.data_extent(0, rows) <= self.convolution.height
            and self.data_extent(1, cols) <= self.convolution.width
        )
        return bool(top or left or not is_inside)

    def accumulators(self, tile: Tile, lanes: int) -> int:
        """Vector registers that the sums of a register tile take."""
        vectors = -(-self.out_block // lanes)
        if not tile.in_registers:
            return tile.tile_cols * vectors
        height, width = (
            self.conv_extent(axis, count)
            for axis, count in enumerate((tile.tile_rows, tile.tile_cols))
        )
        return height * width * vectors

    def tasks(self, tile: Tile) -> int:
        """How many tasks there are."""
        rows = self.rounded_pooled(tile)[0] // tile.rows
        return self.convolution.batch * rows * (self.out_chunks // tile.chunks)


def make_tiles(geometry: FusedGeometry, lanes: int) -> Iterator[Tile]:
    """Every tile worth trying: no spills, little work beyond the edge.

    Parameters
    ----------
    geometry : FusedGeometry
        What is to be cut.
    lanes : int
        float32 values of a vector register: 16 for AVX-512, 8 for AVX2, 4 for SSE.
    """
    most = register_count(lanes) - 1  # one holds the weights
    pads = (False, True)
    limit = max(_LARGEST_TASK_COUNT, geometry.convolution.batch)
    for in_registers, tile_rows, tile_cols in _register_tiles(geometry, lanes, most):
        for rows in _row_counts(geometry.pooled[0], tile_rows):
            for chunks in divisors(geometry.out_chunks):
                for pad_once in pads:
                    tile = Tile(in_registers, rows, tile_rows, tile_cols, chunks, pad_once)
                    is_padded = geometry.needs_padding(tile)
                    if (is_padded or not pad_once) and geometry.tasks(tile) <= limit:
                        yield tile


def register_count(lanes: int) -> int:
    """Vector registers of x86: 32 with AVX-512, else 16."""
    return 32 if lanes >= 16 else 16


def divisors(number: int) -> list[int]:
    """Divisors in ascending order."""
    return [d for d in range(1, number + 1) if number % d == 0]


def round_up(number: int, multiple: int) -> int:
    """The least multiple that is not below `number`."""
    return -(-number // multiple) * multiple


def _register_tiles(geometry, lanes, most) -> list[tuple[bool, int, int]]:
    """Ways to fill the registers; of strips the one that wastes least if none fills them."""
    found = []
    if geometry.may_pool_in_registers:
        height, width = geometry.pooled
        shapes = ((r, c) for r in (1, 2, 4) if r <= height for c in range(1, width + 1))
        for tile_rows, tile_cols in shapes:
            tile = Tile(True, tile_rows, tile_rows, tile_cols, 1)
            if _is_full(geometry.accumulators(tile, lanes), most, tile_cols, width):
                found.append((True, tile_rows, tile_cols))
    columns = geometry.conv_extent(1, geometry.pooled[1])
    vectors = -(-geometry.out_block // lanes)
    widths = range(1, columns + 1)
    strips = [c for c in widths if _is_full(c * vectors, most, c, columns)]
    if not strips:
        fitting = [c for c in widths if c * vectors <= most] or [1]
        strips = [min(fitting, key=lambda c: (round_up(columns, c), -c))]
    return found + [(False, 1, c) for c in strips]


def _is_full(count: int, most: int, tile: int, extent: int) -> bool:
    """True if a tile of so many sums uses the registers well along an extent."""
    return most // 2 * (tile < extent) < count <= most and _wastes_little(extent, tile)


def _row_counts(height: int, tile_rows: int) -> list[int]:
    """Pooled rows of a task: those that cut the height into equal parts, nearly."""
    counts = {round_up(-(-height // parts), tile_rows) for parts in range(1, height + 1)}
    return [rows for rows in sorted(counts) if _wastes_little(height, rows)]


def _wastes_little(extent: int, tile: int) -> bool:
    return round_up(extent, tile) * 15 <= extent * 16 or round_up(extent, tile) == extent


def _span(axis: WindowAxis) -> int:
    return (axis.kernel - 1) * axis.dilation + 1


def _looks_out(axis: WindowAxis) -> bool:
    last = (axis.output - 1) * axis.stride - axis.pad_before + _span(axis)
    return axis.pad_before > 0 or last > axis.size
