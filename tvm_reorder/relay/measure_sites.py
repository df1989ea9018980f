"""Times of one extracted site, done in each way that is possible.

What counts
    All kernels of the site but the layout transforms at its borders.  An extracted site starts and
    ends in the model's layout, while inside the model its neighbours share the convolution's
    blocked one; a transform between two kernels of the site is part of what a way of doing it
    costs, and counts.

How it is timed
    The kernels run in their order, so that each finds in the caches what it would find in the
    model, and the clock stands still during the transforms that do not count.  The ways take
    turns, each round in another order, so that a drift of the machine hits all alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import tvm
from tvm import relay

from ..core.config import ReorderConfig
from ..core.decision import Action
from ..core.turns import time_in_turns
from .extract import ExtractedSite
from .pipeline import enabled

_OPT_LEVEL = 3
_PURE_TRANSFORM = re.compile(r"fused(_layout_transform)+(_\d+)?$")


def count_steps(rounds: int) -> int:
    """How often `measure_site` says that it has come a step further."""
    return len(Action) + rounds


def measure_site(
    site: ExtractedSite,
    target: tvm.target.Target,
    config: ReorderConfig,
    rounds: int,
    advance: Callable[[], None] = lambda: None,
    device: tvm.runtime.Device | None = None,
) -> dict[Action, list[float]]:
    """Build a site in every way that is possible and time the builds in turns.

    Parameters
    ----------
    site : ExtractedSite
        The site.
    target : tvm.target.Target
        What to build for; it must run in this process.
    config : ReorderConfig
        The licence counts; what to do does not.
    rounds : int
        Figures for each way.
    advance : callable
        Called `count_steps` times.
    device : tvm.runtime.Device, optional
        Where it runs; the CPU by default.

    Returns
    -------
    dict of Action to list of float
        Milliseconds; an action that is not possible at the site is not there.

    Raises
    ------
    tvm.TVMError
        If the site does not build.
    """
    inputs = draw_inputs(site.mod)
    runners = {}
    for action in Action:
        library = build_site(site.mod, target, config, action)
        if library is not None:
            runners[action] = SiteRunner(library, inputs, device)
        advance()
    return time_in_turns(runners, rounds, advance)


def build_site(mod: tvm.IRModule, target: tvm.target.Target, config: ReorderConfig, action: Action):
    """The site built in one way; None if that way is not possible and another one was taken."""
    wanted = replace(config, decision=str(action), records=None, write=True, opt_level=1)
    with enabled(wanted) as report, tvm.transform.PassContext(opt_level=_OPT_LEVEL):
        library = relay.build(mod, target)
    if report.errors:
        raise report.errors[-1]
    (site,) = report.sites
    done = Action.KEEP if site.decision is None else site.decision.action
    return library if done is action else None


class SiteRunner:
    """A built site with its inputs set.

    Parameters
    ----------
    library
        What `relay.build` returned.
    inputs : dict of str to numpy.ndarray
        All inputs.
    device : tvm.runtime.Device, optional
        Where it runs; the CPU by default.
    """

    def __init__(
        self,
        library,
        inputs: dict[str, np.ndarray],
        device: tvm.runtime.Device | None = None,
    ):
        self.segments = read_segments(library.get_graph_json())
        self._device = device or tvm.cpu()
        module = library["debug_create"]("default", self._device)
        for name, array in inputs.items():
            module["set_input"](name, tvm.nd.array(array))
        self._execute = module["execute_node"]

    def milliseconds(self, number: int) -> float:
        """Mean time of what counts out of `number` runs, after one that is not counted."""
        self._run()
        return sum(self._run() for _ in range(number)) / number * 1e3

    def _run(self) -> float:
        """Seconds of one run.  ``execute_node`` runs what follows the last node it was given."""
        seconds = 0.0
        self._execute(0)  # an input: nothing to do but to go back to the start
        for segment in self.segments:
            start = perf_counter()
            self._execute(segment.last)
            self._device.sync()  # a GPU goes on by itself when the call has returned
            if segment.counts:
                seconds += perf_counter() - start
        return seconds


@dataclass(frozen=True)
class Segment:
    """Neighbouring nodes of a graph, run in one go.

    Parameters
    ----------
    last : int
        Number of the last node.
    counts : bool
        False for layout transforms at the site's borders.
    """

    last: int
    counts: bool


def read_segments(graph_json: str) -> list[Segment]:
    """What to run one after another, so that what counts can be told from what does not."""
    graph = json.loads(graph_json)
    outputs = {head[0] for head in graph["heads"]}
    segments: list[Segment] = []
    for number, node in enumerate(graph["nodes"]):
        if not _is_kernel(node):
            continue
        counts = not _is_border(number, graph["nodes"], outputs)
        if segments and segments[-1].counts == counts:
            segments.pop()
        segments.append(Segment(number, counts))
    return segments


def _is_kernel(node: dict) -> bool:
    return node["op"] == "tvm_op" and node["attrs"]["func_name"] != "__nop"


def _is_border(number: int, nodes: list[dict], outputs: set[int]) -> bool:
    node = nodes[number]
    if not _PURE_TRANSFORM.search(node["attrs"]["func_name"]):
        return False
    reads_input = all(nodes[source]["op"] == "null" for source, *_ in node["inputs"])
    return reads_input or number in outputs


def draw_inputs(mod: tvm.IRModule) -> dict[str, np.ndarray]:
    """Seeded inputs of a module: standard normal floats, integers from 0 to 127."""
    random = np.random.default_rng(0)
    return {param.name_hint: _draw(random, param.checked_type) for param in mod["main"].params}


def _draw(random, kind) -> np.ndarray:
    shape, dtype = [int(size) for size in kind.shape], str(kind.dtype)
    if "float" in dtype and dtype != "bfloat16":
        return random.standard_normal(shape).astype(dtype)
    # bfloat16 is given as its bits: exponents around zero, so that no value is tiny or infinite
    low, high, dtype = (0x3E00, 0x4000, "uint16") if dtype == "bfloat16" else (0, 128, dtype)
    return random.integers(low, high, shape).astype(dtype)
