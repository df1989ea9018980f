"""The paper's networks, built: as they are and exchanged, operators apart and fused.

*Apart* is how the paper's framework runs a network: every operator is a kernel of its own, which
``relay.FuseOps.max_depth`` = 1 gives on TVM.  *Fused* is how TVM runs it.  Both are built at
opt_level 3, where AlterOpLayout blocks the channels on a CPU: of the original and of the exchanged
network alike, with the layout transforms at the same places, so that they cancel out.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import tvm
from tvm import relay
from tvm.relay.backend.executor_factory import GraphExecutorFactoryModule

import tvm_reorder
from tvm_reorder.cli.targets import open_device, read_target
from tvm_reorder.core.report import Report
from tvm_reorder.relay.floor_division import mend_floor_division

from .harness import choose_licence
from .networks import Network

# The activations of the networks: operators, as Relay names them.
ACTIVATIONS = ("nn.relu", "sigmoid", "tanh", "nn.leaky_relu")


@dataclass(frozen=True)
class Setting:
    """What every experiment of a run shares.

    Parameters
    ----------
    target : str
        Compilation target, as the user gave it.
    threads : int
        Threads of TVM, already in use.
    iterations : int
        Rounds of every time measurement; each gives one figure.
    seed : int
        Of inputs and pictures.
    """

    target: str
    threads: int
    iterations: int
    seed: int = 0

    @property
    def compiled_for(self) -> tvm.target.Target:
        """The target, checked; it must run here."""
        return read_target(self.target, must_run_here=True)

    @property
    def device(self) -> tvm.runtime.Device:
        """Where it runs; the only place that knows about devices.

        Nobody has to wait for a GPU anywhere: TVM's time evaluator and its copies to the host do.
        """
        return open_device(self.compiled_for)

    @property
    def licence(self) -> str:
        """The pass's licence, as all benchmarks choose it."""
        return choose_licence(self.compiled_for)

    def place(self, network: str, batch: int) -> dict:
        """The fields that tell where a row was measured."""
        return {
            "network": network,
            "batch": batch,
            "threads": self.threads,
            "target": self.target,
        }


def build(network: Network, setting: Setting, decision: str | None = None, is_apart: bool = False):
    """A network as a graph executor's library.

    Parameters
    ----------
    network : Network
        The network.
    setting : Setting
        Where it is to run.
    decision : str, optional
        What the pass does, of ``tvm_reorder.core.config.DECISIONS``; stock TVM without.
    is_apart : bool
        True makes every operator a kernel of its own.

    Returns
    -------
    tvm.relay.backend.executor_factory.GraphExecutorFactoryModule
        What `relay.build` gives.

    Raises
    ------
    Exception
        What the pass failed with: TVM's build goes on then, and would be stock TVM's.
    """
    return build_for(network, setting.compiled_for, decision, is_apart)[0]


def build_for(
    network: Network,
    target: tvm.target.Target,
    decision: str | None = None,
    is_apart: bool = False,
    disabled: Sequence[str] = (),
) -> tuple[GraphExecutorFactoryModule, Report | None]:
    """As `build`, for a target that need not run here; the library and what the pass did.

    Parameters
    ----------
    network, decision, is_apart
        As for `build`.
    target : tvm.target.Target
        What to build for.
    disabled : sequence of str
        Passes of TVM's to leave out.
    """
    config = {"relay.FuseOps.max_depth": 1} if is_apart else {}
    options = {"decision": decision, "licence": choose_licence(target)}
    ours = nullcontext() if decision is None else tvm_reorder.enabled(**options)
    stock = tvm.transform.PassContext(opt_level=3, config=config, disabled_pass=disabled)
    with mend_floor_division(), ours as report, stock:
        library = relay.build(network.mod, target=target, params=network.params)
    if report is not None and report.errors:
        raise report.errors[-1]
    return library, report


def count_calls(mod: tvm.IRModule, operators: tuple[str, ...]) -> int:
    """Calls of some operators in a module's ``main``."""
    wanted = {relay.op.get(name) for name in operators}
    found: list[relay.Expr] = []
    relay.analysis.post_order_visit(mod["main"], found.append)
    return sum(isinstance(expr, relay.Call) and expr.op in wanted for expr in found)


def name_layer(operator: str, index: int) -> str:
    """The paper's name of an activation layer in front of a max pool: relu1 for the first."""
    return f"{operator.removeprefix('nn.')}{index + 1}"
