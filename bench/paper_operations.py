"""Operations before and after, as the paper's worked example counts them.

One evaluation of the activation per value, and n - 1 comparisons per window of n real values: 16
values under a 2x2 pool take 16 + 12 = 28 operations before the exchange and 4 + 12 = 16 after it.
Both sides are counted by walking the Relay modules, the original one and the one that the pass
gives; the bias and the convolution are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.cli.errors import UsageError
from tvm_reorder.relay.facts import read_pool, read_shape
from tvm_reorder.relay.sites import FunctionGraph, op_name

from .networks import load_network
from .paper_builds import ACTIVATIONS, Setting, name_layer


@dataclass(frozen=True)
class Operations:
    """Operations of a module.

    Parameters
    ----------
    operators : tuple of str
        The activations, in the order of execution.
    evaluations : tuple of int
        Of each activation.
    comparisons : tuple of int
        Of each max pool, in the order of execution.
    """

    operators: tuple[str, ...]
    evaluations: tuple[int, ...]
    comparisons: tuple[int, ...]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.evaluations) + sum(self.comparisons)


def count_module(mod: tvm.IRModule) -> Operations:
    """Evaluations and comparisons of a typed module's ``main``.

    Raises
    ------
    ValueError
        If the extents of a pool's window are not known.
    """
    calls: list[relay.Expr] = []
    relay.analysis.post_order_visit(mod["main"].body, calls.append)
    activations = [call for call in calls if op_name(call) in ACTIVATIONS]
    graph = FunctionGraph(mod["main"])
    return Operations(
        operators=tuple(op_name(call) for call in activations),
        evaluations=tuple(prod(read_shape(call.checked_type)) for call in activations),
        comparisons=tuple(_count_comparisons(pool, graph) for pool in graph.max_pools),
    )


def _count_comparisons(pool: relay.Call, graph: FunctionGraph) -> int:
    facts = read_pool(pool, graph)
    if not hasattr(facts.window, "comparisons"):
        raise ValueError(str(facts.window))
    return facts.planes * facts.window.comparisons


def count_rows(name: str, setting: Setting) -> list[dict]:
    """Operations of a network at batch 1.

    Parameters
    ----------
    name : str
        The network.
    setting : Setting
        What it is exchanged for.

    Returns
    -------
    list of dict
        A row for each activation that the exchange moves, its pool included, and one for all
        activations and max pools of the network.

    Raises
    ------
    UsageError
        If the pass does not exchange at each of its max pools.
    """
    return _count(load_network(name).mod, {"network": name}, setting)


def count_example(setting: Setting) -> list[dict]:
    """The paper's worked example: 4x4 values, ReLU, a 2x2 pool."""
    data = relay.var("data", shape=(1, 1, 4, 4))
    value = relay.nn.max_pool2d(relay.nn.relu(data), (2, 2), strides=(2, 2))
    mod = tvm.IRModule.from_expr(relay.Function([data], value))
    return _count(mod, {"example": "16 values under a 2x2 pool"}, setting)


def _count(mod: tvm.IRModule, name: dict, setting: Setting) -> list[dict]:
    mod = relay.transform.InferType()(mod)
    options = {"decision": "exchange", "licence": setting.licence}
    exchanged, _ = tvm_reorder.reorder(mod, target=setting.compiled_for, **options)
    before, after = count_module(mod), count_module(exchanged)
    activations = zip(before.operators, before.evaluations, after.evaluations, strict=True)
    moved = [activation for activation in activations if activation[1] != activation[2]]
    if len(moved) != len(before.comparisons):
        pools = len(before.comparisons)
        raise UsageError(f"exchanged layers are {len(moved)} but must be {pools}, all max pools'")
    # In the order of execution: the exchange takes no activation past another one's pool.
    rows = [
        {**name, "layer": name_layer(operator, k), "before": was + pool, "after": is_now + pool}
        for k, ((operator, was, is_now), pool) in enumerate(zip(moved, before.comparisons))
    ]
    return [*rows, {**name, "layer": "all", "before": before.total, "after": after.total}]
