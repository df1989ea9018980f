"""The AutoTVM template: its space, tuning it in processes of its own, and logs applied."""

import random

import numpy as np
import pytest
import tvm
from tvm import autotvm, relay, te
from tvm.autotvm.task.space import OtherOptionEntity, SplitEntity
from tvm.autotvm.tuner import XGBTuner
from tvm.topi.x86.conv2d import _get_default_config

import tvm_reorder
from tvm_reorder.core.cpu_model import default_blocks
from tvm_reorder.core.tiles import Tile
from tvm_reorder.core.workload import Convolution
from tvm_reorder.relay.op.conv2d_max_pool2d import TASK, make_model, seed_task, template

from ..relay.networks import TARGET, channels_first, module, run
from .layers import Layer, draw_values, make_layer, make_log

LAYER = make_layer((1, 16, 10, 10), 32, (3, 3), ((1, 1), (1, 1, 1, 1)))
OVERLAPPING = make_layer((1, 16, 9, 9), 32, (3, 3), ((1, 1), (1, 1, 1, 1)), ((3, 3), (2, 2)))
POINTWISE = make_layer((1, 16, 10, 10), 32, (1, 1))
WIDTHS = {"core-avx2": 8, "skylake-avx512": 16, "x86-64": 4}
DATA, WEIGHT = draw_values(LAYER, 0, infinite=False)


def network(layer: Layer) -> tvm.IRModule:
    """Convolution, bias, ReLU, pool."""
    _, weight = draw_values(layer, 0, infinite=False)
    bias = channels_first(np.linspace(-1, 1, layer.kernel[0]))
    return module(layer.pool(relay.nn.relu(layer.convolution(weight) + bias)))


def extract(layer: Layer) -> autotvm.task.Task:
    """The one task of the fused operator."""
    with tvm_reorder.enabled(decision="fuse"):
        tasks = autotvm.task.extract_from_program(network(layer)["main"], {}, TARGET)
    (task,) = tasks
    return task


def run_both(layer: Layer, log, ours=None) -> tuple[np.ndarray, np.ndarray]:
    """Stock's results under one log, and ours under another, by default the same."""
    data, _ = draw_values(layer, 0, infinite=False)
    with autotvm.apply_history_best(log):
        (stock,) = run(network(layer), {"x": data})
    with autotvm.apply_history_best(ours or log), tvm_reorder.enabled(decision="fuse") as report:
        (result,) = run(network(layer), {"x": data})
    assert len(report.fused) == 1 and not report.errors
    return stock, result


@pytest.fixture
def scheduled(monkeypatch) -> list:
    """What the schedule is called with: tile, blocks in and out, unroll_kw."""
    calls, schedule = [], template.schedule_NCHWc

    def note(outs, tile, in_block, unroll_kw):
        calls.append((tile, in_block, int(outs[0].shape[-1]), int(unroll_kw)))
        return schedule(outs, tile, in_block, unroll_kw)

    monkeypatch.setattr(template, "schedule_NCHWc", note)
    return calls


def write_log(path, records) -> str:
    """A tuning log as a file."""
    path.write_text("".join(autotvm.record.encode(*record) + "\n" for record in records))
    return str(path)


# --- the space -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def task() -> autotvm.task.Task:
    return extract(LAYER)


def test_the_task_of_a_fused_site_is_extracted(task):
    assert task.name == TASK and task.flop == 2 * 10 * 10 * 32 * 16 * 9
    assert task.args[0] == ("TENSOR", LAYER.data, "float32")
    assert task.args[1] == ("TENSOR", LAYER.kernel, "float32")


def test_the_space_has_only_numbers(task):
    assert set(task.config_space.space_map) == {"tile_ic", "tile_oc", "unroll_kw", "tile"}
    for knob in task.config_space.space_map.values():
        for entity in knob.entities:
            values = [entity.val] if isinstance(entity, OtherOptionEntity) else entity.size
            assert isinstance(entity, (OtherOptionEntity, SplitEntity))
            assert all(type(value) is int for value in values)


@pytest.mark.parametrize("layer", [LAYER, OVERLAPPING, POINTWISE], ids=["3x3", "overlap", "1x1"])
def test_every_point_of_the_space_can_be_built(layer):
    """A sample of ten."""
    task = extract(layer)
    space = task.config_space
    valid = [index for index in range(space.range_length) if space.is_index_valid(index)]
    assert len(valid) == len(space)
    for index in random.Random(0).sample(valid, 10):
        with task.target:
            schedule, arguments = task.instantiate(space.get(index))
            tvm.lower(schedule, arguments)


@pytest.mark.parametrize("cpu", WIDTHS)
def test_default_blocks_are_those_of_tvm(cpu):
    with tvm.target.Target(f"llvm -mcpu={cpu}"):
        assert make_model().lanes == WIDTHS[cpu]
        for channels, filters in [(3, 64), (64, 3), (7, 13), (48, 20), (1, 1), (96, 100)]:
            config = autotvm.task.space.FallbackConfigEntity()
            tensors = te.placeholder((1, channels, 8, 8)), te.placeholder((filters, channels, 3, 3))
            _get_default_config(config, *tensors, (1, 1), (0,) * 4, (1, 1), "float32")
            conv = Convolution(1, channels, 8, 8, filters, (3, 3))
            tvms = config["tile_oc"].size[-1], config["tile_ic"].size[-1]
            assert default_blocks(conv, WIDTHS[cpu]) == tvms


# --- tuning --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(task, tmp_path_factory) -> str:
    """The log of four trials, built and run in AutoTVM's own processes; two of a seeded task."""
    folder = tmp_path_factory.mktemp("logs")
    log, plain = folder / "log.json", write_log(folder / "plain.json", make_log(LAYER, 4, 8, 1))
    builder = autotvm.LocalBuilder(n_parallel=1, timeout=60)
    runner = autotvm.LocalRunner(number=1, repeat=1, min_repeat_ms=0, timeout=60)
    option = autotvm.measure_option(builder, runner)
    for each in (task, seed_task(task, plain)):
        tuner = XGBTuner(each, loss_type="reg", feature_type="knob")
        tuner.tune(2, option, callbacks=[autotvm.callback.log_to_file(str(log))])
    return str(log)


def test_every_trial_is_measured(tuned):
    results = [result for _, result in autotvm.record.load_from_file(tuned)]
    assert [result.error_no for result in results] == [0] * 4
    assert all(min(result.costs) > 0 for result in results)


def test_a_build_under_the_log_is_cut_as_the_best_trial(tuned, scheduled):
    trials = list(autotvm.record.load_from_file(tuned))
    config = min(trials, key=lambda trial: np.mean(trial[1].costs))[0].config
    blocking = template.read_blocking(config)
    stock, result = run_both(LAYER, make_log(LAYER, *blocking), tuned)
    np.testing.assert_array_equal(result, stock)
    assert set(scheduled) == {(template.read_tile(config), *blocking)}


# --- logs ----------------------------------------------------------------------------------------

OUTSIDE = {
    "chunks": (LAYER, (16, 16), Tile(True, 1, 1, 5, 3), "chunks is 3 but must divide the 2"),
    "rows": (LAYER, (16, 16), Tile(True, 3, 2, 5, 1), "rows is 3 but must be a multiple of"),
    "zero": (LAYER, (16, 16), Tile(True, 0, 1, 5, 1), "must be made of positive numbers"),
    "spills": (LAYER, (16, 16), Tile(True, 5, 5, 5, 1), "the register tile is 100 sums"),
    "strip": (LAYER, (16, 16), Tile(False, 2, 2, 5, 1), "tile_rows is 2 but must be 1"),
    "overlap": (OVERLAPPING, (16, 16), Tile(True, 1, 1, 2, 1), "in_registers is 1 but must be 0"),
    "tile_ic": (LAYER, (5, 16), Tile(True, 1, 1, 5, 1), "tile_ic is 5 but must"),
    "tile_oc": (LAYER, (16, 24), Tile(True, 1, 1, 5, 1), "tile_oc is 24 but must"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_config_outside_the_space_is_refused_by_name(case):
    layer, blocks, tile, message = OUTSIDE[case]
    fused = make_log(layer, *blocks, 0, tile)[1:]
    with autotvm.apply_history_best(fused), tvm_reorder.enabled(decision="fuse"):
        with pytest.raises(ValueError, match=f"{TASK}: .*{message}"):
            run(network(layer), {})


def test_the_order_of_summation_shows_in_stock_results():
    """Else the next test would say nothing."""
    results = []
    for unroll_kw in (0, 1):
        with autotvm.apply_history_best(make_log(LAYER, 16, 16, unroll_kw)):
            results += run(LAYER.stock(WEIGHT), {"x": DATA})
    assert (results[0] != results[1]).any()


@pytest.mark.parametrize(
    "layer, blocking",
    [(LAYER, (4, 8, 1)), (LAYER, (16, 32, 0)), (OVERLAPPING, (8, 16, 1)), (POINTWISE, (8, 8, 0))],
    ids=["4, 8, unrolled", "16, 32", "overlapping", "1x1"],
)
def test_an_untuned_site_takes_over_the_convolutions_record(layer, blocking, scheduled):
    stock, result = run_both(layer, make_log(layer, *blocking))
    np.testing.assert_array_equal(result, stock)
    assert {call[1:] for call in scheduled} == {blocking}


def test_wide_blocks_of_the_convolutions_record_are_taken_over():
    """A strip of 9 columns of 4 vectors: no divisor of it fills the registers."""
    layer = make_layer((1, 4, 9, 9), 64, (1, 1), (), ((3, 3), (2, 2)))
    stock, result = run_both(layer, make_log(layer, 4, 64, 0))
    np.testing.assert_array_equal(result, stock)


def test_a_log_leaves_nothing_behind(scheduled):
    """After a build under a log, one without it is cut as if there had never been one."""
    blocks = LAYER.blocks
    run_both(LAYER, make_log(LAYER, 4, 8, 1))
    scheduled.clear()
    data, _ = draw_values(LAYER, 0, infinite=False)
    for disabled in ([], ["AlterOpLayout"]):
        with tvm_reorder.enabled(decision="fuse") as report:
            with tvm.transform.PassContext(opt_level=3, disabled_pass=disabled):
                relay.build(network(LAYER), TARGET)
        assert report.fused
    assert {call[1] for call in scheduled} == {blocks[0]} and {c[3] for c in scheduled} == {0}


# --- seeding -------------------------------------------------------------------------------------


def test_a_seeded_space_has_the_records_blocking_and_the_default(task, tmp_path):
    log = write_log(tmp_path / "log.json", make_log(LAYER, 4, 8, 1))
    space = seed_task(task, log).config_space
    configs = [space.get(i) for i in range(space.range_length) if space.is_index_valid(i)]
    assert {template.read_blocking(c) for c in configs} == {(4, 8, 1), (*LAYER.blocks, 0)}
    assert len(configs) == len(space) < len(task.config_space)


def test_a_seeded_task_is_the_same_task(task, tmp_path):
    seeded = seed_task(task, write_log(tmp_path / "log.json", make_log(LAYER, 4, 8, 1)))
    assert seeded is not task and seeded.workload == task.workload and seeded.flop == task.flop


def test_the_fastest_record_of_the_log_counts(task, tmp_path):
    (slow,), (fast,), (failed,) = (make_log(LAYER, *b, 0) for b in ((2, 4), (4, 8), (1, 2)))
    fast = fast[0], fast[1]._replace(costs=[1e-4])
    failed = failed[0], failed[1]._replace(costs=[1e-5], error_no=4)
    log = write_log(tmp_path / "log.json", [slow, fast, failed])
    knob = seed_task(task, log).config_space.space_map["tile_oc"]
    assert {entity.size[-1] for entity in knob.entities} == {8, LAYER.blocks[1]}


def test_without_a_record_a_task_is_left_alone(task, tmp_path):
    other = write_log(tmp_path / "other.json", make_log(OVERLAPPING, 4, 8, 1))
    for log in (None, tmp_path / "absent.json", other):
        assert seed_task(task, log) is task


def test_another_operators_task_is_refused(tmp_path):
    (plain,) = autotvm.task.extract_from_program(network(LAYER)["main"], {}, TARGET)
    with pytest.raises(ValueError, match=f"task is 'conv2d_NCHWc.x86' but must be '{TASK}'"):
        seed_task(plain, None)
