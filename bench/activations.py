"""What one evaluation of an activation costs on one core.

    python -m bench.activations [--repeat 9]

Each operator runs over a million float32 values that stay in the L3 cache; ReLU's time, which is
that of reading and writing them, is subtracted.  ``core/cost.py`` quotes the results.
"""

from __future__ import annotations

import argparse
import os
import statistics

from .harness import (
    TARGET,
    add_results_option,
    run_main,
    use_results,
    write_results,
)

SHAPE = (1, 1024, 8, 8, 16)


def operators() -> dict:
    """The operators measured, each a function of one Relay expression."""
    from tvm import relay

    plain = ("sigmoid", "tanh", "exp", "erf", "atan", "sinh", "asinh")
    positive = ("log", "log2", "log10", "sqrt")
    fast = ("fast_exp", "fast_tanh", "fast_erf")
    return {
        "nn.relu": relay.nn.relu,
        "clip": lambda x: relay.clip(x, 0, 6),
        "nn.leaky_relu": lambda x: relay.nn.leaky_relu(x, 0.1),
        **{name: getattr(relay, name) for name in plain},
        **{name: _of_magnitude(getattr(relay, name)) for name in positive},
        **{name: getattr(relay.op._make, name) for name in fast},
    }


def _of_magnitude(function):
    from tvm import relay

    return lambda x: function(relay.abs(x))


def measure(operator, repeat: int) -> list[float]:
    """Nanoseconds an element, one figure a round."""
    import numpy as np
    import tvm
    from tvm import relay
    from tvm.contrib.graph_executor import GraphModule

    data = relay.var("x", shape=SHAPE)
    mod = tvm.IRModule.from_expr(relay.Function([data], operator(data)))
    with tvm.transform.PassContext(opt_level=3):
        library = relay.build(mod, TARGET)
    executor = GraphModule(library["default"](tvm.cpu()))
    values = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
    executor.set_input("x", values)
    timer = executor.module.time_evaluator("run", tvm.cpu(), number=3, repeat=repeat)
    return [seconds * 1e9 / values.size for seconds in timer().results]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=9)
    add_results_option(parser)
    args = parser.parse_args()
    use_results(args.results)
    os.environ["TVM_NUM_THREADS"] = "1"
    samples = {name: measure(operator, args.repeat) for name, operator in operators().items()}
    floor = statistics.median(samples["nn.relu"])
    table = [["operator", "ns an evaluation", "spread"]]
    for name, times in samples.items():
        spread = max(times) - min(times)
        table.append([name, f"{statistics.median(times) - floor:.2f}", f"{spread:.2f}"])
    write_results("activations", {"target": TARGET, "samples_ns": samples}, table)


if __name__ == "__main__":
    raise SystemExit(run_main(main))
