"""Expected times on an x86 CPU: of a fused tile, of TVM's own kernels, and of a site either way.

What the model knows
    * multiply-adds at the rate of the vector units, less where a register tile is small;
    * bytes copied for padding, written by the convolution and read by the pool;
    * weights and rows read again by each task;
    * whole tasks for each thread: seven equal tasks take two threads as long as eight;
    * the cost of an activation, by class;
    * in which kernel TVM computes the steps (``Home``), and what goes with them.  Where that moves
      values anyway, evaluations hide behind the bytes: stock is given the longer of the two alone,
      so a gain is promised only where it is there either way;
    * behind a pool, the steps are a second loop over the pooled values, parallel over batch and
      channel blocks only; behind a reduction they are a kernel.  That loop took 0.4 to 2.5 ns a
      value (``bench/results/sites.json``); where bytes alone are to pay for it, the most counts.

The rates were fitted to some 400 fused and stock kernels of 18 layers, measured on an AMD EPYC with
AVX-512 (Zen 4, 3.7 GHz, 1 MiB of L2 a core, two threads); ``bench/sites.py`` shows how well they
fit.  Only ratios of estimates are used, so a machine that is faster as a whole changes nothing.  A
measured record beats the model; see ``decision.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple

from .cost import evaluation_ns
from .decision import Action
from .tiles import FusedGeometry, Tile, divisors, make_tiles, register_count
from .workload import Convolution, Home, SiteWorkload

_FLOAT = 4  # bytes


class ErrorShares(NamedTuple):
    """By how much the time saved may be overestimated.

    Parameters
    ----------
    kernels : float
        Share of the time of the site's kernels as they are.
    steps : float
        Share of the saved time of the moved steps themselves.
    """

    kernels: float
    steps: float


# 90 % quantiles over the promises of ``bench/results/residuals.json`` (the machine that the rates
# were fitted to) and ``bench/results/avx2/residuals.json`` (one that they were not, AMD Zen 3).
_FITTED, _NOT_FITTED = ErrorShares(0.016, 0.289), ErrorShares(0.104, 0.106)


def find_error_shares(lanes: int) -> ErrorShares:
    """The model's error on processors with so many float32 values in a vector register."""
    return _FITTED if lanes == 16 else _NOT_FITTED


@dataclass(frozen=True)
class CpuModel:
    """A machine, as far as the model goes; all rates are of one thread.

    Parameters
    ----------
    threads : int
        Threads of a parallel loop.
    lanes : int
        float32 values of a vector register.
    multiply_adds : float
        Multiply-adds per ns at full rate, for 16 lanes.
    latency : float
        Multiply-adds that must be under way at once to keep the vector unit busy.
    window : int
        Multiply-adds that the processor looks ahead; short sums overlap with the next tile's.
    short_tile : float
        Columns' worth of time that a register tile loses to its ends.
    pad_rate, write_rate, read_rate, weight_rate : float
        Bytes per ns: copied to pad the data, written, read again by another task, of weights.
    pool_rate : float
        Bytes per ns at which TVM's own pool reads.
    row_rate : float
        Bytes per ns at which TVM's own convolution reads the rows under one row of its result.
    l2_bytes : int
        L2 cache of a core; rows that do not fit are read again for each channel block.
    behind_ns : float
        For a value, on one thread: the loop behind a pool at its slowest.
    launch_ms : float
        Starting and joining the threads of a parallel loop.
    """

    threads: int
    lanes: int = 16
    multiply_adds: float = 59.2
    latency: float = 4.0
    window: int = 256
    short_tile: float = 0.014
    pad_rate: float = 28.0
    write_rate: float = 20.0
    read_rate: float = 60.0
    weight_rate: float = 460.0
    pool_rate: float = 50.0
    row_rate: float = 100.0
    l2_bytes: int = 1 << 20
    behind_ns: float = 2.5
    launch_ms: float = 0.005

    def estimate(
        self, workload: SiteWorkload, action: Action, kernel_ms: float | None = None
    ) -> float | None:
        """Milliseconds of a site under an action, None where the model cannot tell.

        Parameters
        ----------
        workload : SiteWorkload
            The site.
        action : Action
            What is done there.
        kernel_ms : float, optional
            The convolution, or the fused operator, if it was measured.
        """
        if workload.dtype != "float32":
            return None
        if action is not Action.FUSE:
            return self._unfused(workload, action, kernel_ms)
        geometry = default_geometry(workload, self.lanes)
        evaluations = self._evaluations(workload, workload.pooled)
        return (kernel_ms or self.fused(geometry, self.best_tile(geometry))) + evaluations

    def steps(self, workload: SiteWorkload, action: Action) -> float:
        """Milliseconds of the moved steps' own evaluations under an action."""
        if action is Action.KEEP:
            return self._evaluations(workload, workload.elements)
        ends = 2 if workload.ends == "both" else 1
        return ends * self._evaluations(workload, workload.pooled)

    def error(self, workload: SiteWorkload, action: Action) -> float:
        """Milliseconds by which the time that an action saves may be overestimated."""
        kept, shares = self.steps(workload, Action.KEEP), find_error_shares(self.lanes)
        kernels = self.estimate(workload, Action.KEEP) - kept
        saved = max(0.0, kept - self.steps(workload, action))
        return shares.kernels * kernels + shares.steps * saved

    def best_tile(self, geometry: FusedGeometry) -> Tile:
        """The tile with the least expected time."""
        return self.ranked_tiles(geometry)[0]

    def ranked_tiles(self, geometry: FusedGeometry) -> list[Tile]:
        """All tiles worth trying, the fastest expected one first."""
        return list(_rank(self, geometry))

    def fused(self, geometry: FusedGeometry, tile: Tile) -> float:
        """Milliseconds of the fused convolution and pool."""
        conv = geometry.convolution
        taps = prod(conv.kernel) * conv.in_channels
        rows, cols = self._task_extent(geometry, tile)
        block = geometry.out_block
        sums = rows * cols * block
        pooled = tile.rows * geometry.pooled[1] * block
        strip_bytes = self._strip_bytes(geometry, tile, rows)
        weight_bytes = taps * block * _FLOAT
        chunk = self._compute(sums, taps, geometry.accumulators(tile, self.lanes), block)
        chunk += weight_bytes / self.weight_rate + pooled * _FLOAT / self.write_rate
        if strip_bytes + weight_bytes > self.l2_bytes or tile.pad_once:
            chunk += strip_bytes / self.read_rate
        if not tile.in_registers:
            window = prod(axis.kernel for axis in geometry.window.axes)
            chunk += (sums + window * pooled) * _FLOAT / self.read_rate
        task, before = chunk * tile.chunks, 0.0
        if geometry.needs_padding(tile) and not tile.pad_once:
            task += strip_bytes / self.pad_rate
        elif geometry.needs_padding(tile):
            before = self._padding(conv)
        waves = -(-geometry.tasks(tile) // self.threads)
        return self.launch_ms + before + waves * task * 1e-6

    def _unfused(self, workload: SiteWorkload, action: Action, kernel_ms: float | None) -> float:
        """The convolution's kernel, the pool's, and what the steps cost there or between them."""
        convolution = kernel_ms or self._convolution(workload)
        if action is Action.KEEP:
            return convolution + self._kept(workload)
        time = convolution + self._pool(workload, workload.base_bytes)
        if workload.home is Home.COPY:
            time += self._copied(workload)
        if workload.ends == "both":
            return time + self._smallest(workload) + 2 * self._behind(workload)
        if workload.ends == "signed" and workload.convolution is None:
            time += self._copied(workload)  # a convolution signs its values on the way out
        return time + self._behind(workload)

    def _kept(self, workload: SiteWorkload) -> float:
        """Milliseconds of the pool, and of the steps on every value in their kernel."""
        pool, evaluations = self._pool(workload), self._evaluations(workload, workload.elements)
        if workload.home is Home.PRODUCER:
            return pool + evaluations
        if workload.home is Home.ANOTHER_POOL:
            return pool + self._second_loop(workload, workload.elements, self._written_again())
        if workload.home is Home.THIS_POOL:
            return max(pool, self.launch_ms + evaluations)
        return pool + max(self._copied(workload), self.launch_ms + evaluations)

    def _behind(self, workload: SiteWorkload) -> float:
        """Milliseconds of the steps on the pooled values."""
        if workload.is_reduction:
            evaluations = self._evaluations(workload, workload.pooled)
            return self._copied(workload, workload.pooled) + evaluations
        evaluations = self._evaluations(workload, workload.elements)
        is_paid_by_bytes = self._copied(workload) > self.launch_ms + evaluations
        is_slow = workload.home is Home.ALONE and is_paid_by_bytes
        value_ns = self.behind_ns if is_slow else self._written_again()
        return self._second_loop(workload, workload.pooled, value_ns)

    def _second_loop(self, workload: SiteWorkload, count: int, value_ns: float) -> float:
        """Milliseconds of the steps on values that a pool has just written, in the same kernel."""
        tasks = max(1, workload.planes // self.lanes)
        idle = -(-tasks // self.threads) * self.threads / tasks
        moved = count * value_ns / self.threads * 1e-6
        launch = self.launch_ms if tasks > 1 else 0.0
        return launch + idle * (moved + self._evaluations(workload, count))

    def _written_again(self) -> float:
        """ns of a value that a pool has written, read and written once more."""
        return 3 * _FLOAT / self.write_rate

    def _smallest(self, workload: SiteWorkload) -> float:
        """Milliseconds for the smallest value of each window: a negation, and one more pool."""
        return self._copied(workload) + self._pool(workload, workload.base_bytes)

    def _copied(self, workload: SiteWorkload, count: int | None = None) -> float:
        """Milliseconds of a kernel that does something cheap to each of `count` values, or all."""
        count = workload.elements if count is None else count
        read = count * workload.base_bytes / (self.read_rate * self.threads) * 1e-6
        return self.launch_ms + read + self._written(count)

    def _convolution(self, workload: SiteWorkload) -> float:
        """Nothing if the site begins behind its convolutions: the difference is what counts."""
        conv = workload.convolution
        return 0.0 if conv is None else self._plain_convolution(conv)

    def _plain_convolution(self, conv: Convolution) -> float:
        """TVM's conv2d_avx_common with its default configuration."""
        out_block, _ = default_blocks(conv, self.lanes)
        height, width = conv.outputs
        columns = max(d for d in divisors(width) if d <= 31)
        row = width * out_block
        taps = prod(conv.kernel) * conv.in_channels // conv.groups
        accumulators = columns * -(-out_block // self.lanes)
        rows_read = conv.kernel[0] * width * conv.strides[1] * conv.in_channels * _FLOAT
        task = self._compute(row, taps, accumulators, out_block) + rows_read / self.row_rate
        chunks = conv.channels // out_block
        waves = -(-conv.batch * chunks * height // self.threads)
        padding = self._padding(conv) if any(conv.padding) else 0.0
        written = self._written(conv.batch * chunks * row * height)
        return self.launch_ms + waves * task * 1e-6 + written + padding

    def _pool(self, workload: SiteWorkload, value_bytes: int = _FLOAT) -> float:
        """Milliseconds to pool; narrower values than float32 are not read faster."""
        read = workload.elements * max(_FLOAT, value_bytes) / (self.pool_rate * self.threads)
        return self.launch_ms + read * 1e-6

    def _padding(self, conv: Convolution) -> float:
        """Milliseconds to pad the whole input with all threads."""
        size = conv.batch * conv.in_channels * conv.height * conv.width * _FLOAT
        return self.launch_ms + size / (self.pad_rate * self.threads) * 1e-6

    def _written(self, elements: int) -> float:
        """Milliseconds to write values with all threads."""
        return elements * _FLOAT / (self.write_rate * self.threads) * 1e-6

    def _compute(self, sums: int, taps: int, accumulators: int, block: int) -> float:
        """ns for sums of so many products each, at the rate that a register tile allows."""
        used = block / (-(-block // self.lanes) * self.lanes)
        spills = 1.0 if accumulators < register_count(self.lanes) else 0.5
        busy = min(1.0, max(accumulators, self.window / taps) / self.latency)
        rate = self.multiply_adds * self.lanes / 16 * used * spills * busy
        return sums * taps / rate * (1 + self.short_tile / accumulators)

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

    def _evaluations(self, workload: SiteWorkload, count: int) -> float:
        return evaluation_ns(workload.chain) * count / self.threads * 1e-6


@lru_cache(maxsize=256)  # one site is ranked for the decision, the layout and the schedule
def _rank(model: CpuModel, geometry: FusedGeometry) -> tuple[Tile, ...]:
    tiles = make_tiles(geometry, model.lanes)
    return tuple(sorted(tiles, key=lambda tile: model.fused(geometry, tile)))


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
