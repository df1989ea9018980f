"""Tuning scripts that ask for some operators' tasks get those of the fused ones too, once each."""

from collections import Counter

import pytest
import tvm
from tvm import auto_scheduler, autotvm, meta_schedule, relay
from tvm.autotvm.task import TaskExtractEnv

import tvm_reorder
from tvm_reorder.relay.op.conv2d_max_pool2d import TASK as FUSED

from .networks import TARGET, constant, conv2d, image, max_pool, module

CONV2D, DENSE = relay.op.get("nn.conv2d"), relay.op.get("nn.dense")
PLAIN = "conv2d_NCHWc.x86"


def network(channels: int = 16, size: int = 16) -> tvm.IRModule:
    """A convolution that is fused with its pool, one that is not, and a dense layer."""
    first = max_pool(relay.nn.relu(conv2d(image(size), channels)))
    second = relay.nn.relu(conv2d(first, channels, channels, seed=1))
    flat = relay.nn.batch_flatten(second)
    return module(relay.nn.dense(flat, constant([[0.5] * (channels * size**2 // 4)] * 8)))


def autotvm_tasks(mod, ops=None) -> list:
    return autotvm.task.extract_from_program(mod, {}, TARGET, ops=ops)


def names(tasks) -> Counter:
    return Counter(task.name for task in tasks)


@pytest.mark.parametrize(
    "ops, fused",
    [((CONV2D,), 1), ([DENSE, CONV2D], 1), ({CONV2D}, 1), ((DENSE,), 0), ((), 0), (None, 1)],
    ids=["conv2d", "dense and conv2d", "a set", "dense", "none", "not asked"],
)
def test_autotvm_lists_as_many_tasks_as_of_stock_tvm(ops, fused):
    stock = autotvm_tasks(network(), ops)
    with tvm_reorder.enabled(decision="fuse") as report:
        ours = autotvm_tasks(network(), ops)
    assert len(report.fused) == 1 and len(ours) == len(stock)
    assert names(ours)[FUSED] == fused and names(ours)[PLAIN] == names(stock)[PLAIN] - fused
    assert len({str(task.workload) for task in ours}) == len(ours)


def test_autotvm_lists_the_tasks_of_several_programs_once():
    mods = [network(), network(), network(size=8)]

    def extract():
        many = autotvm.task.extract_from_multiple_program
        return many(mods, [{}] * len(mods), TARGET, ops=(CONV2D,))

    stock = extract()
    with tvm_reorder.enabled(decision="fuse"):
        ours = extract()
    assert len(ours) == len(stock) == 4 and names(ours)[FUSED] == 2
    assert len({str(task.workload) for task in ours}) == len(ours)


def test_outside_the_block_nothing_is_added():
    reset = TaskExtractEnv.reset
    with tvm_reorder.enabled():
        assert TaskExtractEnv.reset is not reset
    assert TaskExtractEnv.reset is reset
    autotvm_tasks(network(), (CONV2D,))
    assert TaskExtractEnv.current.wanted_relay_ops == (CONV2D,)


@pytest.mark.parametrize("include_simple_tasks", [False, True])
def test_auto_scheduler_lists_every_convolution(include_simple_tasks):
    """It takes no operators; a script picks tasks by their descriptions.  Nothing is fused then."""

    def extract() -> list[str]:
        found, _ = auto_scheduler.extract_tasks(
            network(), {}, TARGET, include_simple_tasks=include_simple_tasks
        )
        assert len({task.workload_key for task in found}) == len(found)
        return [task.desc for task in found]

    stock = extract()
    with tvm_reorder.enabled(decision="fuse") as report:
        ours = extract()
    assert len(ours) == len(stock) and len(report.exchanged) == 1 and not report.fused
    assert sum("conv2d" in name for name in ours) == sum("conv2d" in name for name in stock) == 2


@pytest.mark.parametrize("is_scheduler", [True, False])
def test_meta_schedule_lists_every_convolution(is_scheduler):
    """As auto_scheduler does; where the build does not name it, the fused one by its own name."""
    options = {} if is_scheduler else {"pass_config": {"relay.backend.tir_converter": "default"}}

    def extract() -> list[str]:
        target = tvm.target.Target(f"{TARGET} -num-cores 2")
        found = meta_schedule.relay_integration.extract_tasks(network(), target, {}, **options)
        mods = {tvm.ir.structural_hash(task.dispatched[0]) for task in found}
        assert len(mods) == len(found)
        return [task.task_name for task in found]

    stock = extract()
    with tvm_reorder.enabled(decision="fuse") as report:
        ours = extract()
    assert len(report.exchanged) == 1 and bool(report.fused) != is_scheduler
    assert len(ours) == len(stock) - len(report.fused)  # the pool's
    assert sum("conv2d" in name for name in ours) == sum("conv2d" in name for name in stock) == 2
