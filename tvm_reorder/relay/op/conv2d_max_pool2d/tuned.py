"""What AutoTVM's log in scope knows: configurations, and the times they were measured at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import autotvm, te

from .attributes import FusedAttributes

TASK = "conv2d_max_pool2d_NCHWc.x86"
PLAIN_TASK = "conv2d_NCHWc.x86"


@dataclass(frozen=True)
class TunedTimes:
    """Milliseconds of the best trials in the log in scope; None where there is none.

    Parameters
    ----------
    plain : float or None
        The convolution alone, without bias and activation.
    fused : float or None
        Convolution and pool in one kernel, without bias and activation.
    """

    plain: float | None
    fused: float | None


def read_tuned_times(
    data: tuple[int, ...], kernel: tuple[int, ...], attributes: FusedAttributes
) -> TunedTimes:
    """Times of a site for the target in scope.

    Parameters
    ----------
    data, kernel : tuple of int
        Shapes in NCHW and OIHW, float32.
    attributes : FusedAttributes
        The site.
    """
    tensors = [te.placeholder(shape, attributes.out_dtype) for shape in (data, kernel)]
    return TunedTimes(
        _best_time(plain_workload(*tensors, attributes)),
        _best_time(fused_workload(*tensors, attributes)),
    )


def fused_workload(data: te.Tensor, kernel: te.Tensor, attributes: FusedAttributes) -> tuple:
    """AutoTVM's key of the fused operator."""
    return autotvm.task.args_to_workload([data, kernel, *attributes.as_arguments()], TASK)


def plain_workload(data: te.Tensor, kernel: te.Tensor, attributes: FusedAttributes) -> tuple:
    """AutoTVM's key of the convolution alone, in NCHW."""
    a = attributes
    options = [a.strides, a.padding, a.dilation, "NCHW", "NCHW", a.out_dtype]
    return autotvm.task.args_to_workload([data, kernel, *options], PLAIN_TASK)


def query(workload: tuple):
    """The configuration in scope, which may be a fallback; without AutoTVM's warning about that."""
    target = tvm.target.Target.current(allow_none=False)
    with _silence():
        return autotvm.task.DispatchContext.current.query(target, workload)


@contextmanager
def _silence() -> Iterator[None]:
    silent, autotvm.GLOBAL_SCOPE.silent = autotvm.GLOBAL_SCOPE.silent, True
    try:
        yield
    finally:
        autotvm.GLOBAL_SCOPE.silent = silent


def _best_time(workload: tuple) -> float | None:
    config = query(workload)
    if config.is_fallback:
        return None
    known = getattr(autotvm.task.DispatchContext.current, "best_by_targetkey", {})
    costs = [
        result.costs
        for (_, its_workload), (trial, result) in known.items()
        if its_workload == workload and trial.config is config
    ]
    return float(np.mean(costs[0])) * 1e3 if costs else None
