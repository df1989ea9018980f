"""Timing a site: which kernels count, and that a way that is not possible is not recorded."""

import json
from time import sleep

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.core import turns
from tvm_reorder.core.config import ReorderConfig
from tvm_reorder.core.decision import Action
from tvm_reorder.relay.extract import ExtractedSite, extract_sites
from tvm_reorder.relay.measure_sites import (
    Segment,
    SiteRunner,
    build_site,
    count_steps,
    draw_inputs,
    measure_site,
    read_segments,
)

from .networks import TARGET, build, constant, conv2d, conv_net, image, max_pool, module

RNG = np.random.default_rng(0)


def graph(*kernels, inputs=1, outputs=None) -> str:
    """A graph executor's JSON: inputs first, then kernels as (name, nodes they read)."""
    nodes = [{"op": "null", "name": f"x{i}", "inputs": []} for i in range(inputs)]
    for name, sources in kernels:
        name = name if name == "__nop" else f"tvmgen_default_fused_{name}"
        attributes = {"func_name": name}
        edges = [[source, 0, 0] for source in sources]
        nodes.append({"op": "tvm_op", "name": name, "attrs": attributes, "inputs": edges})
    heads = [[node, 0, 0] for node in outputs or [len(nodes) - 1]]
    return json.dumps({"nodes": nodes, "heads": heads})


def test_transforms_at_the_borders_do_not_count():
    kernels = [
        ("layout_transform", [0]),
        ("nn_contrib_conv2d_NCHWc_sigmoid", [1]),
        ("nn_max_pool2d", [2]),
        ("layout_transform_12", [3]),
    ]
    found = read_segments(graph(*kernels))
    assert found == [Segment(1, False), Segment(3, True), Segment(4, False)]


def test_transforms_inside_and_fused_ones_count():
    kernels = [
        ("layout_transform", [0]),
        ("nn_conv2d", [2]),
        ("layout_transform_1", [3]),
        ("nn_max_pool2d", [4]),
        ("sigmoid_layout_transform", [5]),
    ]
    found = read_segments(graph(*kernels, inputs=2))
    assert found == [Segment(2, False), Segment(6, True)]


def test_what_does_nothing_is_no_kernel():
    found = read_segments(graph(("nn_conv2d", [0]), ("nn_max_pool2d", [1]), ("__nop", [2])))
    assert found == [Segment(2, True)]


def test_a_runner_runs_everything_in_order_each_time(monkeypatch):
    mod = conv_net(relay.sigmoid)
    runner = SiteRunner(build(mod), draw_inputs(mod))
    executed = []
    monkeypatch.setattr(runner, "_execute", lambda node: executed.append(node))
    runner.milliseconds(2)
    last = runner.segments[-1].last
    assert [s.counts for s in runner.segments] == [False, True, False]
    assert executed == 3 * [0, *(s.last for s in runner.segments)] and executed[-1] == last


def test_the_clock_stands_still_at_the_borders(monkeypatch):
    mod = conv_net(relay.sigmoid)
    runner = SiteRunner(build(mod), draw_inputs(mod))
    first, inner, last = (segment.last for segment in runner.segments)
    naps = {0: 0.02, first: 0.02, inner: 0.01, last: 0.02}
    monkeypatch.setattr(runner, "_execute", lambda node: sleep(naps[node]))
    assert 10 <= runner.milliseconds(2) < 20


def test_a_real_run_takes_time():
    mod = conv_net(relay.sigmoid)
    runner = SiteRunner(build(mod), draw_inputs(mod))
    assert 0 < runner.milliseconds(3) < 1000


def extracted(mod) -> ExtractedSite:
    """The one site of a module."""
    prepared, report = tvm_reorder.reorder(mod, write=False, target=TARGET)
    (site,) = extract_sites(prepared, report)
    return site


def grouped():
    """A convolution that the fused operator does not do."""
    conv = relay.nn.conv2d(
        image(channels=4), constant(RNG.normal(size=(4, 1, 3, 3))), groups=4, channels=4
    )
    return module(max_pool(relay.sigmoid(conv)))


@pytest.mark.parametrize(
    "mod, actions",
    [
        (conv_net(relay.sigmoid), set(Action)),
        (module(max_pool(conv2d(image()))), {Action.KEEP, Action.FUSE}),
        (grouped(), {Action.KEEP, Action.EXCHANGE}),
        (module(max_pool(relay.exp(image()))), {Action.KEEP, Action.EXCHANGE}),
    ],
    ids=["all", "bare", "grouped", "cut"],
)
def test_each_way_that_is_possible_is_timed_under_its_name(monkeypatch, mod, actions):
    monkeypatch.setattr(turns, "ROUND_MS", 0.1)
    steps = []
    site = extracted(mod)
    target = tvm.target.Target(TARGET)
    times = measure_site(site, target, ReorderConfig(), 2, lambda: steps.append(0))
    assert set(times) == actions and len(steps) == count_steps(2)
    assert all(len(samples) == 2 and min(samples) > 0 for samples in times.values())


def names(library) -> list[str]:
    """Names of the kernels a library calls."""
    nodes = json.loads(library.get_graph_json())["nodes"]
    return [node["name"] for node in nodes if node["op"] == "tvm_op"]


def test_each_way_is_what_it_is_called():
    site, target = extracted(conv_net(relay.sigmoid)), tvm.target.Target(TARGET)
    keep, exchange, fuse = (
        names(build_site(site.mod, target, ReorderConfig(), action)) for action in Action
    )
    inner = [[name for name in way if "layout" not in name] for way in (keep, exchange, fuse)]
    assert [len(way) for way in inner] == [2, 2, 1]
    assert "conv2d" in inner[0][0] and "sigmoid" in inner[0][0]
    assert "sigmoid" not in inner[1][0] and "sigmoid" in inner[1][1]
    assert "max_pool2d" in inner[2][0]


def test_options_of_the_model_do_not_change_what_is_built():
    config = ReorderConfig(write=False, decision="keep", records="absent", opt_level=4)
    site = extracted(module(max_pool(relay.exp(image()))))
    target = tvm.target.Target(TARGET)
    assert build_site(site.mod, target, config, Action.EXCHANGE) is not None


def test_a_failing_pass_is_not_recorded_as_keep(monkeypatch):
    from tvm_reorder.relay.passes import ReorderActivations

    def fail(*_):
        raise ValueError("broken")

    site = extracted(conv_net(relay.sigmoid))
    monkeypatch.setattr(ReorderActivations, "transform", fail)
    with pytest.raises(ValueError, match="broken"):
        build_site(site.mod, tvm.target.Target(TARGET), ReorderConfig(), Action.KEEP)
