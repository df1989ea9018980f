"""The whole forward pass, stock TVM against ours: operators apart and as TVM fuses them.

The paper's figure for VGG on a CPU is a saving of about 5 %.
"""

from __future__ import annotations

from tvm_reorder.cli.measure import Runner, compare_outputs

from .harness import time_in_turns
from .networks import draw_inputs, load_network
from .paper_builds import Setting, build

# How operators are made into kernels, and the pass's decisions that are tried that way.
WAYS = {"apart": ("exchange",), "fused": ("exchange", "auto")}


def measure_totals(name: str, batch: int, setting: Setting) -> list[dict]:
    """Build, compare and time one network in all `WAYS`.

    Parameters
    ----------
    name : str
        The network.
    batch : int
        Its batch.
    setting : Setting
        Where and how often.

    Returns
    -------
    list of dict
        A row for each way and decision; times in milliseconds.
    """
    return [
        {**setting.place(name, batch), "fusing": fusing, **row}
        for fusing, decisions in WAYS.items()
        for row in _measure(name, batch, setting, fusing == "apart", decisions)
    ]


def _measure(
    name: str, batch: int, setting: Setting, is_apart: bool, decisions: tuple[str, ...]
) -> list[dict]:
    network = load_network(name, batch)
    inputs, device = draw_inputs(network, setting.seed), setting.device
    runners = {
        decision: Runner(build(network, setting, decision, is_apart), inputs, device)
        for decision in (None, *decisions)
    }
    stock = runners[None]
    times = time_in_turns(runners, setting.iterations)
    rows = []
    for decision in decisions:
        ours = runners[decision]
        pairs = zip(ours.outputs(), stock.outputs(), strict=True)
        differences = [compare_outputs(*pair) for pair in pairs]
        rows.append(
            {
                "decision": decision,
                "kernels": {"stock": stock.kernels, "ours": ours.kernels},
                "bit_equal": all(difference.bit_equal for difference in differences),
                "equal": all(difference.equal for difference in differences),
                "time_ms": {"stock": times[None], "ours": times[decision]},
            }
        )
    return rows
