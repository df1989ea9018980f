"""Table 1 and Figure 3: each activation layer in front of a max pool, before and after.

A layer is timed alone, as in the paper: its own kernel of the built network, on the values that it
gets inside the network, again and again.  It must give, bit for bit, what the network's run gave.
Before and after take turns.  The theoretical speed-up is elements before / elements after.

What a small kernel's time depends on besides its elements, found on two Zen 4 cores:

- *Threads.*  Waking a second thread and waiting for it takes 1 us and more, as long as relu5 runs
  after the exchange; on two threads its speed-up is 2.6, on one 4.3.  Hence one thread by default.
- *Placement.*  A processor takes a load for a store that it must wait for if their addresses agree
  in the last 12 bits.  Where TVM's allocator happens to put a result 64 or 128 bytes behind a
  multiple of the page, ReLU is up to 30 % slower; that hits either build by chance, and relu3 went
  from 3.5 to 4.0 without it.  Hence both run on arrays half a page apart.
- *Caches.*  Where only the smaller layer stays in a cache, the speed-up is above the theoretical:
  VGG's relu1 moves 26 MB before the exchange and 6 MB after it.
"""

from __future__ import annotations

from math import prod
from tempfile import TemporaryDirectory

import numpy as np
import tvm
from tvm.contrib.debugger.debug_executor import GraphModuleDebug

from .harness import time_in_turns
from .networks import Network, draw_inputs, load_network
from .paper_builds import Setting, build, name_layer
from .paper_graph import ActivationKernel, KernelGraph

# The paper's Table 1, speed-ups of relu1 ... relu5; on its CPU all layers of both networks lay
# between the two figures.
PUBLISHED_CPU = (3.9, 4.0)
PUBLISHED_GPU = {
    "vgg16_relu": (3.0, 3.1, 2.0, 1.7, 1.2),
    "vgg19_relu": (3.1, 2.5, 1.6, 1.4, 1.2),
}

_PAGE = 4096  # bytes; also what the processor compares of two addresses


def measure_layers(name: str, batch: int, setting: Setting) -> list[dict]:
    """Time the activation layers in front of the max pools of one network.

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
        A row for each layer; times in milliseconds.

    Raises
    ------
    UsageError
        If a max pool does not stand behind an activation.
    RuntimeError
        If the exchanged network has not each of them behind its pool, or a kernel is not the
        network's own.
    """
    network = load_network(name, batch)
    before = _open_layers(network, setting, decision=None)
    after = _open_layers(network, setting, decision="exchange")
    rows = []
    for number, pair in enumerate(zip(before, after, strict=True)):
        runners = dict(zip(("before", "after"), pair))
        times = time_in_turns(runners, setting.iterations)
        was, is_now = (layer.kernel for layer in pair)
        rows.append(
            {
                **setting.place(name, batch),
                "layer": name_layer(was.operator, number),
                "operator": was.operator,
                "shape_before": list(was.shape),
                "shape_after": list(is_now.shape),
                "theoretical": prod(was.shape) / prod(is_now.shape),
                "paper": _find_published(name, number, setting),
                "before_ms": times["before"],
                "after_ms": times["after"],
            }
        )
    return rows


def _find_published(name: str, number: int, setting: Setting) -> list[float] | float | None:
    """The paper's own speed-up of a layer, or the ends of its range; None if it has none."""
    if name not in PUBLISHED_GPU:
        return None
    is_cpu = setting.compiled_for.kind.name == "llvm"
    return list(PUBLISHED_CPU) if is_cpu else PUBLISHED_GPU[name][number]


def _open_layers(network: Network, setting: Setting, decision: str | None) -> list[LayerRunner]:
    library = build(network, setting, decision, is_apart=True)
    graph = KernelGraph(library.get_graph_json(), network.mod)
    kernels = graph.before_pools() if decision is None else graph.behind_pools()
    values = read_values(library, draw_inputs(network, setting.seed), setting.device, kernels)
    return [
        LayerRunner(
            library.get_lib(), kernel, values[kernel.producer], values[kernel.node], setting.device
        )
        for kernel in kernels
    ]


def read_values(
    library,
    inputs: dict[str, np.ndarray],
    device: tvm.runtime.Device,
    kernels: list[ActivationKernel],
) -> dict[int, np.ndarray]:
    """What the kernels read and give in a run of the network, by node."""
    wanted = {node for kernel in kernels for node in (kernel.producer, kernel.node)}
    values = {}
    with TemporaryDirectory() as folder:  # TVM's debugger leaves the graph there
        module = library["debug_create"]("default", device)
        executor = GraphModuleDebug(module, [device], library.get_graph_json(), folder)
        executor.set_input(**inputs)
        for node in range(max(wanted) + 1):
            # Node by node: nodes share their memory, so a value is gone when the run is over.
            executor.module["execute_node"](node)
            if node in wanted:
                values[node] = executor.module["get_node_output"](node, 0).numpy()
    return values


class LayerRunner:
    """One activation layer of a built network on arrays of its own.

    Parameters
    ----------
    library : tvm.runtime.Module
        The network's kernels.
    kernel : ActivationKernel
        The layer.
    data, expected : numpy.ndarray
        What it reads, and what it gave in a run of the network.
    device : tvm.runtime.Device
        Where it runs.

    Raises
    ------
    RuntimeError
        If it does not give what it gave in the network.
    """

    def __init__(
        self,
        library: tvm.runtime.Module,
        kernel: ActivationKernel,
        data: np.ndarray,
        expected: np.ndarray,
        device: tvm.runtime.Device,
    ):
        self.kernel = kernel
        self._library, self._device = library, device
        self._arrays = _place(data, 0, device), _place(np.zeros_like(expected), _PAGE // 2, device)
        library[kernel.function](*self._arrays)
        if self._arrays[1].numpy().tobytes() != expected.tobytes():
            raise RuntimeError(f"{kernel.function} gives other values than inside the network")

    def milliseconds(self, number: int) -> float:
        """Mean time of a run out of `number`, after one that is not counted."""
        options = {"number": number, "repeat": 1}
        timer = self._library.time_evaluator(self.kernel.function, self._device, **options)
        return timer(*self._arrays).mean * 1e3


def _place(values: np.ndarray, offset: int, device: tvm.runtime.Device) -> tvm.nd.NDArray:
    """The values in an array on the device; on a CPU, `offset` bytes behind the start of a page."""
    if device.device_type != tvm.cpu().device_type:
        return tvm.nd.array(values, device)
    memory = np.empty(values.nbytes + 2 * _PAGE, "uint8")
    start = -memory.ctypes.data % _PAGE + offset
    array = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    array[...] = values
    return tvm.nd.from_dlpack(array)
