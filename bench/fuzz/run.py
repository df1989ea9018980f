"""Building and running, stock and ours, on one thread, by any of TVM's executors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule
from tvm.runtime.executor import AotModule
from tvm.runtime.vm import VirtualMachine

import tvm_reorder

from ..build_flags import remember_build_flags
from ..machine import list_runnable_targets
from .certificates import own_certificates
from .recipe import HOSTED

remember_build_flags()


@dataclass(frozen=True)
class How:
    """How a module is built.

    Parameters
    ----------
    opt_level : int
        Of the ``PassContext``.
    executor : str
        ``"graph"``, ``"aot"`` or ``"vm"``.
    target : str
        What for.
    disabled : tuple of str
        Passes of TVM that do not run.
    """

    opt_level: int
    executor: str = "graph"
    target: str = "llvm"
    disabled: tuple[str, ...] = ()

    @classmethod
    def of(cls, recipe: dict) -> How:
        """As a recipe says, on the widest vectors that this machine has."""
        return cls(recipe["opt_level"], recipe["executor"], fit_target(recipe["target"]))


Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


def fit_target(target: str) -> str:
    """The target, or the widest one that this machine can run."""
    runnable = list_runnable_targets()
    needed = HOSTED.get(target, target)
    return target if needed in runnable else runnable[-1]


def optimize(mod: tvm.IRModule, how: How) -> None:
    """TVM's own passes on a module, at a sixth of a build's time."""
    with tvm.transform.PassContext(opt_level=how.opt_level, disabled_pass=list(how.disabled)):
        relay.optimize(mod, how.target)


def build(mod: tvm.IRModule, how: How) -> Run:
    """The module built by stock TVM, as a function of its inputs."""
    with tvm.transform.PassContext(opt_level=how.opt_level, disabled_pass=list(how.disabled)):
        return _BUILDERS[how.executor](mod, how.target)


def build_ours(mod: tvm.IRModule, how: How, config: tvm_reorder.ReorderConfig):
    """The module built by ours, and the report."""
    with own_certificates(), tvm_reorder.enabled(config) as report:
        return build(mod, how), report


def read_report(mod: tvm.IRModule, how: How, config: tvm_reorder.ReorderConfig):
    """The report of a build, without building."""
    with own_certificates(), tvm_reorder.enabled(config) as report:
        optimize(mod, how)
    return report


def _build_graph(mod: tvm.IRModule, target: str) -> Run:
    library = relay.build(mod, target)
    return _Executor(GraphModule(library["default"](tvm.cpu())))


def _build_aot(mod: tvm.IRModule, target: str) -> Run:
    executor = relay.backend.Executor("aot", {"interface-api": "packed", "unpacked-api": False})
    runtime = relay.backend.Runtime("cpp")
    library = relay.build(mod, target, executor=executor, runtime=runtime)
    return _Executor(AotModule(library["default"](tvm.cpu())))


class _Executor:
    """Runs what has `set_input` and `get_output`."""

    def __init__(self, module: GraphModule | AotModule):
        self._module = module

    def __call__(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        for name, array in inputs.items():
            self._module.set_input(name, tvm.nd.array(array))
        self._module.run()
        count = self._module.get_num_outputs()
        return [self._module.get_output(n).numpy() for n in range(count)]


def _build_vm(mod: tvm.IRModule, target: str) -> Run:
    machine = VirtualMachine(relay.vm.compile(mod, target), tvm.cpu())
    return lambda inputs: [each.numpy() for each in machine.invoke("main", **inputs)]


_BUILDERS: dict[str, Callable[[tvm.IRModule, str], Run]] = {
    "graph": _build_graph,
    "aot": _build_aot,
    "vm": _build_vm,
}
