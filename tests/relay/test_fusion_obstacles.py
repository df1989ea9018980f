"""What cannot be fused stays convolution and pool, with the reason, and computes the same."""

import re

import numpy as np
import pytest
import tvm
from tvm import auto_scheduler, autotvm, meta_schedule, relay
from tvm.autotvm.task.dispatcher import ApplyGraphBest

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.core.measured import MEASURED_TARGET
from tvm_reorder.relay.facts import read_pool
from tvm_reorder.relay.fusion import find_general_obstacle, find_obstacle
from tvm_reorder.relay.op.conv2d_max_pool2d import NAME
from tvm_reorder.relay.sites import FunctionGraph

from .networks import (
    TARGET,
    build,
    constant,
    conv2d,
    conv_net,
    execute,
    image,
    max_pool,
    module,
    run,
)
from .test_fusion import kernels

RNG = np.random.default_rng(3)
INPUTS = {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32")}


def network() -> tvm.IRModule:
    """What is fused where nothing stands in the way."""
    return conv_net(relay.nn.relu)


def assert_apart(mod, inputs, subject: str, target=TARGET, **options) -> None:
    """Not fused although that was asked for, the reason in the note, and results equal."""
    stock = run(mod, inputs, target=target)
    with tvm_reorder.enabled(decision="fuse", **options) as report:
        library = build(mod, target=target)
    assert not report.errors and report.sites and not report.fused
    for site in report.sites:
        assert site.decision.note.startswith(f"not fused: {subject} is "), site.decision
    assert not any("conv2d_max_pool2d" in name for name in kernels(library))
    for before, after in zip(stock, execute(library, inputs)):
        np.testing.assert_array_equal(after, before)


# --- the site ------------------------------------------------------------------------------------


def activated(conv, pool=max_pool) -> tvm.IRModule:
    """Convolution, ReLU, pool."""
    return module(pool(relay.nn.relu(conv)))


def grouped():
    weight = constant(RNG.normal(size=(6, 1, 3, 3)))
    return activated(relay.nn.conv2d(image(), weight, groups=3, channels=6, kernel_size=(3, 3)))


def float16():
    return activated(conv2d(image(dtype="float16"), dtype="float16"))


def int8():
    """In extents that TVM's legalization leaves alone."""
    data = image(channels=4, dtype="uint8")
    options = dict(channels=16, in_channels=4, dtype="int8", out_dtype="int32")
    return activated(conv2d(data, **options))


def channels_last():
    conv = conv2d(image(layout="NHWC"), layout="NHWC")
    return activated(conv, lambda x: max_pool(x, layout="NHWC"))


def returned_too():
    conv = conv2d(image())
    return module(relay.Tuple([max_pool(relay.nn.relu(conv)), conv]))


def used_elsewhere():
    conv = conv2d(image())
    return module(relay.Tuple([max_pool(relay.nn.relu(conv)), relay.exp(conv)]))


def pooled_twice():
    conv = conv2d(image())
    return module(relay.Tuple([max_pool(conv), max_pool(conv, size=3)]))


def conv1d():
    data = relay.var("x", shape=(1, 3, 8))
    conv = relay.nn.conv1d(data, constant(RNG.normal(size=(4, 3, 3))), channels=4, kernel_size=3)
    return activated(conv, lambda x: relay.nn.max_pool1d(x, 2, 2))


def conv3d():
    data = relay.var("x", shape=(1, 3, 6, 6, 6))
    weight = constant(RNG.normal(size=(4, 3, 3, 3, 3)))
    conv = relay.nn.conv3d(data, weight, channels=4, kernel_size=(3, 3, 3))
    return activated(conv, lambda x: relay.nn.max_pool3d(x, (2, 2, 2), (2, 2, 2)))


def transposed():
    weight = constant(RNG.normal(size=(3, 4, 3, 3)))
    return activated(
        relay.nn.conv2d_transpose(image(), weight, channels=4, kernel_size=(3, 3), strides=(2, 2))
    )


def global_pool():
    return activated(conv2d(image()), relay.nn.global_max_pool2d)


def adaptive_pool():
    return activated(conv2d(image()), lambda x: relay.nn.adaptive_max_pool2d(x, (3, 3)))


SITES = {
    grouped: "the convolution's number of groups",
    float16: "the convolution's dtype",
    int8: "the convolution's dtype",
    channels_last: "the convolution's layout",
    returned_too: "the convolution's value",
    used_elsewhere: "the convolution's value",
    pooled_twice: "the convolution's value",
    conv1d: "what the pool reads",
    conv3d: "what the pool reads",
    transposed: "what the pool reads",
    global_pool: "the pool",
    adaptive_pool: "the pool",
}


def refusals(mod):
    """What `find_obstacle` says of each pool."""
    graph = FunctionGraph(mod["main"])
    for pool in graph.max_pools:
        facts = read_pool(pool, graph)
        base = facts.data_of(pool)
        base = base.args[0] if base.op.name == "nn.relu" else base
        yield find_obstacle(graph, pool, facts, base, 1)


@pytest.mark.parametrize("make", SITES, ids=lambda make: make.__name__)
def test_a_site_is_not_fused(make):
    mod, subject = make(), SITES[make]
    for refusal in refusals(mod):
        assert refusal.reason is Reason.FUSION and refusal.subject == subject
    variable = mod["main"].params[0].checked_type
    values = RNG.integers(0, 9, [int(n) for n in variable.shape])
    assert_apart(mod, {"x": values.astype(variable.dtype)}, subject)


def test_a_dynamic_shape_is_not_fused():
    data = relay.var("x", shape=(relay.Any(), 3, 8, 8))
    mod = activated(conv2d(data))
    (refusal,) = refusals(mod)
    assert refusal.reason is Reason.FUSION and refusal.subject == "the convolution's shape"
    with tvm_reorder.enabled(decision="fuse") as report, tvm.transform.PassContext(opt_level=3):
        executable = relay.vm.compile(mod, TARGET)
    assert not report.errors and not report.fused
    assert report.sites[0].decision.note == f"not fused: {refusal}"
    results = []
    for each in (executable, relay.vm.compile(mod, TARGET)):
        machine = tvm.runtime.vm.VirtualMachine(each, tvm.cpu())
        results.append(machine.invoke("main", INPUTS["x"]).numpy())
    np.testing.assert_array_equal(*results)


def test_nothing_stands_in_the_way_of_the_others():
    assert list(refusals(network())) == [None]
    with tvm.transform.PassContext(opt_level=3) as context:
        assert find_general_obstacle(context, MEASURED_TARGET) is None


# --- the build -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target, seen",
    [
        ("llvm -mtriple=aarch64-linux-gnu", "llvm aarch64"),
        ("c", "c"),
        ("cuda -arch=sm_80", "cuda"),
        ("llvm -keys=arm_cpu,cpu", "llvm x86-64 with schedules for arm_cpu"),
    ],
)
def test_for_another_target_nothing_is_fused(target, seen):
    mod, report = tvm_reorder.reorder(network(), target=target, decision="fuse")
    (site,) = report.sites
    assert site.status is Status.EXCHANGED
    assert site.decision.note == f"not fused: the target is {seen} but must be {MEASURED_TARGET}"
    assert NAME not in mod.astext(show_meta_data=False)


def test_what_a_library_computes_is_not_fused():
    _, report = tvm_reorder.reorder(network(), target="llvm -libs=dnnl", decision="fuse")
    (site,) = report.sites
    assert site.status is Status.EXCHANGED
    assert "what computes the convolution is dnnl but must be TVM's own" in site.decision.note


def build_for_auto_scheduler(mod):
    with auto_scheduler.ApplyHistoryBest([]):
        with tvm.transform.PassContext(3, config={"relay.backend.use_auto_scheduler": True}):
            return relay.build(mod, TARGET)


def build_for_meta_schedule(mod):
    target = tvm.target.Target(f"{TARGET} -num-cores 2")
    database = meta_schedule.database.MemoryDatabase()
    return meta_schedule.relay_integration.compile_relay(database, mod, target, {})


@pytest.mark.parametrize("entry", [build_for_auto_scheduler, build_for_meta_schedule])
def test_where_another_tuner_schedules_nothing_is_fused(entry):
    stock = execute(entry(network()), INPUTS)
    with tvm_reorder.enabled(decision="fuse") as report:
        library = entry(network())
    assert not report.errors and len(report.exchanged) == 1
    note = r"not fused: what schedules the kernels is (auto_scheduler|meta_schedule) but"
    assert re.match(note, report.sites[0].decision.note)
    np.testing.assert_array_equal(execute(library, INPUTS), stock)


@pytest.mark.parametrize("opt_level", [1, 2])
def test_where_weights_are_not_packed_nothing_is_fused(opt_level):
    with tvm.transform.PassContext(opt_level=opt_level) as context:
        refusal = find_general_obstacle(context, MEASURED_TARGET)
    assert refusal.reason is Reason.FUSION and refusal.subject == "opt_level"
    (stock,) = run(network(), INPUTS, opt_level=opt_level)
    with tvm_reorder.enabled(decision="fuse") as report:
        (result,) = run(network(), INPUTS, opt_level=opt_level)
    assert report.sites[0].decision.note == f"not fused: {refusal}"
    np.testing.assert_array_equal(result, stock)


@pytest.mark.parametrize("decision", ["keep", "auto", "fuse"])
def test_under_a_log_of_the_graph_tuner_nothing_is_fused(decision):
    """Such a log is a queue, one record for each convolution: whoever asks takes one out."""
    (task,) = autotvm.task.extract_from_program(network()["main"], {}, TARGET)
    log = [
        (autotvm.MeasureInput(task.target, task, task.config_space.get(0)),
         autotvm.MeasureResult([1e-3], 0, 0.1, 0))
    ]  # fmt: skip
    with ApplyGraphBest(log):
        (stock,) = run(network(), INPUTS)
    with ApplyGraphBest(log), tvm_reorder.enabled(decision=decision) as report:
        (result,) = run(network(), INPUTS)
    assert not report.errors and not report.fused
    np.testing.assert_array_equal(result, stock)


def extract_auto_scheduler(mod) -> list[str]:
    tasks, _ = auto_scheduler.extract_tasks(mod, {}, TARGET)
    return [task.desc for task in tasks]


def extract_meta_schedule(mod) -> list[str]:
    target = tvm.target.Target(f"{TARGET} -num-cores 2")
    tasks = meta_schedule.relay_integration.extract_tasks(mod, target, {})
    return [task.task_name for task in tasks]


@pytest.mark.parametrize("extract", [extract_auto_scheduler, extract_meta_schedule])
def test_other_tuners_tasks_hold_no_fused_operator(extract):
    with tvm_reorder.enabled(decision="fuse") as report:
        names = extract(network())
    assert not report.errors and len(report.runs) == 1 and not report.fused
    assert any("conv2d" in name for name in names)
    assert not any("conv2d_max_pool2d" in name for name in names)
