"""Running a bundle (``bundle.py``): the part that needs TVM's runtime alone, and the GPU."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np
import tvm
from tvm.contrib import graph_executor
from tvm.contrib.debugger.debug_executor import GraphModuleDebug

from tvm_reorder.cli.measure import Runner, compare_outputs, count_kernels

from .bundle import Build, Case, Layer, Weights, read_case
from .harness import time_in_turns

_SEED = 0
_SCALES = tuple(np.float32([1, 100, 0.01]))
_NUMBER, _REPEAT = 20, 5  # runs of a kernel for a figure, and figures


class OpenCase:
    """A network of a bundle, ready to run.

    Parameters
    ----------
    folder : Path
        The network's.
    """

    def __init__(self, folder: Path):
        self.case: Case = read_case(folder)
        self.device = open_device(self.case.target)
        self._folder, self._weights = folder, Weights(folder, self.case.recipes)

    @cached_property
    def reference(self) -> list[np.ndarray] | None:
        """What the CPU makes of the first inputs; None above batch 1, where it takes too long."""
        build = self.find("reference").get("stock")
        if build is None or self.case.batch > 1:
            return None
        return BundleRunner(self, build, tvm.cpu()).outputs()

    def draw(self, seed: int) -> dict[str, np.ndarray]:
        """Normal inputs; of every three seeds the second's are large, and the third's small."""
        rng, scale = np.random.default_rng(seed), _SCALES[seed % len(_SCALES)]
        return {
            name: rng.standard_normal(tuple(shape), dtype="float32") * scale
            for name, shape in self.case.inputs.items()
        }

    def load(self, build: Build) -> tvm.runtime.Module:
        """The kernels of a build."""
        return tvm.runtime.load_module(str(self._folder / f"{build.stem}.so"))

    def read_graph(self, build: Build) -> str:
        """The executor's graph of a build."""
        return (self._folder / f"{build.stem}.json").read_text()

    def fill(self, executor: graph_executor.GraphModule, build: Build) -> None:
        """Set the weights and the first inputs."""
        weights = {name: self._weights[content] for name, content in build.weights.items()}
        for name, array in (weights | self.draw(_SEED)).items():
            executor.set_input(name, array)

    def find(self, fusing: str) -> dict[str, Build]:
        """The builds of one kind, by decision; ``"stock"`` first."""
        chosen = [build for build in self.case.builds if build.fusing == fusing]
        return {build.decision or "stock": build for build in chosen}


def open_device(target: str) -> tvm.runtime.Device:
    """The first device of a target's kind.

    Raises
    ------
    ValueError
        If there is none.
    """
    kind = target.partition(" ")[0]
    device = tvm.device({"llvm": "cpu"}.get(kind, kind), 0)
    if not device.exist:
        raise ValueError(f"the bundle is for {target!r} but there is no such device here")
    return device


class BundleRunner(Runner):
    """A build of a bundle with its weights and inputs set; runs and is timed as any `Runner`."""

    def __init__(self, opened: OpenCase, build: Build, device: tvm.runtime.Device):
        graph = opened.read_graph(build)
        self.kernels = count_kernels(graph)
        self._device = device
        self._module = graph_executor.create(graph, opened.load(build), device)
        opened.fill(self._module, build)

    def outputs_of(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs for other inputs, which stay set."""
        for name, array in inputs.items():
            self._module.set_input(name, array)
        return self.outputs()


def measure_networks(opened: OpenCase, fusing: str, repeat: int, seeds: int) -> list[dict]:
    """Compare and time the builds of one kind.

    Parameters
    ----------
    opened : OpenCase
        The network.
    fusing : str
        ``"fused"`` or ``"apart"``.
    repeat : int
        Rounds.
    seeds : int
        How many inputs the outputs are compared for.

    Returns
    -------
    list of dict
        A row for each decision of the pass.
    """
    builds = opened.find(fusing)
    runners = {name: BundleRunner(opened, build, opened.device) for name, build in builds.items()}
    stock = runners["stock"]
    compared = {name: [] for name in runners}
    for seed in reversed(range(seeds)):  # what is timed is the first
        inputs = opened.draw(seed)
        expected = stock.outputs_of(inputs)
        for name, runner in runners.items():
            pairs = zip(runner.outputs_of(inputs), expected, strict=True)
            compared[name] += [compare_outputs(*pair) for pair in pairs]
    far = _compare_with_cpu(opened, expected)
    times = time_in_turns(runners, repeat)
    return [
        {
            **place(opened.case),
            "fusing": fusing,
            "decision": name,
            "decided": opened.case.decided,
            "actions": builds[name].actions,
            "inputs": seeds,
            **_summarise(compared[name]),
            "stock_repeats": all(d.bit_equal for d in compared["stock"]),
            "from_cpu": far,
            "distinct_values": min(int(np.unique(output).size) for output in expected),
            "kernels": {"stock": stock.kernels, "ours": runners[name].kernels},
            "time_ms": {"stock": times["stock"], "ours": times[name]},
            "rounds": times.describe(),
        }
        for name in runners
        if name != "stock"
    ]


def place(case: Case) -> dict:
    """The fields that tell where a row was measured."""
    fields = ("network", "batch", "target", "schedules", "licence", "made")
    return {field: getattr(case, field) for field in fields}


def _summarise(differences: list) -> dict:
    distances = [difference.max_ulp for difference in differences]
    return {
        "bit_equal": all(difference.bit_equal for difference in differences),
        "equal": all(difference.equal for difference in differences),
        "max_ulp": None if None in distances else max(distances),
    }


def _compare_with_cpu(opened: OpenCase, outputs: list[np.ndarray]) -> float | None:
    """Largest difference from the CPU's results, relative to the largest of them, for one input."""
    if opened.reference is None:
        return None
    pairs = zip(outputs, opened.reference, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def time_kernels(opened: OpenCase, fusing: str) -> list[dict]:
    """Every kernel of every build of one kind, alone and again and again, in microseconds."""
    create, rows = tvm.get_global_func("tvm.graph_executor_debug.create"), []
    for name, build in opened.find(fusing).items():
        graph = opened.read_graph(build)
        kind, number = opened.device.device_type, opened.device.device_id
        module = create(graph, opened.load(build), kind, number)
        executor = GraphModuleDebug(module, [opened.device], graph, None)
        opened.fill(executor, build)
        executor.module["run"]()
        kernels = []
        for index, node in enumerate(executor.debug_datum.get_graph_nodes()):
            if node["op"] in ("param", "__nop"):
                continue
            timed = executor.run_individual_node(index, number=_NUMBER, repeat=_REPEAT)
            kernels.append({"name": node["op"], "us": [t * 1e6 for t in timed.results]})
        rows.append({**place(opened.case), "fusing": fusing, "build": name, "kernels": kernels})
        executor.exit()
    return rows


class LayerRunner:
    """One kernel that reads an array and writes one of the same shape."""

    def __init__(self, library: tvm.runtime.Module, function: str, data: np.ndarray, device):
        self._library, self._function, self._device = library, function, device
        self._arrays = tvm.nd.array(data, device), tvm.nd.empty(data.shape, "float32", device)
        library[function](*self._arrays)

    def output(self) -> np.ndarray:
        """What the kernel writes."""
        return self._arrays[1].numpy()

    def milliseconds(self, number: int) -> float:
        """Mean time of a run out of `number`, after one that is not counted."""
        options = {"number": number, "repeat": 1}
        timer = self._library.time_evaluator(self._function, self._device, **options)
        return timer(*self._arrays).mean * 1e3


def measure_layers(opened: OpenCase, repeat: int) -> list[dict]:
    """Time the activation layers in front of the max pools, as in the paper's Table 1.

    Parameters
    ----------
    opened : OpenCase
        The network.
    repeat : int
        Rounds.
    """
    builds = opened.find("apart")
    libraries = [opened.load(builds[name]) for name in ("stock", "exchange")]
    return [_measure_layer(opened, layer, libraries, repeat) for layer in opened.case.layers]


def _measure_layer(opened: OpenCase, layer: Layer, libraries: list, repeat: int) -> dict:
    data = np.random.default_rng(_SEED).standard_normal(tuple(layer.shapes[0]), "float32")
    pooled = _pool(data, layer.shapes[1])
    before, after = (
        LayerRunner(library, function, values, opened.device)
        for library, function, values in zip(libraries, layer.functions, (data, pooled))
    )
    difference = compare_outputs(after.output(), _pool(before.output(), layer.shapes[1]))
    times = time_in_turns({"before": before, "after": after}, repeat)
    return {
        **place(opened.case),
        "layer": layer.name,
        "operator": layer.operator,
        "shape_before": list(layer.shapes[0]),
        "shape_after": list(layer.shapes[1]),
        "bit_equal": difference.bit_equal,
        "before_ms": times["before"],
        "after_ms": times["after"],
        "saved": 1 - median(times["after"]) / median(times["before"]),
    }


def _pool(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Maxima of windows that do not overlap and start at the corner, as many as `shape` has."""
    height, width = (have // want for have, want in zip(values.shape[2:4], shape[2:4]))
    cut = values[:, :, : shape[2] * height, : shape[3] * width]
    windows = cut.reshape(*shape[:3], height, shape[3], width, *shape[4:])
    return np.ascontiguousarray(windows.max(axis=(3, 5)))
