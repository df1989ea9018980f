"""Two builds of one model: their kernels, their outputs, their times."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass

import numpy as np
import tvm
from tvm.contrib import graph_executor


def count_kernels(graph_json: str) -> int:
    """Fused kernels that a graph executor calls; reshapes and copies that do nothing left out."""
    # TVM escapes line breaks in an input's name and no other control character.
    nodes = json.loads(graph_json, strict=False)["nodes"]
    return sum(node["op"] == "tvm_op" and node["attrs"]["func_name"] != "__nop" for node in nodes)


class Runner:
    """A built model with its inputs set.

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
        self.kernels = count_kernels(library.get_graph_json())
        self._device = device or tvm.cpu()
        self._module = graph_executor.GraphModule(library["default"](self._device))
        for name, array in inputs.items():  # one by one: a model may call an input "key"
            self._module.set_input(name, array)

    def outputs(self) -> list[np.ndarray]:
        """The outputs of one run."""
        self._module.run()
        count = self._module.get_num_outputs()
        return [self._module.get_output(index).numpy() for index in range(count)]

    def milliseconds(self, number: int) -> float:
        """Mean time of a run out of `number`, after one that is not counted."""
        timer = self._module.module.time_evaluator("run", self._device, number=number, repeat=1)
        return timer().mean * 1e3


@dataclass(frozen=True)
class Difference:
    """How far one output is from the other.

    Parameters
    ----------
    bit_equal : bool
        Every bit is the same.
    equal : bool
        Values compare equal; NaN equals NaN.
    max_abs_diff : float or None
        Largest difference; None if a NaN or an infinity stands against another value.
    max_ulp : int or None
        Largest difference in units in the last place (for integers, in ones); None likewise.
    """

    bit_equal: bool
    equal: bool
    max_abs_diff: float | None
    max_ulp: int | None


def compare_outputs(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    """Compare two outputs of one shape and dtype."""
    bit_equal = ours.tobytes() == theirs.tobytes()
    is_same = ours == theirs
    if ours.dtype.kind == "f":
        is_same |= np.isnan(ours) & np.isnan(theirs)
    if is_same.all():
        return Difference(bit_equal, True, 0.0, 0)
    a, b = ours[~is_same], theirs[~is_same]
    if ours.dtype.kind != "f":
        largest = max(abs(int(x) - int(y)) for x, y in zip(a.flat, b.flat))
        return Difference(bit_equal, False, float(largest), largest)
    if not (np.isfinite(a) & np.isfinite(b)).all():
        return Difference(bit_equal, False, None, None)
    wide = np.abs(a.astype("float64") - b.astype("float64"))
    return Difference(bit_equal, False, float(wide.max()), _max_ulp(a, b))


def _max_ulp(a: np.ndarray, b: np.ndarray) -> int:
    """Largest number of representable values between two finite arrays; -0 and +0 are one."""
    signed = np.dtype(f"i{a.dtype.itemsize}")
    lowest = int(np.iinfo(signed).min)
    rank = lambda x: x if x >= 0 else lowest - x
    pairs = zip(a.view(signed).tolist(), b.view(signed).tolist())
    return max(abs(rank(x) - rank(y)) for x, y in pairs)


def summarise(times: list[float]) -> tuple[float, float]:
    """Median and spread (largest less smallest)."""
    return statistics.median(times), max(times) - min(times)
