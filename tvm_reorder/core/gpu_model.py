"""Expected times on an NVIDIA GPU: a roofline of two kernels.

What the model knows
    TVM computes conv + bias + activation in one kernel and the pool in another; the exchange gives
    conv | pool + bias + activation.  Both move the same bytes: only the evaluations fall.  Each
    kernel takes as long as the busiest of what it needs, and a launch:

        max(bytes / bandwidth, instructions / rate, special functions / their rate)

    An instruction of an activation takes the place of a multiply-add, so what a site gains is the
    share of its activation where the convolution computes, and nothing where it waits for memory.
    ReLU is no instruction that could be told from the convolution's own; it stays where it is.
    Steps in a kernel that moves values (``Home.COPY``) or of their own (``Home.ALONE``) are one of
    two passes over memory; the latter goes with them.

Why the exchange does not lose here
    TVM's pools on CUDA (``topi/cuda/pooling.py``) give a thread to each element of the *last*
    operator and compute the pool in a register of that thread, so an activation behind the pool
    changes neither grid nor traffic of its kernel.  (On x86 the same exchange spoils the pool's
    schedule.)  The exception is a pool over a whole plane: it is reduced by a block of threads, and
    what follows it becomes a kernel of its own; that launch is counted.

What it does not know
    Nothing of it was fitted.  The rates are published peaks, of one device of each architecture;
    real kernels are slower.  Only ratios of estimates are used, and a convolution below its peak
    (TVM's default schedules are far below) is slow for the activation inside it too.  A measured
    record beats the model; see ``decision.py``.

How far it is off
    Of six networks of one site on an H200 (``bench/results/cuda.json``) it promised between 0 and
    21 % and was too high by up to 16 % of the site's time.  The largest part of that is no
    kernel's work: the same convolution without its activation is compiled otherwise, and was up to
    11 % slower for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from .cost import name_functions
from .decision import Action
from .window import AdaptiveAxis
from .workload import Convolution, Home, SiteWorkload

_FLOAT = 4  # bytes
_ERROR = 0.16  # of a site's time, as measured; see above
_LAUNCH_MS = 0.005  # generous: what both ways have in common hides the difference

# Instructions of an evaluation, and how many of them are special functions (MUFU): counted for
# sm_90 in the machine code (NVRTC 12.9, nvdisasm) of what TVM 0.17 writes for an operator, less
# those of a copy.  Divisions and square roots are counted without their rare slow paths.
_INSTRUCTIONS: dict[str, tuple[int, int]] = {
    "exp": (5, 1),
    "sigmoid": (15, 2),
    "tanh": (17, 2),
    "erf": (30, 1),
    "log": (6, 1),
    "log2": (5, 1),
    "log10": (6, 1),
    "sinh": (33, 2),
    "atan": (21, 1),
    "asinh": (63, 4),
    "sqrt": (9, 1),
    "fast_exp": (20, 0),
    "fast_tanh": (24, 1),
    "fast_erf": (25, 1),
}


@dataclass(frozen=True)
class GpuModel:
    """A GPU, as far as the model goes.

    Parameters
    ----------
    name : str
        The device whose figures these are.
    processors : int
        Streaming multiprocessors.
    clock_ghz : float
        Boost clock.
    lanes : int
        float32 multiply-adds of a multiprocessor in a clock.
    bandwidth : float
        Bytes per ns of the device's memory.
    special : int
        Special functions of a multiprocessor in a clock.
    """

    name: str
    processors: int
    clock_ghz: float
    lanes: int
    bandwidth: float
    special: int = 16

    @property
    def peak_tflops(self) -> float:
        """float32 TFLOP/s without tensor cores; a multiply-add is two operations."""
        return 2e-3 * self.processors * self.lanes * self.clock_ghz

    def estimate(
        self, workload: SiteWorkload, action: Action, kernel_ms: float | None = None
    ) -> float | None:
        """Milliseconds of a site under an action, None where the model cannot tell.

        Parameters
        ----------
        workload : SiteWorkload
            The site.
        action : Action
            *keep* or *exchange*; there is no fused kernel on a GPU.
        kernel_ms : float, optional
            The convolution, if it was measured; the model has no use for it yet.
        """
        held = _kernel_of_steps(workload)
        if action is Action.FUSE or held is None or workload.dtype != "float32":
            return None
        size, instructions = held
        steps, special = _count_instructions(workload.chain)
        before = workload.elements if action is Action.KEEP else 0
        behind = workload.pooled - min(before, workload.pooled)
        compared = workload.planes * workload.window.comparisons
        is_gone = action is Action.EXCHANGE and workload.home is Home.ALONE
        holder = self._kernel(size, instructions + steps * before, special * before)
        value_bytes = _FLOAT if action is Action.KEEP else workload.base_bytes
        pool = self._kernel(
            workload.elements * value_bytes + workload.pooled * _FLOAT,
            compared + steps * behind,
            special * behind,
        )
        is_apart = action is Action.EXCHANGE and _pools_planes(workload)
        total = (0.0 if is_gone else holder) + pool + (_LAUNCH_MS if is_apart else 0.0)
        if workload.convolution is not None and workload.home is not Home.PRODUCER:
            total += self._kernel(*_convolve(workload.convolution), 0)
        if action is Action.EXCHANGE and workload.ends == "both":  # negated, and pooled once more
            total += pool + self._kernel(2 * workload.elements * _FLOAT, workload.elements, 0)
        return total

    def error(self, workload: SiteWorkload, action: Action) -> float:
        """Milliseconds by which the time that an action saves may be overestimated."""
        return _ERROR * self.estimate(workload, action)

    def _kernel(self, size: int, instructions: int, special: int) -> float:
        """Milliseconds of a kernel that moves `size` bytes."""
        clocks = self.processors * self.clock_ghz
        busiest = max(
            size / self.bandwidth,
            instructions / (self.lanes * clocks),
            special / (self.special * clocks),
        )
        return _LAUNCH_MS + busiest * 1e-6


# One device of each architecture, SXM or PCIe as named: multiprocessors, boost clock and bandwidth
# from NVIDIA's data sheets and architecture white papers; lanes and special functions a clock from
# the table of arithmetic throughput in the CUDA C++ Programming Guide.
_GPUS: dict[str, GpuModel] = {
    "sm_70": GpuModel("V100 SXM2", 80, 1.53, 64, 900.0),
    "sm_75": GpuModel("T4", 40, 1.59, 64, 320.0),
    "sm_80": GpuModel("A100 SXM4 40 GB", 108, 1.41, 64, 1555.0),
    "sm_86": GpuModel("A10", 72, 1.695, 128, 600.0),
    "sm_89": GpuModel("L4", 58, 2.04, 128, 300.0),
    "sm_90": GpuModel("H200 SXM", 132, 1.98, 128, 4800.0),
}


def find_gpu_model(architecture: str | None) -> GpuModel | None:
    """The model of an architecture, such as ``"sm_90"``; None of one whose figures are not here."""
    return _GPUS.get((architecture or "").removesuffix("a"))


def _kernel_of_steps(workload: SiteWorkload) -> tuple[int, int] | None:
    """Bytes and instructions of the kernel that holds the steps, less theirs; None if unknown."""
    if workload.home in (Home.ALONE, Home.COPY):
        return workload.elements * (workload.base_bytes + _FLOAT), 0
    if workload.convolution is None:
        return None
    return _convolve(workload.convolution)


def _convolve(conv: Convolution) -> tuple[int, int]:
    """Bytes and instructions of a convolution."""
    data = conv.batch * conv.in_channels * conv.height * conv.width
    weights = conv.channels * prod(conv.kernel) * conv.in_channels // conv.groups
    result = conv.batch * conv.channels * prod(conv.outputs)
    return (data + weights + result) * _FLOAT, conv.multiply_adds


def _count_instructions(chain: Iterable[str]) -> tuple[int, int]:
    counts = [_INSTRUCTIONS.get(name, (0, 0)) for name in name_functions(chain)]
    return sum(all_ for all_, _ in counts), sum(special for _, special in counts)


def _pools_planes(workload: SiteWorkload) -> bool:
    """True if the pool makes one value of a whole plane, which TVM reduces in another way."""
    axes = workload.window.axes
    return all(isinstance(axis, AdaptiveAxis) and axis.output == 1 for axis in axes)
