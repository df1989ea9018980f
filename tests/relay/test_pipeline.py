"""One switch for every entry of TVM, at the right place of the pipeline."""

import threading

import numpy as np
import pytest
import tvm
from tvm import auto_scheduler, autotvm, meta_schedule, relay
from tvm.ir.instrument import PassInstrument, PassPrintingInstrument, PassTimingInstrument
from tvm.runtime.vm import VirtualMachine

import tvm_reorder
from tvm_reorder.relay.passes import PASS_NAME

from .networks import (
    TARGET,
    assert_same_results,
    channels_first,
    constant,
    conv2d,
    conv_net,
    image,
    max_pool,
    module,
    run,
)
from .quantised_networks import fake_quantised_net, quantised_net

INPUTS = {"x": np.random.default_rng(5).normal(size=(1, 3, 8, 8)).astype("float32")}


def network():
    """conv -> bias -> relu -> pool, with the bias under ``nn.bias_add``'s usual form."""
    return conv_net(lambda x: relay.nn.relu(x + channels_first([1, -1, 2, 0])))


class OrderInstrument(PassInstrument):
    """Names of the passes, in order of execution."""

    def __init__(self):
        super().__init__()
        self.names = []

    def run_before_pass(self, mod, info):
        self.names.append(info.name)


# --- entries ----------------------------------------------------------------------------------


def build_graph(mod):
    relay.build(mod, TARGET)


def build_aot(mod):
    relay.build(mod, TARGET, executor=relay.backend.Executor("aot"))


def compile_vm(mod):
    relay.vm.compile(mod, TARGET)


def create_executor(mod):
    relay.create_executor("graph", mod=mod, target=TARGET).evaluate()


def extract_autotvm(mod):
    assert autotvm.task.extract_from_program(mod["main"], params={}, target=TARGET)


def extract_auto_scheduler(mod):
    tasks, _ = auto_scheduler.extract_tasks(mod, {}, TARGET)
    assert tasks


def extract_meta_schedule(mod):
    target = tvm.target.Target("llvm -num-cores 2")
    tasks = meta_schedule.relay_integration.extract_tasks(mod, target, {})
    return [task.task_name for task in tasks]


ENTRIES = [
    build_graph,
    build_aot,
    compile_vm,
    create_executor,
    extract_autotvm,
    extract_auto_scheduler,
    extract_meta_schedule,
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda f: f.__name__)
def test_the_pass_runs_once_in(entry):
    mod = network()
    copy = tvm.ir.load_json(tvm.ir.save_json(mod))
    with tvm_reorder.enabled(decision="exchange") as report:
        entry(mod)
    assert len(report.runs) == 1 and len(report.exchanged) == 1
    tvm.ir.assert_structural_equal(mod, copy)
    entry(mod)
    assert len(report.runs) == 1


def test_tuning_tasks_are_those_of_the_exchanged_network():
    stock = extract_meta_schedule(network())
    with tvm_reorder.enabled(decision="exchange"):
        exchanged = extract_meta_schedule(network())
    assert "fused_nn_max_pool2d" in stock
    assert "fused_nn_max_pool2d_add_nn_relu" in exchanged and len(exchanged) <= len(stock)


@pytest.mark.parametrize("entry", [build_graph, build_aot, compile_vm], ids=lambda f: f.__name__)
@pytest.mark.parametrize("opt_level", [1, 2, 3, 4])
def test_the_users_own_context_inside_the_block(entry, opt_level):
    with tvm_reorder.enabled(decision="exchange") as report:
        with tvm.transform.PassContext(opt_level=opt_level):
            entry(network())
    assert len(report.exchanged) == 1


def test_a_context_made_outside_and_entered_inside():
    context = tvm.transform.PassContext(opt_level=3)
    with tvm_reorder.enabled(decision="exchange") as report, context:
        build_graph(network())
    assert len(report.exchanged) == 1
    with context:
        build_graph(network())
    assert len(report.runs) == 1


def test_the_block_inside_the_users_context():
    timing = PassTimingInstrument()
    with tvm.transform.PassContext(opt_level=3, instruments=[timing]):
        with tvm_reorder.enabled(decision="exchange") as report:
            build_graph(network())
        profile = timing.render()
        build_graph(network())
    assert len(report.runs) == 1 and PASS_NAME in profile


def test_the_vm_computes_the_same():
    mod = network()
    (stock,) = run(mod, INPUTS)
    with tvm_reorder.enabled(decision="exchange") as report, tvm.transform.PassContext(opt_level=3):
        machine = VirtualMachine(relay.vm.compile(mod, TARGET), tvm.cpu())
    assert len(report.exchanged) == 1
    np.testing.assert_array_equal(machine.invoke("main", **INPUTS).numpy(), stock)


# --- place -------------------------------------------------------------------------------------


def test_it_runs_after_folding_and_before_alter_op_layout():
    order = OrderInstrument()
    with (
        tvm_reorder.enabled(decision="exchange"),
        tvm.transform.PassContext(opt_level=3, instruments=[order]),
    ):
        build_graph(network())
    names = order.names
    assert names.count(PASS_NAME) == 1
    place = names.index(PASS_NAME)
    assert names.index("FoldScaleAxis") < place < names.index("AlterOpLayout")
    assert place < names.index("FuseOps")


def test_batch_norm_scales_are_in_the_weights_by_then():
    """What moves past the pool is the bias of the folded batch norm, not its scale."""
    variables = [channels_first([0.5, 1.5, 2, 1])] * 2
    scaled = conv2d(image()) * variables[0] + variables[1]
    with tvm_reorder.enabled(decision="exchange") as report, tvm.transform.PassContext(opt_level=3):
        build_graph(module(max_pool(relay.nn.relu(scaled))))
    assert report.sites[0].chain == ("add", "nn.relu")


def test_it_prints_its_ir_under_its_name(capfd):
    printing = PassPrintingInstrument(
        print_before_pass_names=[], print_after_pass_names=[PASS_NAME]
    )
    with tvm_reorder.enabled(decision="exchange"):
        with tvm.transform.PassContext(opt_level=3, instruments=[printing]):
            build_graph(network())
    text = capfd.readouterr()
    printed = text.out + text.err
    assert PASS_NAME in printed and printed.index("nn.max_pool2d") < printed.index("nn.relu")


def test_without_its_anchor_it_runs_before_fusion():
    with tvm_reorder.enabled(decision="exchange") as report:
        with tvm.transform.PassContext(opt_level=3, disabled_pass=["FlattenAtrousConv"]):
            build_graph(network())
    assert len(report.runs) == 1 and len(report.exchanged) == 1


# --- switches ----------------------------------------------------------------------------------


def test_it_can_be_disabled_by_name():
    with tvm_reorder.enabled(decision="exchange") as report:
        with tvm.transform.PassContext(opt_level=3, disabled_pass=[PASS_NAME]):
            build_graph(network())
    assert not report.has_run


@pytest.mark.parametrize("context_level, own_level", [(0, 1), (1, 1), (2, 3), (0, 0)])
def test_it_heeds_opt_level(context_level, own_level):
    with tvm_reorder.enabled(opt_level=own_level, decision="exchange") as report:
        with tvm.transform.PassContext(opt_level=context_level):
            build_graph(network())
    assert report.has_run == (context_level >= own_level)


@pytest.mark.parametrize("opt_level", [0, 1, 2, 3, 4])
def test_results_are_equal_at_every_level(opt_level):
    report = assert_same_results(network(), INPUTS, opt_level=opt_level, config=_everywhere())
    assert len(report.exchanged) == 1


def _everywhere():
    return tvm_reorder.ReorderConfig(opt_level=0, decision="exchange")


def test_blocks_nest_and_the_innermost_counts():
    mod = conv_net(lambda x: relay.nn.relu(x))
    with tvm_reorder.enabled(decision="exchange") as outer:
        build_graph(mod)
        with tvm_reorder.enabled(write=False, decision="exchange") as inner:
            with tvm.transform.PassContext(opt_level=3):
                build_graph(mod)
        build_graph(mod)
    assert len(outer.runs) == 2 and len(inner.runs) == 1
    assert not inner.exchanged and len(inner.sites) == 1


def test_nothing_stays_behind():
    enter = tvm.ir.transform.PassContext.__enter__
    with pytest.raises(KeyError):
        with tvm_reorder.enabled(decision="exchange"):
            assert tvm.ir.transform.PassContext.__enter__ is not enter
            raise KeyError
    assert tvm.ir.transform.PassContext.__enter__ is enter
    assert not tvm.ir.transform.PassContext.current().instruments


def test_a_wrong_option_leaves_nothing_behind():
    enter = tvm.ir.transform.PassContext.__enter__
    with pytest.raises(ValueError, match="licence is 'none'"):
        with tvm_reorder.enabled(licence="none"):
            pass
    assert tvm.ir.transform.PassContext.__enter__ is enter


def test_threads_do_not_see_each_other():
    reports, barrier = {}, threading.Barrier(3)

    def work(name, switch):
        barrier.wait()
        if not switch:
            build_graph(network())
            return
        with tvm_reorder.enabled(decision="exchange") as report:
            for _ in range(2):
                build_graph(network())
        reports[name] = report

    switches = {"a": True, "b": True, "c": False}
    threads = [threading.Thread(target=work, args=item) for item in switches.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: len(report.runs) for name, report in reports.items()} == {"a": 2, "b": 2}


def test_a_plain_pass_in_ones_own_sequential():
    report = tvm_reorder.Report()
    reorder = tvm_reorder.ReorderActivations(
        tvm_reorder.ReorderConfig(decision="exchange"), report
    ).as_pass()
    assert reorder.info.name == PASS_NAME
    sequence = tvm.transform.Sequential([relay.transform.FoldConstant(), reorder])
    with tvm.transform.PassContext(opt_level=3):
        exchanged = sequence(network())
    assert len(report.exchanged) == 1
    (before,), (after,) = run(network(), INPUTS), run(exchanged, INPUTS)
    np.testing.assert_array_equal(before, after)


def test_reorder_takes_a_function_and_binds_parameters():
    scale = relay.var("scale", shape=(4, 1, 1))
    body = max_pool(relay.nn.relu(conv2d(image())) * scale)
    function = relay.Function(relay.analysis.free_vars(body), body)
    params = {"scale": tvm.nd.array(np.full((4, 1, 1), 2, "float32"))}
    _, unknown = tvm_reorder.reorder(function, decision="exchange")
    _, known = tvm_reorder.reorder(function, params, decision="exchange")
    assert not unknown.exchanged and len(known.exchanged) == 1


# --- outside a build -----------------------------------------------------------------------------


def normalised():
    """conv -> batch norm -> relu -> pool: what is folded depends on the level."""
    ones = constant([1, 2, 0.5, 1])
    return conv_net(lambda x: relay.nn.relu(relay.nn.batch_norm(x, ones, ones, ones, ones)[0]))


def build_report(**context):
    with tvm_reorder.enabled(decision="exchange") as report:
        with tvm.transform.PassContext(**context):
            relay.build(normalised(), TARGET)
    return report


@pytest.mark.parametrize(
    "context",
    [
        *({"opt_level": level} for level in range(5)),
        {"opt_level": 3, "disabled_pass": ["FoldScaleAxis"]},
        {"opt_level": 3, "disabled_pass": ["FlattenAtrousConv"]},
        {"opt_level": 3, "disabled_pass": [PASS_NAME]},
        {"opt_level": 1, "required_pass": ["FoldScaleAxis"]},
        {"opt_level": 3, "config": {"relay.FuseOps.max_depth": 2}},
    ],
    ids=str,
)
def test_reorder_heeds_the_context_as_a_build_does(context):
    built = build_report(**context)
    with tvm.transform.PassContext(**context):
        _, found = tvm_reorder.reorder(normalised(), target=TARGET, decision="exchange")
    assert found.has_run == built.has_run and found.sites == built.sites


def test_without_a_context_reorder_folds_batch_norm():
    (open_site,) = build_report(opt_level=3).sites
    with tvm.transform.PassContext():  # TVM's own level, 2
        (level_two,) = tvm_reorder.reorder(normalised(), target=TARGET, decision="exchange")[1]
    (site,) = tvm_reorder.reorder(normalised(), target=TARGET, decision="exchange")[1]
    assert site == open_site and "multiply" not in site.chain
    assert level_two != site and "multiply" in level_two.chain
    assert tvm.transform.PassContext.current().opt_level == 2


def test_what_stands_behind_the_pass_is_not_run():
    order = OrderInstrument()
    with tvm.transform.PassContext(opt_level=3, instruments=[order]):
        tvm_reorder.reorder(network(), target=TARGET, decision="exchange")
        assert [each.same_as(order) for each in tvm.transform.PassContext.current().instruments]
    assert PASS_NAME in order.names and "FlattenAtrousConv" in order.names
    assert not {"AlterOpLayout", "FastMath", "FuseOps", "LabelOps"} & set(order.names)


def test_without_any_place_the_module_stays():
    mod = network()
    context = {"opt_level": 3, "disabled_pass": ["FlattenAtrousConv", "FuseOps"]}
    with tvm.transform.PassContext(**context):
        same, report = tvm_reorder.reorder(mod, target=TARGET, decision="exchange")
    assert not report.has_run
    tvm.ir.assert_structural_equal(same, mod)


def test_reorder_leaves_its_module_and_parameters():
    scale = relay.var("scale", shape=(4, 1, 1))
    mod = module(max_pool(relay.nn.relu(conv2d(image())) * scale))
    copy = tvm.ir.load_json(tvm.ir.save_json(mod))
    params = {"scale": tvm.nd.array(np.full((4, 1, 1), 2, "float32"))}
    exchanged, report = tvm_reorder.reorder(mod, params, target=TARGET, decision="exchange")
    assert report.exchanged and [p.name_hint for p in exchanged["main"].params] == ["x"]
    tvm.ir.assert_structural_equal(mod, copy)


def test_types_are_inferred_where_they_are_missing(monkeypatch):
    """The types that are not inferred again would have come out the same."""
    from tvm_reorder.relay import pipeline

    nets = [network(), normalised(), quantised_net(), fake_quantised_net(relay.sigmoid)]
    quick = [tvm_reorder.reorder(net, target=TARGET, decision="exchange")[0] for net in nets]
    monkeypatch.setattr(pipeline._LastPass, "run_after_pass", pipeline.Session.run_after_pass)
    for net, found in zip(nets, quick):
        slow, _ = tvm_reorder.reorder(net, target=TARGET, decision="exchange")
        tvm.ir.assert_structural_equal(slow, found)
        tvm.ir.assert_structural_equal(relay.transform.InferType()(found), found)


def test_reorder_raises_what_a_build_survives(monkeypatch):
    from tvm_reorder.relay import passes

    def fail(*arguments):
        raise RuntimeError("planted")

    monkeypatch.setattr(passes.ReorderActivations, "transform", fail)
    with pytest.raises(RuntimeError, match="planted"):
        tvm_reorder.reorder(network(), target=TARGET)
    assert not tvm.transform.PassContext.current().instruments


def test_reorder_needs_a_main():
    mod = tvm.IRModule({relay.GlobalVar("other"): network()["main"]})
    with pytest.raises(ValueError, match="no function 'main' but must have one"):
        tvm_reorder.reorder(mod)


def test_a_failing_pass_does_not_break_the_build(monkeypatch, caplog):
    from tvm_reorder.relay import passes

    def fail(*arguments):
        raise RuntimeError("planted")

    monkeypatch.setattr(passes, "name_pools", fail)
    with tvm_reorder.enabled(decision="exchange") as report:
        (result,) = run(network(), INPUTS)
    (stock,) = run(network(), INPUTS)
    np.testing.assert_array_equal(result, stock)
    assert len(report.errors) == 1 and "the pass failed" in str(report)
    assert "the pass failed" in caplog.text


@pytest.mark.parametrize("name", ["FlattenAtrousConv", "FuseOps"])
def test_who_runs_the_anchor_himself_is_not_building(name):
    """His module stays, and the build that follows has its site."""
    mod = relay.transform.InferType()(conv_net(relay.tanh))
    before = mod.astext()
    with tvm_reorder.enabled(decision="exchange") as report:
        with tvm.target.Target(TARGET), tvm.transform.PassContext(opt_level=3):
            made = relay.transform.InferType()(relay.transform.SimplifyInference()(mod))
            getattr(relay.transform, name)()(made)
            assert not report.has_run and mod.astext() == before
            relay.build(mod, TARGET)
    assert len(report.runs) == 1 and len(report.exchanged) == 1
