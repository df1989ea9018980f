"""Workloads for the tests of workloads, decisions and records."""

from tvm_reorder.core.window import PoolWindow, WindowAxis
from tvm_reorder.core.workload import Convolution, SiteWorkload

CONVOLUTION = Convolution(1, 3, 224, 224, 64, (3, 3), padding=(1, 1, 1, 1))


def workload(size=224, kernel=2, chain=("sigmoid",), convolution=CONVOLUTION) -> SiteWorkload:
    """A square pool without overlap behind 64 channels."""
    axis = WindowAxis(size, size // kernel, kernel, kernel)
    return SiteWorkload(PoolWindow((axis, axis)), 64, chain, convolution)
