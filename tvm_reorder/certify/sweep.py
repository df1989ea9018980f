"""Walks every value of a dtype in order through a compiled function.

A *chunk* is what one kernel call takes and stays in the caches; a *block* is what a thread does at
a time, what a bar advances by, and what an interrupted sweep keeps.  A chunk whose results never
fall, or never rise, and hold no NaN (a comparison with NaN is false) is summarised from its ends;
any other is accounted for in full (``runs.py``).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import reduce

import numpy as np
import tvm

from .floats import FORMATS, FloatFormat
from .kernel import CompiledPair, Program
from .runs import Summary, falling, rising, summarise

CHUNK = 1 << 19  # smaller ones wait for each other in the interpreter, larger ones for memory
BLOCK = 1 << 24
_PIECE = 1 << 14  # below malloc's threshold: larger temporaries are mapped and cleared each time

Places = tuple[int, int]


def sweep(
    pair: CompiledPair,
    places: Places,
    *,
    known: dict[int, Summary],
    on_block: Callable[[], None] = lambda: None,
    threads: int | None = None,
) -> Summary:
    """Walk some places of the argument's format.

    Parameters
    ----------
    pair : CompiledPair
        The function.
    places : tuple of int
        The first place and the one behind the last.
    known : dict of int to Summary
        Blocks that are done, by their first place; every further one is added when it is.
    on_block : callable
        Called in this thread after each block; what it raises ends the sweep, in good order.
    threads : int, optional
        How many; one a core that this process may use by default, one for a GPU.

    Returns
    -------
    Summary
        All the blocks' together.
    """
    starts = range(places[0], places[1], BLOCK)
    pending = [start for start in starts if start not in known]
    local, is_stopped = threading.local(), threading.Event()

    def run(start: int) -> Summary | None:
        if not hasattr(local, "walker"):
            local.walker = _Walker(pair)
        return local.walker.walk(start, min(start + BLOCK, places[1]), is_stopped)

    if pair.target.kind.name != "llvm":
        threads = 1
    with ThreadPoolExecutor(1) as pool:
        cores = pool.submit(_use_all_cores).result()
    with ThreadPoolExecutor(max(1, min(threads or cores, len(pending)))) as pool:
        try:
            for start, summary in _as_done(pool, run, pending):
                known[start] = summary
                on_block()
        finally:
            is_stopped.set()
    return reduce(Summary.__add__, (known[start] for start in starts))


def _as_done(pool, run, pending: list[int]) -> Iterator[tuple[int, Summary]]:
    futures: dict[Future, int] = {pool.submit(run, start): start for start in pending}
    try:
        while futures:
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                yield futures.pop(future), future.result()
    finally:
        for future in futures:
            future.cancel()


def _use_all_cores() -> int:
    """Let this thread run anywhere again, and count the cores that the process may use.

    TVM binds a thread to one core when it makes the thread's pool, and threads inherit that.
    """
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return len(os.sched_getaffinity(0))


class _Walker:
    """One thread's programs and buffers."""

    def __init__(self, pair: CompiledPair):
        # One thread of TVM's own in each of ours: its pool is per thread.
        tvm.get_global_func("runtime.config_threadpool")(1, 1)
        _use_all_cores()
        self._arguments: FloatFormat = FORMATS[pair.dtype_in]
        self._results: FloatFormat = FORMATS[pair.dtype_out]
        self._vector = Program(pair.vector, pair)
        self._scalar = Program(pair.scalar, pair) if pair.scalar is not None else None
        self._chunk = pair.chunk
        self._ramp = np.arange(pair.chunk, dtype=self._arguments.unsigned)
        self._flags = np.empty(pair.chunk, bool)
        self._steps = np.empty(pair.chunk, np.int32)

    def walk(self, start: int, stop: int, is_stopped: threading.Event) -> Summary | None:
        """Summary of places `start` to `stop` - 1; None if told to stop in between."""
        summary = Summary()
        for first in range(start, stop, self._chunk):
            if is_stopped.is_set():
                return None
            summary += self._walk_chunk(first, min(self._chunk, stop - first))
        return summary

    def _walk_chunk(self, first: int, count: int) -> Summary:
        self._arguments.fill(first, self._vector.input, self._ramp)
        self._vector()
        bits = self._vector.output[:count]
        summary = self._summarise_moving(bits, first)
        if summary is None:
            summary = self._account(bits, first)
        if self._scalar is None:
            return summary
        self._scalar.input[:] = self._vector.input
        self._scalar()
        return self._compare(summary, bits, self._scalar.output[:count], first)

    def _account(self, bits: np.ndarray, first: int) -> Summary:
        """Summary of any results, piece by piece."""
        summary = Summary()
        for start in range(0, bits.size, _PIECE):
            piece = bits[start : start + _PIECE]
            known = self._summarise_moving(piece, first + start)
            if known is None:
                is_nan = self._results.is_nan(piece)
                known = summarise(self._results.keys(piece), is_nan, first + start)
            summary += known
        return summary

    def _summarise_moving(self, bits: np.ndarray, first: int) -> Summary | None:
        """Summary of float32 results that move one way, or are all NaN; None for any others."""
        if self._results.number != np.float32:
            return None
        values, size = bits.view(np.float32), bits.size
        if values[0] != values[0] and (values != values).all():
            return Summary(values=size, nan=size)
        ends = float(values[0]), float(values[-1])
        if not _have_one_sign(*ends):
            return None
        flags, steps = self._flags[: size - 1], self._steps[: size - 1]
        compare = np.greater_equal if ends[0] <= ends[1] else np.less_equal
        if not compare(values[1:], values[:-1], out=flags).all():
            return None
        first_key, last_key = (int(key) for key in self._results.keys(bits[[0, -1]]))
        moves = worst = 0
        if first_key != last_key:
            whole = bits.view(np.int32)
            np.subtract(whole[1:], whole[:-1], out=steps)
            moves = int(np.count_nonzero(steps))
            worst = int(steps.max() if (ends[0] <= ends[1]) == (ends[1] > 0) else -steps.min())
        if ends[0] <= ends[1]:
            return rising(first_key, last_key, first, first + size, moves, worst)
        low_at = size - int(np.searchsorted(values[::-1], values[-1], side="right"))
        stop = first + size
        return falling(first_key, last_key, first, first + low_at, stop, moves, worst)

    def _compare(self, summary: Summary, bits, others, first: int) -> Summary:
        """The summary with the values on which the scalar code differs."""
        if np.array_equal(bits, others):
            return summary
        nan, other_nan = self._results.is_nan(bits), self._results.is_nan(others)
        distance = np.abs(self._results.keys(bits) - self._results.keys(others))
        distance[nan & other_nan] = 0
        one_is_nan = nan != other_nan
        distance[one_is_nan] = 2 * self._results.infinity  # as far apart as any two results
        count = int(np.count_nonzero(distance))
        if not count:
            return summary
        worst = int(distance.argmax())
        return summary._replace(
            mismatches=count, worst_mismatch=int(distance[worst]), mismatch_at=first + worst
        )


def _have_one_sign(first: float, last: float) -> bool:
    """True if both ends are above 0, both below, or equal; False for NaN."""
    return first == last or (first > 0 and last > 0) or (first < 0 and last < 0)
