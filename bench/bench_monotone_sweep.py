"""Every float32 in order through an activation as TVM compiles it: does it ever fall?

    python -m bench.bench_monotone_sweep [--target TARGET] [--results DIR] [NAME ...]

For each function: decreasing steps between neighbours, and the worst drop below the running
maximum, in units in the last place.  These are the figures of ``tvm_reorder/core/measured.py``.
About a minute a function on one core.  On another target, such as ``cuda``, they say what licence a
function needs there (``ulp:N``), before which only ``ulp:any`` moves it; they are written to
``monotone_sweep_KIND.json`` then.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import numpy as np

from .harness import add_results_option, run_main, use_results, write_results

TARGET = "llvm -mcpu=skylake-avx512"
CHUNK = 1 << 24


def make_functions() -> dict:
    """Name to (expression maker, opt_level); level 4 runs FastMath."""
    from tvm import relay

    one = relay.const(np.float32(1))
    plain = ("exp", "log", "log2", "log10", "sqrt", "erf", "atan", "sinh", "asinh")
    functions = {name: (getattr(relay, name), 3) for name in (*plain, "tanh", "sigmoid")}
    functions["softsign"] = (lambda x: x / (one + relay.abs(x)), 3)
    for name in ("exp", "tanh", "erf"):
        functions[f"fast_{name}"] = (getattr(relay, name), 4)
    return functions


def ordered_floats(start: int) -> np.ndarray:
    """CHUNK float32 values from place `start` of their order; NaN at both ends."""
    place = np.arange(start, start + CHUNK, dtype=np.int64)
    bits = np.where(place < 1 << 31, 0xFFFFFFFF - place, place - (1 << 31))
    return bits.astype(np.uint32).view(np.float32)


def rank(values: np.ndarray) -> np.ndarray:
    """Place of each value among the floats; both zeros share one."""
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def sweep(make, opt_level: int, target, device) -> dict:
    """Run one function over all floats."""
    import tvm
    from tvm import relay
    from tvm.contrib.graph_executor import GraphModule

    x = relay.var("x", shape=(CHUNK,))
    mod = tvm.IRModule.from_expr(relay.Function([x], make(x)))
    with tvm.transform.PassContext(opt_level=opt_level):
        executor = GraphModule(relay.build(mod, target)["default"](device))
    steps = worst = nan = 0
    last = top = np.float32(-np.inf)
    start = time.perf_counter()
    for first in range(0, 1 << 32, CHUNK):
        values = ordered_floats(first)
        executor.run(x=values)
        result = executor.get_output(0).numpy()[~np.isnan(values)]
        nan += int(np.isnan(result).sum())
        result = result[~np.isnan(result)]
        if not result.size:
            continue
        steps += int((np.diff(result, prepend=last) < 0).sum())
        highest = np.maximum.accumulate(np.maximum(result, top))
        below = result < highest
        if below.any():
            worst = max(worst, int((rank(highest[below]) - rank(result[below])).max()))
        last, top = result[-1], highest[-1]
    seconds = time.perf_counter() - start
    return {"decreasing_steps": steps, "worst_drop_ulp": worst, "nan": nan, "seconds": seconds}


def main() -> int:
    os.environ.setdefault("TOPHUB_LOCATION", "NONE")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--target", default=TARGET, help=f"what to sweep (default: {TARGET})")
    add_results_option(parser)
    args = parser.parse_args()
    from tvm_reorder.cli.targets import open_device, read_target

    use_results(args.results)
    functions = make_functions()
    unknown = sorted(set(args.names) - set(functions))
    if unknown:
        raise ValueError(f"function is {unknown[0]!r} but must be one of {', '.join(functions)}")
    target = read_target(args.target, must_run_here=True)
    device = open_device(target)
    rows = {}
    for name in args.names or functions:
        rows[name] = sweep(*functions[name], target, device)
        print(name, rows[name], file=sys.stderr, flush=True)
    table = [["function", "decreasing steps", "worst drop (ulp)", "NaN results"]]
    table += [
        [n, str(r["decreasing_steps"]), str(r["worst_drop_ulp"]), str(r["nan"])]
        for n, r in rows.items()
    ]
    kind = target.kind.name
    name = "monotone_sweep" if kind == "llvm" else f"monotone_sweep_{kind}"
    write_results(name, {"target": str(target), "dtype": "float32", "rows": rows}, table)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
