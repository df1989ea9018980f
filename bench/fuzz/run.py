"""Building and running, stock and ours, on one thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import tvm_reorder

from ..harness import TARGET


def build(
    mod: tvm.IRModule,
    opt_level: int,
    config: tvm_reorder.ReorderConfig | None = None,
    compiler: Callable = relay.build,
):
    """The module built by stock TVM, or, with a config, by ours: then with the report.

    `compiler` may be ``relay.optimize`` for TVM's passes alone, a sixth of the time.
    """
    context = nullcontext() if config is None else tvm_reorder.enabled(config)
    with context as report, tvm.transform.PassContext(opt_level=opt_level):
        built = compiler(mod, TARGET)
    return built if config is None else (built, report)


def execute(library, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of a built module."""
    executor = GraphModule(library["default"](tvm.cpu()))
    executor.set_input(**inputs)
    executor.run()
    return [executor.get_output(n).numpy() for n in range(executor.get_num_outputs())]
