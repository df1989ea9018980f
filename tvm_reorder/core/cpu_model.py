"""Expected times on an x86 CPU: of a fused tile, of TVM's own kernels, and of a site either way.

What the model knows
    * multiply-adds at the rate of the vector units, less where a register tile is small;
    * bytes copied for padding, written by the convolution and read by the pool;
    * weights and rows read again by each task;
    * whole tasks for each thread: seven equal tasks take two threads as long as eight;
    * the cost of an activation, by class.

The rates were fitted to kernels measured on an AMD EPYC with AVX-512 (Zen 4, 3.7 GHz, 1 MiB of L2
a core); ``bench/sites.py`` shows how well they fit.  Only ratios of estimates are used, so a
machine that is faster as a whole changes nothing.  A measured record beats the model; see
``decision.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from .cost import evaluation_ns
from .decision import Action
from .tiles import FusedGeometry, Tile, divisors, make_tiles
from .workload import Convolution, SiteWorkload

_LAUNCH_MS = 0.004  # starting and joining the threads of a parallel loop
_SHORT_TILE = 0.25  # register tiles lose this part of a column to their ends
_FLOAT = 4  # bytes


@dataclass(frozen=True)
class CpuModel:
    """A machine, as far as the model goes.

    Parameters
    ----------
    threads : int
        Threads of a parallel loop.
    lanes : int
        float32 values of a vector register.
    multiply_adds : float
        Multiply-adds per ns and thread at full rate, for 16 lanes.
    l2_bytes : int
        L2 cache of a core.
    copy_rate, stream_rate : float
        Bytes per ns and thread: copied to memory or L3, read again from L3.
    """

    threads: int
    lanes: int = 16
    multiply_adds: float = 58.0
    l2_bytes: int = 1 << 20
    copy_rate: float = 18.0
    stream_rate: float = 60.0

    def estimate(self, workload: SiteWorkload, action: Action) -> float | None:
        """Milliseconds of a site under an action, None where the model cannot tell."""
        if workload.dtype != "float32":
            return None
        if action is Action.KEEP:
            return self._keep(workload)
        if action is Action.EXCHANGE:
            return self._exchange(workload)
        geometry = default_geometry(workload, self.lanes)
        evaluations = self._evaluations(workload.chain, workload.pooled)
        return self.fused(geometry, self.best_tile(geometry)) + evaluations

    def best_tile(self, geometry: FusedGeometry) -> Tile:
        """The tile with the least expected time."""
        return self.ranked_tiles(geometry)[0]

    def ranked_tiles(self, geometry: FusedGeometry) -> list[Tile]:
        """All tiles worth trying, the fastest expected one first."""
        tiles = make_tiles(geometry, self.lanes)
        return sorted(tiles, key=lambda tile: self.fused(geometry, tile))

    def fused(self, geometry: FusedGeometry, tile: Tile) -> float:
        """Milliseconds of the fused convolution and pool."""
        conv = geometry.convolution
        taps = prod(conv.kernel) * conv.in_channels
        rows, cols = self._task_extent(geometry, tile)
        block = geometry.out_block
        sums = rows * cols * block
        accumulators = geometry.accumulators(tile, self.lanes)
        compute = self._compute(sums * taps, accumulators, block)
        strip_bytes = self._strip_bytes(geometry, tile, rows)
        weight_bytes = taps * block * _FLOAT
        reread = strip_bytes if strip_bytes + weight_bytes > self.l2_bytes else 0
        chunk = compute + (weight_bytes + reread) / self.stream_rate
        if not tile.in_registers:
            pooled = tile.rows * geometry.pooled[1] * block
            chunk += self._strip_traffic(sums, pooled, geometry)
        task = chunk * tile.chunks
        before = 0.0
        if geometry.needs_padding(tile) and not tile.pad_once:
            task += strip_bytes / self.copy_rate
        elif geometry.needs_padding(tile):
            before = _LAUNCH_MS + self._shared_copy(_input_bytes(conv))
        task += _FLOAT * block * tile.chunks * tile.rows * geometry.pooled[1] / self.copy_rate
        waves = -(-geometry.tasks(tile) // self.threads)
        return _LAUNCH_MS + before + waves * task * 1e-6

    def _keep(self, workload: SiteWorkload) -> float:
        before = self._evaluations(workload.chain, workload.elements)
        return self._convolution(workload) + before + self._pool(workload)

    def _exchange(self, workload: SiteWorkload) -> float:
        """TVM's pool schedule writes the pooled values once more for what is fused behind it."""
        after = self._evaluations(workload.chain, workload.pooled)
        again = 3 * self._shared_copy(workload.pooled * _FLOAT)
        return self._convolution(workload) + self._pool(workload) + after + again

    def _convolution(self, workload: SiteWorkload) -> float:
        """Nothing if the site begins behind its convolutions: the difference is what counts."""
        conv = workload.convolution
        return 0.0 if conv is None else self._plain_convolution(conv)

    def _plain_convolution(self, conv: Convolution) -> float:
        """TVM's conv2d_avx_common with its default configuration."""
        out_block, in_block = default_blocks(conv, self.lanes)
        height, width = conv.outputs
        columns = max(d for d in divisors(width) if d <= 31)
        row = width * out_block
        taps = prod(conv.kernel) * conv.in_channels
        accumulators = columns * -(-out_block // self.lanes)
        compute = self._compute(row * taps, accumulators, out_block)
        reread = conv.kernel[0] * (width * conv.strides[1]) * conv.in_channels * _FLOAT
        task = compute + (reread + row * _FLOAT) / self.stream_rate
        waves = -(-conv.batch * (conv.channels // out_block) * height // self.threads)
        written = self._shared_copy(row * height * (conv.channels // out_block) * _FLOAT)
        padding = self._shared_copy(_input_bytes(conv)) + _LAUNCH_MS if any(conv.padding) else 0.0
        return _LAUNCH_MS + waves * task * 1e-6 + written * conv.batch / 2 + padding

    def _pool(self, workload: SiteWorkload) -> float:
        read = workload.elements * _FLOAT / (self.stream_rate * self.threads)
        return _LAUNCH_MS + read * 1e-6

    def _compute(self, multiply_adds: float, accumulators: int, block: int) -> float:
        """ns at the rate that a register tile allows."""
        vectors = -(-block // self.lanes)
        used = block / (vectors * self.lanes)
        spills = 1.0 if accumulators < 32 else 0.5
        latency = min(1.0, accumulators / 8)
        rate = self.multiply_adds * self.lanes / 16 * used * spills * latency
        return multiply_adds / rate * (1 + _SHORT_TILE / accumulators)

    def _task_extent(self, geometry: FusedGeometry, tile: Tile) -> tuple[int, int]:
        """Convolution rows and columns that a task computes."""
        if tile.in_registers:
            tall = geometry.conv_extent(0, tile.tile_rows) * (tile.rows // tile.tile_rows)
            wide = geometry.conv_extent(1, tile.tile_cols)
            return tall, wide * (geometry.rounded_pooled(tile)[1] // tile.tile_cols)
        return geometry.conv_extent(0, tile.rows), geometry.rounded_conv(tile)[1]

    def _strip_bytes(self, geometry: FusedGeometry, tile: Tile, rows: int) -> int:
        conv = geometry.convolution
        cols = geometry.data_extent(1, geometry.rounded_conv(tile)[1])
        return geometry.data_extent(0, rows) * cols * conv.in_channels * _FLOAT

    def _strip_traffic(self, sums: int, pooled: int, geometry: FusedGeometry) -> float:
        """ns to write a strip and to read every window from it."""
        window = prod(axis.kernel for axis in geometry.window.axes)
        return (sums + window * pooled) * _FLOAT / self.stream_rate

    def _shared_copy(self, size: float) -> float:
        """Milliseconds to copy bytes with all threads."""
        return size / (self.copy_rate * self.threads) * 1e-6

    def _evaluations(self, chain: Iterable[str], count: int) -> float:
        return evaluation_ns(chain) * count / self.threads * 1e-6


def default_blocks(conv: Convolution, lanes: int) -> tuple[int, int]:
    """Channels of a block of the result and of the data, as ``conv2d_avx_common`` chooses them."""
    out_block = max(d for d in divisors(conv.channels) if d <= lanes)
    in_block = max(d for d in divisors(conv.in_channels) if d <= out_block)
    return out_block, in_block


def default_geometry(workload: SiteWorkload, lanes: int) -> FusedGeometry:
    """The geometry of a site with a convolution, in TVM's default channel blocks."""
    conv = workload.convolution
    out_block, in_block = default_blocks(conv, lanes)
    return FusedGeometry(conv, workload.window, in_block, out_block)


def _input_bytes(conv: Convolution) -> int:
    return conv.batch * conv.in_channels * conv.height * conv.width * _FLOAT
