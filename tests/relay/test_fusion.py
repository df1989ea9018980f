"""Convolution and pool in one kernel: which kernels run, in every executor, with equal results."""

import json

import numpy as np
import onnx
import pytest
import tvm
from tvm import autotvm, relay
from tvm.runtime.executor import AotModule
from tvm.runtime.vm import VirtualMachine

import tvm_reorder
from tvm_reorder import Action, Status, tvmc
from tvm_reorder.cli.measure import count_kernels
from tvm_reorder.core.records import Record, append_record
from tvm_reorder.core.tiles import Tile
from tvm_reorder.relay.circumstances import read_circumstances
from tvm_reorder.relay.op.conv2d_max_pool2d import NAME

from ..cli.test_compile import run_plain_tvmc
from ..kernels.layers import make_layer, make_log
from ..models import save_network
from .networks import (
    TARGET,
    build,
    channels_first,
    constant,
    conv2d,
    conv_net,
    execute,
    image,
    max_pool,
    module,
    run,
)

LOWEST = float(np.finfo("float32").min)
INPUTS = {"x": np.random.default_rng(5).normal(size=(1, 3, 8, 8)).astype("float32")}


def biased() -> tvm.IRModule:
    """Convolution, bias, ReLU, pool."""
    return conv_net(lambda x: relay.nn.relu(x + channels_first([1, -1, 2, 0])))


def bare() -> tvm.IRModule:
    """The pool right behind its convolution."""
    return module(max_pool(conv2d(image())))


def composite() -> tvm.IRModule:
    """Leaky ReLU as importers write it: the convolution is used twice on the way to the pool."""
    return conv_net(lambda x: relay.maximum(x, x * relay.const(0.1)))


def explicitly_padded() -> tvm.IRModule:
    widths = ((0, 0), (0, 0), (1, 0), (0, 1))
    pad = lambda x: relay.nn.pad(relay.nn.relu(x), widths, pad_value=LOWEST)
    return module(max_pool(pad(conv2d(image())), size=3))


def deep(channels=(32, 32, 16)) -> tvm.IRModule:
    """Two sites and a convolution behind them."""
    first, second, third = channels
    value = max_pool(relay.nn.relu(conv2d(image(), first)))
    value = max_pool(relay.nn.relu(conv2d(value, second, first)))
    return module(relay.nn.relu(conv2d(value, third, second)))


NETWORKS = [biased, bare, composite, explicitly_padded, deep]


def fuse(mod, **options):
    """The module built with all its sites fused."""
    with tvm_reorder.enabled(decision="fuse") as report:
        library = build(mod, **options)
    assert not report.errors
    assert report.sites and {site.status for site in report.sites} == {Status.FUSED}
    return library


def kernels(library) -> list[str]:
    """Kernels that a built module calls, without prefix and number."""
    nodes = json.loads(library.get_graph_json())["nodes"]
    names = [node["name"] for node in nodes if node["op"] == "tvm_op"]
    return [name.removeprefix("tvmgen_default_fused_").rstrip("_0123456789") for name in names]


@pytest.fixture(scope="module")
def libraries():
    """The deep network, stock and fused."""
    return build(deep()), fuse(deep())


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_results_are_equal(make):
    (stock,) = run(make(), INPUTS)
    np.testing.assert_array_equal(execute(fuse(make()), INPUTS)[0], stock)


def test_there_is_one_kernel_less_a_site(libraries):
    stock, fused = (count_kernels(library.get_graph_json()) for library in libraries)
    assert stock - fused == 2
    assert not any("nn_max_pool2d" in name for name in kernels(libraries[1]))


def test_neighbours_agree_on_the_layout(libraries):
    assert kernels(libraries[1]) == [
        "layout_transform",
        "contrib_conv2d_max_pool2d_nn_relu",
        "contrib_conv2d_max_pool2d_nn_relu",
        "nn_contrib_conv2d_NCHWc_nn_relu",
        "layout_transform",
    ]


def test_no_layout_transform_is_added_where_neighbours_differ():
    channels = (20, 13, 7)
    stock, fused = (
        sum("layout_transform" in name for name in kernels(library))
        for library in (build(deep(channels)), fuse(deep(channels)))
    )
    assert fused <= stock


def test_weights_are_packed_at_compile_time(libraries):
    stock, fused = (
        sorted(value.shape for value in library.get_params().values()) for library in libraries
    )
    assert fused == stock and all(len(shape) == 6 for shape in fused)


def test_bias_and_activation_are_in_the_kernel():
    names = kernels(fuse(biased()))
    assert names[1:-1] == ["contrib_conv2d_max_pool2d_add_nn_relu"]


def test_weights_may_be_parameters_or_inputs():
    weight = relay.var("w", shape=(4, 3, 3, 3))
    conv = relay.nn.conv2d(image(), weight, padding=(1, 1), channels=4, kernel_size=(3, 3))
    mod = module(max_pool(relay.nn.relu(conv)))
    values = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype("float32")
    (stock,) = run(mod, {**INPUTS, "w": values})
    bound = execute(fuse(mod, params={"w": tvm.nd.array(values)}), INPUTS)
    given = execute(fuse(mod), {**INPUTS, "w": values})
    np.testing.assert_array_equal(bound, [stock])
    np.testing.assert_array_equal(given, [stock])


# --- executors -----------------------------------------------------------------------------------


def run_aot(mod) -> np.ndarray:
    executor = relay.backend.Executor("aot", {"interface-api": "packed", "unpacked-api": False})
    library = relay.build(mod, TARGET, executor=executor, runtime=relay.backend.Runtime("cpp"))
    machine = AotModule(library["default"](tvm.cpu()))
    machine.set_input(**{name: tvm.nd.array(value) for name, value in INPUTS.items()})
    machine.run()
    return machine.get_output(0).numpy()


def run_vm(mod) -> np.ndarray:
    machine = VirtualMachine(relay.vm.compile(mod, TARGET), tvm.cpu())
    return machine.invoke("main", **INPUTS).numpy()


@pytest.mark.parametrize("execute_in", [run_aot, run_vm], ids=lambda entry: entry.__name__)
def test_every_executor_gives_the_same(execute_in, libraries):
    (stock,) = execute(libraries[0], INPUTS)
    with tvm_reorder.enabled(decision="fuse") as report, tvm.transform.PassContext(opt_level=3):
        result = execute_in(deep())
    assert len(report.fused) == 2 and not report.errors
    np.testing.assert_array_equal(result, stock)


def test_a_package_runs_where_there_is_no_tvm_reorder(tmp_path):
    """Compiled by ``tvmc-reorder``, run by plain tvmc in a process that cannot import us."""
    model, package = save_network(tmp_path / "model.onnx"), tmp_path / "model.tar"
    options = ["--reorder", "--reorder-decision", "fuse", "--reorder-report"]
    report = tmp_path / "report.json"
    command = ["compile", str(model), f"--target={TARGET}", "-o", str(package), *options]
    assert tvmc.main([*command, str(report)]) == 0
    assert json.loads(report.read_text())["sites"][0]["status"] == "fused"
    np.savez(tmp_path / "inputs.npz", data=INPUTS["x"])
    ours = run_plain_tvmc(package, tmp_path / "inputs.npz", tmp_path / "ours.npz")
    mod, params = relay.frontend.from_onnx(onnx.load(model))
    (stock,) = run(mod, {"data": INPUTS["x"]}, params=params)
    np.testing.assert_array_equal(ours["output_0"], stock)


# --- modules -------------------------------------------------------------------------------------


def test_a_channels_last_network_is_fused_after_convert_layout():
    mod = module(
        max_pool(relay.nn.relu(conv2d(image(layout="NHWC"), layout="NHWC")), layout="NHWC")
    )
    wanted = {"nn.conv2d": ["NCHW", "default"], "nn.max_pool2d": ["NCHW"]}
    with tvm.transform.PassContext(opt_level=3):
        mod = tvm.transform.Sequential([relay.transform.ConvertLayout(wanted)])(mod)
    inputs = {"x": np.ascontiguousarray(INPUTS["x"].transpose(0, 2, 3, 1))}
    (stock,) = run(mod, inputs)
    np.testing.assert_array_equal(execute(fuse(mod), inputs)[0], stock)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_a_second_run_changes_nothing(make):
    once, first = tvm_reorder.reorder(make(), decision="fuse")
    twice, second = tvm_reorder.reorder(once, decision="fuse")
    assert first.fused and not second.sites
    tvm.ir.assert_structural_equal(once, twice)


def test_a_rewritten_module_is_built_without_the_pass():
    mod, _ = tvm_reorder.reorder(biased(), decision="fuse", target=TARGET)
    assert NAME in mod.astext(show_meta_data=False)
    np.testing.assert_array_equal(run(mod, INPUTS), run(biased(), INPUTS))


def test_the_callers_module_stays_as_it_is():
    mod = deep()
    copy = tvm.ir.load_json(tvm.ir.save_json(mod))
    fuse(mod)
    tvm_reorder.reorder(mod, decision="fuse")
    tvm.ir.assert_structural_equal(mod, copy)


def test_a_report_alone_writes_nothing():
    mod, report = tvm_reorder.reorder(bare(), decision="fuse", write=False)
    assert report.sites[0].status is Status.FUSABLE
    assert NAME not in mod.astext(show_meta_data=False)


# --- decisions -----------------------------------------------------------------------------------


def with_bias_add() -> tvm.IRModule:
    return conv_net(lambda x: relay.nn.relu(relay.nn.bias_add(x, constant([1, -1, 2, 0]))))


@pytest.mark.parametrize("make", [*NETWORKS, with_bias_add], ids=lambda make: make.__name__)
def test_a_site_has_the_same_key_inside_a_build(make):
    """Records are made outside of one."""
    _, outside = tvm_reorder.reorder(make(), target=TARGET, write=False)
    with tvm_reorder.enabled(write=False) as inside:
        build(make())
    assert [s.workload.key for s in inside.sites] == [s.workload.key for s in outside.sites]


@pytest.mark.parametrize("fused_ms, status", [(0.5, Status.FUSED), (2.0, Status.KEPT)])
def test_a_measured_record_decides(tmp_path, fused_ms, status):
    _, report = tvm_reorder.reorder(biased(), decision="fuse", target=TARGET)
    now = read_circumstances(TARGET)
    times = {Action.KEEP: [1.0], Action.EXCHANGE: [1.5], Action.FUSE: [fused_ms]}
    path = tmp_path / "records.jsonl"
    workload = report.sites[0].workload.as_dict()
    circumstances = (now.target, now.threads, now.tvm_version, now.processor)
    append_record(path, Record(workload, *circumstances, times))
    with tvm_reorder.enabled(records=path) as report:
        library = build(biased())
    assert report.sites[0].status is status and report.sites[0].decision.basis == "records"
    assert any("max_pool2d" in name for name in kernels(library))
    assert ("contrib_conv2d_max_pool2d_add_nn_relu" in kernels(library)) == (fused_ms < 1)


@pytest.mark.parametrize("fused_ms, status", [(0.1, Status.FUSED), (9.0, Status.KEPT)])
def test_a_tuning_log_of_both_kernels_decides(fused_ms, status):
    layer = make_layer((1, 3, 8, 8), 4, (3, 3), ((1, 1), (1, 1, 1, 1)))
    plain, fused = make_log(layer, 3, 4, 0, Tile(False, 4, 1, 8, 1))
    log = [plain, (fused[0], fused[1]._replace(costs=[fused_ms * 1e-3]))]
    with autotvm.apply_history_best(log), tvm_reorder.enabled() as report:
        build(biased())
    assert report.sites[0].status is status
    assert report.sites[0].decision.basis == "tuning log"
