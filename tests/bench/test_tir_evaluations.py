"""Counting evaluations in lowered kernels; nothing is compiled for CUDA here."""

import pytest
import tvm
from tvm import te

from bench.tir_evaluations import count_evaluations

SIZE = 100


def lower(activation, threads=None, is_inner=False):
    """A kernel of SIZE results, each of four evaluations if `is_inner`, in blocks of `threads`."""
    data = te.placeholder((SIZE, 4), name="data")
    axis = te.reduce_axis((0, 4))
    value = (lambda i, k: activation(data[i, k])) if is_inner else (lambda i, k: data[i, k])
    best = te.compute((SIZE,), lambda i: te.max(value(i, axis), axis=axis), name="best")
    result = best if is_inner else te.compute((SIZE,), lambda i: activation(best[i]), name="out")
    schedule = te.create_schedule(result.op)
    if is_inner:
        best = schedule.cache_write(best, "local")
    if threads:
        block, thread = schedule[result].split(result.op.axis[0], threads)
        schedule[result].bind(block, te.thread_axis("blockIdx.x"))
        schedule[result].bind(thread, te.thread_axis("threadIdx.x"))
        schedule[best].compute_at(schedule[result], thread)
    return tvm.lower(schedule, [data, result])["main"]


def relu(value):
    return tvm.tir.max(value, tvm.tir.const(0, value.dtype))


@pytest.mark.parametrize("threads", [None, 1, 10, 32, 1024])
@pytest.mark.parametrize("name, activation", [("sigmoid", te.sigmoid), ("relu", relu)])
def test_behind_the_pool_each_result_is_evaluated_once(name, activation, threads):
    assert count_evaluations(lower(activation, threads), name) == SIZE


@pytest.mark.parametrize("threads", [None, 32])
def test_before_the_pool_each_element_is_evaluated(threads):
    assert count_evaluations(lower(te.tanh, threads, is_inner=True), "tanh") == 4 * SIZE


@pytest.mark.parametrize("threads", [None, 32])
def test_other_functions_do_not_count(threads):
    assert count_evaluations(lower(te.sigmoid, threads), "tanh") == 0
    assert count_evaluations(lower(te.sigmoid, threads), "relu") == 0


def test_a_vector_counts_by_its_lanes():
    data = te.placeholder((4, 8), name="data")
    result = te.compute((4, 8), lambda i, j: te.tanh(data[i, j]), name="out")
    schedule = te.create_schedule(result.op)
    schedule[result].vectorize(result.op.axis[1])
    assert count_evaluations(tvm.lower(schedule, [data, result])["main"], "tanh") == 32


def test_a_kernel_that_sums_up_in_its_result_is_refused():
    data = te.placeholder((SIZE, 4), name="data")
    axis = te.reduce_axis((0, 4))
    best = te.compute((SIZE,), lambda i: te.max(te.tanh(data[i, axis]), axis=axis))
    lowered = tvm.lower(te.create_schedule(best.op), [data, best])["main"]
    with pytest.raises(ValueError, match="must write each value once"):
        count_evaluations(lowered, "tanh")


def test_a_kernel_without_a_result_is_named():
    function = tvm.tir.PrimFunc([], tvm.tir.Evaluate(0))
    with pytest.raises(ValueError, match="must write its result"):
        count_evaluations(function, "relu")
