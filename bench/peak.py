"""The machine's float32 peak, from a kernel that does nothing but multiply and add.

    python -m bench.peak [--threads 2]

Each thread keeps independent chains of ``x = x * a + b`` in vector registers: enough of them to
hide the latency of the multiply-add, few enough to stay in registers.  TVM compiles the kernel, so
no C compiler takes part, and the figure is what TVM's own code generator can reach.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
import tvm
from tvm import te, tir

from tvm_reorder.cli.lines import say
from tvm_reorder.relay.op.conv2d_max_pool2d import make_model

from .harness import TARGET, run_main

_CHAINS = 12  # latency 4 on two pipes needs 8; 16 registers hold 12, the factor and the summand
_STEPS = 1_000_000
_REPEATS = 40


def measure_peak(threads: int = 1) -> float:
    """Peak of `threads` threads together.

    The best of some runs: whatever else the machine does can only make a run slower.

    Parameters
    ----------
    threads : int
        At most as many as TVM's pool has (``TVM_NUM_THREADS``, else TVM's own choice).

    Returns
    -------
    float
        float32 GFLOP/s, a multiply-add counted as two.

    Raises
    ------
    ValueError
        If TVM's pool has fewer threads.
    """
    _check(threads)
    with tvm.target.Target(TARGET):
        lanes = make_model().lanes
    kernel = _compile(threads, lanes)
    # A factor just below 1: no overflow, no denormals, and nothing a compiler could fold.
    arguments = tvm.nd.array(np.array([0.999, 0.001], "float32"))
    results = tvm.nd.array(np.zeros(threads * lanes, "float32"))
    timer = kernel.time_evaluator(kernel.entry_name, tvm.cpu(), number=1, repeat=_REPEATS)
    operations = 2 * threads * _CHAINS * lanes * _STEPS
    return operations / min(timer(arguments, results).results) / 1e9


def _check(threads: int) -> None:
    pool = tvm.runtime.num_threads()
    if not 1 <= threads <= pool:
        raise ValueError(f"threads is {threads} but must be from 1 to {pool}, TVM's own number")


def _compile(threads: int, lanes: int) -> tvm.runtime.Module:
    arguments = te.placeholder((2,), name="arguments")
    results = te.extern(
        [(threads * lanes,)],
        [arguments],
        lambda inputs, outputs: _chains(inputs[0], outputs[0], threads, lanes),
        name="results",
        dtype="float32",
    )
    return tvm.build(te.create_schedule(results.op), [arguments, results], TARGET)


def _chains(arguments, results, threads: int, lanes: int) -> tir.Stmt:
    builder = tir.ir_builder.create()
    arguments, results = builder.buffer_ptr(arguments), builder.buffer_ptr(results)
    factor = tir.Broadcast(arguments[0], lanes)
    summand = tir.Broadcast(arguments[1], lanes)
    with builder.for_range(0, threads, kind="parallel", name="thread") as thread:
        chains = builder.allocate("float32", _CHAINS * lanes, name="chains", scope="local")
        # Unlike starts: equal chains would be computed once.
        for index in range(_CHAINS):
            start = tir.Broadcast(tir.const(1 + index / _CHAINS, "float32"), lanes)
            chains[tir.Ramp(index * lanes, 1, lanes)] = start
        with builder.for_range(0, _STEPS, name="step"):
            for index in range(_CHAINS):
                chain = tir.Ramp(index * lanes, 1, lanes)
                chains[chain] = chains[chain] * factor + summand
        total = tir.Broadcast(tir.const(0, "float32"), lanes)
        for index in range(_CHAINS):
            total = total + chains[tir.Ramp(index * lanes, 1, lanes)]
        results[tir.Ramp(thread * lanes, 1, lanes)] = total
    return builder.get()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="1 to this many")
    args = parser.parse_args()
    os.environ["TVM_NUM_THREADS"] = str(args.threads)  # TVM's own number may be fewer
    _check(args.threads)
    for threads in range(1, args.threads + 1):
        say(f"{threads} threads: {measure_peak(threads):.1f} GFLOP/s")


if __name__ == "__main__":
    raise SystemExit(run_main(main))
