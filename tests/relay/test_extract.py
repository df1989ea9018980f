"""Sites as modules of their own: where they are cut, and that they compute what the model does."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.core.report import Report
from tvm_reorder.core.window import PoolWindow, WindowAxis
from tvm_reorder.core.workload import SiteWorkload
from tvm_reorder.relay.extract import extract_site, extract_sites
from tvm_reorder.relay.sites import FunctionGraph, op_name

from .networks import TARGET, channels_first, constant, conv2d, image, max_pool, module, run


def prepared(mod) -> tvm.IRModule:
    """A module as the pass sees it."""
    return tvm_reorder.reorder(mod, write=False, target=TARGET)[0]


def only_pool(mod) -> tvm.IRModule | None:
    """The one max pool of a module, extracted."""
    graph = FunctionGraph(prepared(mod)["main"])
    (pool,) = graph.max_pools
    return extract_site(graph, pool)


def operators(mod) -> list[str]:
    """Operators in order of execution, without what makes constants fit."""
    found = []
    relay.analysis.post_order_visit(mod["main"].body, found.append)
    names = [op_name(call) for call in found if isinstance(call, relay.Call)]
    return [name for name in names if name != "expand_dims"]


def inputs_of(mod) -> list[tuple[int, ...]]:
    """Shapes of the inputs."""
    return [tuple(map(int, param.checked_type.shape)) for param in mod["main"].params]


def test_a_site_reaches_from_the_convolution_to_the_pool():
    stem = relay.exp(image())
    site = max_pool(relay.sigmoid(conv2d(stem) + channels_first([1, 2, 3, 4])))
    mod = only_pool(module(relay.nn.batch_flatten(relay.tanh(site))))
    assert operators(mod) == ["nn.conv2d", "add", "sigmoid", "nn.max_pool2d"]
    assert inputs_of(mod) == [(1, 3, 8, 8)]
    data = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype("float32")
    ours = run(mod, {mod["main"].params[0].name_hint: data})
    x = relay.var("x", shape=(1, 3, 8, 8))
    whole = module(max_pool(relay.sigmoid(conv2d(x) + channels_first([1, 2, 3, 4]))))
    np.testing.assert_array_equal(ours, run(whole, {"x": data}))


def test_batch_norm_is_folded_as_the_pass_sees_it():
    ones = constant(np.ones(4))
    normal = relay.nn.batch_norm(conv2d(image()), ones, ones, ones, ones)[0]
    assert "nn.batch_norm" not in operators(only_pool(module(max_pool(relay.nn.relu(normal)))))


def test_the_branches_of_a_concatenation_belong_to_the_site():
    x, y = image(), relay.var("y", shape=(1, 5, 8, 8))
    branches = [
        relay.nn.relu(conv2d(x)),
        relay.nn.relu(conv2d(relay.exp(x), seed=1)),
        y,
    ]
    mod = only_pool(module(max_pool(relay.tanh(relay.concatenate(branches, axis=1)))))
    assert sorted(operators(mod)) == sorted(
        ["nn.conv2d", "nn.relu"] * 2 + ["concatenate", "tanh", "nn.max_pool2d"]
    )
    assert sorted(inputs_of(mod)) == [(1, 3, 8, 8), (1, 3, 8, 8), (1, 5, 8, 8)]


def test_what_comes_from_memory_becomes_an_input():
    mod = only_pool(module(max_pool(relay.nn.relu(relay.nn.lrn(image())))))
    assert operators(mod) == ["nn.relu", "nn.max_pool2d"]
    assert inputs_of(mod) == [(1, 3, 8, 8)]


def test_what_shares_a_kernel_with_the_steps_belongs_to_the_site():
    mod = only_pool(module(max_pool(relay.nn.relu(relay.nn.avg_pool2d(image(), (3, 3))))))
    assert operators(mod) == ["nn.avg_pool2d", "nn.relu", "nn.max_pool2d"]
    total = conv2d(image()) + relay.exp(relay.var("y", shape=(1, 4, 8, 8)))
    mod = only_pool(module(max_pool(relay.tanh(total))))
    assert operators(mod) == ["nn.conv2d", "add", "tanh", "nn.max_pool2d"]
    assert inputs_of(mod) == [(1, 3, 8, 8), (1, 4, 8, 8)]


def test_composites_explicit_padding_and_inputs_read_twice():
    conv = conv2d(image())
    silu = relay.nn.pad(conv * relay.sigmoid(conv), [[0, 0]] * 2 + [[1, 1]] * 2, -3.4028235e38)
    mod = only_pool(module(max_pool(silu)))
    assert sorted(operators(mod)) == sorted(
        ["nn.conv2d", "sigmoid", "multiply", "nn.pad", "nn.max_pool2d"]
    )
    assert len(inputs_of(mod)) == 1


def test_weights_that_are_not_constant_are_inputs():
    x, weight = image(), relay.var("w", shape=(4, 3, 3, 3))
    mod = only_pool(module(max_pool(relay.nn.relu(relay.nn.conv2d(x, weight)))))
    assert inputs_of(mod) == [(1, 3, 8, 8), (4, 3, 3, 3)]


def test_a_dynamic_shape_cannot_be_extracted():
    x = relay.var("x", shape=(relay.Any(), 3, 8, 8))
    assert only_pool(module(max_pool(relay.nn.relu(conv2d(x))))) is None


def two_pools(size=8):
    """conv, relu, pool; conv, relu, pool; the second on another size."""
    first = max_pool(relay.nn.relu(conv2d(image(size))))
    return module(max_pool(relay.nn.relu(conv2d(first, in_channels=4, seed=1))))


def with_workloads(report, *sizes) -> Report:
    """The report with the workloads of pools on these sizes; 0 for none."""
    changed = Report()
    workloads = [
        SiteWorkload(PoolWindow((WindowAxis(n, n // 2, 2, 2),)), 4, ("nn.relu",)) if n else None
        for n in sizes
    ]
    changed.add(tuple(replace(s, workload=w) for s, w in zip(report.sites, workloads)))
    return changed


@pytest.mark.parametrize(
    "sizes, names, first",
    [
        ((8, 4), [("max_pool2d_1",), ("max_pool2d_2",)], (1, 3, 8, 8)),
        ((8, 8), [("max_pool2d_1", "max_pool2d_2")], (1, 3, 8, 8)),
        ((0, 4), [("max_pool2d_2",)], (1, 4, 4, 4)),
        ((0, 0), [], None),
    ],
)
def test_equal_workloads_are_one_site(sizes, names, first):
    mod, report = tvm_reorder.reorder(two_pools(), write=False, target=TARGET)
    sites = extract_sites(mod, with_workloads(report, *sizes))
    assert [site.names for site in sites] == names
    assert not sites or inputs_of(sites[0].mod)[0] == first
    assert [site.name for site in sites] == [
        n[0] + (f" (+{len(n) - 1})" if len(n) > 1 else "") for n in names
    ]


def test_the_model_stays_as_it_was():
    mod, report = tvm_reorder.reorder(two_pools(), write=False, target=TARGET)
    before = tvm.ir.structural_hash(mod)
    extract_sites(mod, with_workloads(report, 8, 4))
    assert tvm.ir.structural_hash(mod) == before
