"""Which kernels of a built network are the activation layers that the exchange moves.

Nothing is guessed: with every operator apart a kernel is named after its one operator, and the
graph executor's JSON says who reads whose result.  Before the exchange the layer is what the pool
reads; after it, what reads the pool, behind the bias.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass

import tvm

from tvm_reorder.cli.errors import UsageError

from .paper_builds import ACTIVATIONS, count_calls

_POOL = "nn_max_pool2d"
_LAYOUT = "layout_transform"
_BESIDE_AFTER = frozenset(["add", _LAYOUT])  # what moves past the pool with the activation
_OPERATORS = {name.replace(".", "_"): name for name in ACTIVATIONS}


@dataclass(frozen=True)
class ActivationKernel:
    """One activation layer of a built network.

    Parameters
    ----------
    node : int
        Its place in the executor's graph.
    producer : int
        The node whose result it reads.
    function : str
        Its function in the library.
    operator : str
        The operator, as Relay names it.
    shape : tuple of int
        Shape of its result, and of what it reads, as the kernel sees it: on a CPU with channels
        in blocks.
    """

    node: int
    producer: int
    function: str
    operator: str
    shape: tuple[int, ...]


class KernelGraph:
    """The graph of a network that was built with its operators apart.

    Parameters
    ----------
    graph_json : str
        Of the graph executor.
    mod : tvm.IRModule
        The network that was built.

    Raises
    ------
    RuntimeError
        If there are not as many activation kernels and max pools as the network has.
    """

    def __init__(self, graph_json: str, mod: tvm.IRModule):
        graph = json.loads(graph_json)
        self._nodes = graph["nodes"]
        self._shapes = graph["attrs"]["shape"][1]
        self._entries = graph["node_row_ptr"]
        self._users: dict[int, list[int]] = defaultdict(list)
        for index, node in enumerate(self._nodes):
            for source, *_ in node["inputs"]:
                self._users[source].append(index)
        self._kernels = [_read_kernel(node) for node in self._nodes]
        self.activations = sum(kernel in _OPERATORS for kernel in self._kernels)
        self._pools = [index for index, name in enumerate(self._kernels) if name == _POOL]
        _check("activation", self.activations, count_calls(mod, ACTIVATIONS))
        _check("max pool", len(self._pools), count_calls(mod, ("nn.max_pool2d",)))

    def before_pools(self) -> list[ActivationKernel]:
        """The activation that each max pool reads, in order.

        Raises
        ------
        UsageError
            If a pool reads anything else.
        """
        return [self._find(pool, self._source, {_LAYOUT}, "before") for pool in self._pools]

    def behind_pools(self) -> list[ActivationKernel]:
        """The activation that reads each max pool, in order.

        Raises
        ------
        UsageError
            If anything else does.
        """
        return [self._find(pool, self._user, _BESIDE_AFTER, "behind") for pool in self._pools]

    def _find(self, pool: int, step, passed, where: str) -> ActivationKernel:
        index = step(pool)
        while index is not None and self._kernels[index] in passed:
            index = step(index)
        if index is None or self._kernels[index] not in _OPERATORS:
            found = "nothing" if index is None else self._kernels[index] or "an input"
            name = self._nodes[pool]["name"]
            raise UsageError(
                f"the layer {where} {name} is {found} but must be one of {', '.join(ACTIVATIONS)}"
            )
        return self._describe(index)

    def _describe(self, index: int) -> ActivationKernel:
        return ActivationKernel(
            node=index,
            producer=self._source(index),
            function=self._nodes[index]["attrs"]["func_name"],
            operator=_OPERATORS[self._kernels[index]],
            shape=tuple(self._shapes[self._entries[index]]),
        )

    def _source(self, index: int) -> int | None:
        inputs = self._nodes[index]["inputs"]
        return inputs[0][0] if inputs else None

    def _user(self, index: int) -> int | None:
        users = self._users[index]
        return users[0] if len(users) == 1 else None


def _read_kernel(node: dict) -> str:
    """What a kernel computes, in the words of its name; empty for an input."""
    match = re.search(r"fused_(\w+?)(_\d+)*$", node.get("attrs", {}).get("func_name", ""))
    return match[1] if match else ""


def _check(what: str, kernels: int, calls: int) -> None:
    if kernels != calls:
        raise RuntimeError(f"{what} kernels are {kernels} but must be {calls}, as in the network")
