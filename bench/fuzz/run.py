"""Building and running, stock and ours, on one thread."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import tvm_reorder

from ..harness import TARGET


def build(mod: tvm.IRModule, opt_level: int, config: tvm_reorder.ReorderConfig | None = None):
    """The module built by stock TVM, or by ours; returned with the report then."""
    context = nullcontext() if config is None else tvm_reorder.enabled(config)
    with context as report, tvm.transform.PassContext(opt_level=opt_level):
        library = relay.build(mod, TARGET)
    return library if config is None else (library, report)


def execute(library, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of a built module."""
    executor = GraphModule(library["default"](tvm.cpu()))
    executor.set_input(**inputs)
    executor.run()
    return [executor.get_output(n).numpy() for n in range(executor.get_num_outputs())]
