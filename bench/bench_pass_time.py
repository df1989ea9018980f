"""The pass's own time against the whole of `relay.build`, and how it grows.

    python -m bench.bench_pass_time [--blocks 100 300 1000]

A chain of n blocks (conv -> bias -> relu -> 2x2 max pool) and DenseNet-121 are built with the pass
on; a pass instrument times `tvm_reorder.ReorderActivations` inside the build.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import onnx
import tvm
from tvm import relay
from tvm.ir.instrument import PassInstrument

import tvm_reorder
from tvm_reorder.relay.passes import PASS_NAME

from .harness import (
    TARGET,
    add_results_option,
    light_networks,
    run_main,
    use_results,
    write_results,
)


class Stopwatch(PassInstrument):
    """Seconds spent in the pass."""

    def __init__(self):
        super().__init__()
        self.seconds = 0.0
        self._since = 0.0

    def run_before_pass(self, mod, info):
        if info.name == PASS_NAME:
            self._since = time.perf_counter()

    def run_after_pass(self, mod, info):
        if info.name == PASS_NAME:
            self.seconds += time.perf_counter() - self._since


def make_chain(blocks: int) -> tvm.IRModule:
    """Blocks whose wide convolution padding undoes the pool's shrinking: 16x16 stays 16x16."""
    rng = np.random.default_rng(0)
    value = x = relay.var("x", shape=(1, 16, 16, 16))
    for _ in range(blocks):
        weight = relay.const(rng.normal(size=(16, 16, 3, 3)).astype("float32"))
        bias = relay.const(rng.normal(size=16).astype("float32"))
        value = relay.nn.conv2d(value, weight, padding=(9, 9), channels=16, kernel_size=(3, 3))
        value = relay.nn.relu(relay.nn.bias_add(value, bias))
        value = relay.nn.max_pool2d(value, pool_size=(2, 2), strides=(2, 2))
    return tvm.IRModule.from_expr(relay.Function([x], value))


def measure(name: str, mod: tvm.IRModule, params=None) -> dict:
    """Build once with the pass on."""
    stopwatch = Stopwatch()
    with tvm_reorder.enabled() as report:
        with tvm.transform.PassContext(opt_level=3, instruments=[stopwatch]):
            start = time.perf_counter()
            relay.build(mod, TARGET, params=params)
            build = time.perf_counter() - start
    return {
        "network": name,
        "sites": len(report.sites),
        "exchanged": len(report.exchanged),
        "pass_s": stopwatch.seconds,
        "build_s": build,
        "share": stopwatch.seconds / build,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--without-densenet", action="store_true")
    add_results_option(parser)
    args = parser.parse_args()
    use_results(args.results)
    rows = [measure(f"chain of {n}", make_chain(n)) for n in args.blocks]
    if not args.without_densenet:
        model = onnx.load(light_networks()["light_densenet121"])
        rows.append(measure("DenseNet-121", *relay.frontend.from_onnx(model)))
    table = [["network", "max pools", "exchanged", "pass s", "relay.build s", "share", "ms / site"]]
    for row in rows:
        table.append(
            [
                row["network"],
                str(row["sites"]),
                str(row["exchanged"]),
                f"{row['pass_s']:.3f}",
                f"{row['build_s']:.1f}",
                f"{row['share']:.2%}",
                f"{1e3 * row['pass_s'] / row['sites']:.2f}",
            ]
        )
    write_results("pass_time", {"target": TARGET, "rows": rows}, table)


if __name__ == "__main__":
    raise SystemExit(run_main(main))
