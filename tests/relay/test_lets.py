"""Let-bound values are read as the graph that they make, and stay the kernels that they were."""

import json

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.runtime.vm import VirtualMachine

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.relay.extract import extract_sites

from . import networks
from .networks import (
    assert_same_results,
    build,
    channels_first,
    conv2d,
    conv_net,
    image,
    max_pool,
    module,
    only_site,
    run,
)

INPUTS = {"x": np.random.default_rng(21).normal(size=(1, 3, 8, 8)).astype("float32") * 3}
SCALE = channels_first([1.1, 2.3, 0.7, 0.4])
BIAS = channels_first([0.1, 0.2, -0.3, 0.4])


def bind_all(mod):
    """Every value of a module bound by a let of its own."""
    return relay.transform.InferType()(relay.transform.ToANormalForm()(mod))


def let(value, make, name="v"):
    """let v = value in make(v)"""
    variable = relay.var(name)
    return relay.Let(variable, value, make(variable))


def scaled(x):
    return relay.tanh(x * SCALE + BIAS)


def kernels_of(mod, **options) -> list[str]:
    graph = json.loads(build(mod, **options).get_graph_json())
    names = [node["attrs"]["func_name"] for node in graph["nodes"] if node["op"] == "tvm_op"]
    return [name.removeprefix("tvmgen_default_fused_") for name in names]


def text_of(mod) -> str:
    return mod["main"].astext(show_meta_data=False)


def assert_fixed(mod, **options):
    once, _ = tvm_reorder.reorder(mod, **{"decision": "exchange", **options})
    twice, report = tvm_reorder.reorder(once, **{"decision": "exchange", **options})
    tvm.ir.assert_structural_equal(once, twice)
    assert not report.exchanged
    return once


def test_a_chain_of_lets():
    mod = bind_all(conv_net(scaled))
    (site,) = assert_same_results(mod, INPUTS).sites
    assert site.status is Status.EXCHANGED and site.chain == ("multiply", "add", "tanh")
    assert site.evaluations_before == 3 * 4 * 8 * 8 == 4 * site.evaluations_after
    changed = text_of(assert_fixed(mod))
    assert "stop_fusion" not in changed
    order = [changed.index(f"{name}(") for name in ("max_pool2d", "multiply", "add", "tanh")]
    assert order == sorted(order) and changed.count("let %") == 3


def test_no_kernel_is_made_across_a_let():
    """A product and a sum that were rounded apart must not become one FMA."""
    mod = bind_all(conv_net(scaled))
    with tvm_reorder.enabled(decision="exchange"):
        ours = kernels_of(mod)
    assert ours[-3:] == ["multiply", "add", "tanh"]
    assert sorted(ours) == sorted(kernels_of(mod))


def test_outside_a_build():
    mod = bind_all(conv_net(scaled))
    changed, report = tvm_reorder.reorder(mod, decision="exchange")
    assert len(report.exchanged) == 1
    (before,), (after,) = run(mod, INPUTS), run(changed, INPUTS)
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("opt_level", [0, 1, 4])
def test_at_other_levels(opt_level):
    config = tvm_reorder.ReorderConfig(opt_level=0, decision="exchange")
    mod = bind_all(conv_net(lambda x: relay.nn.relu(x * SCALE + BIAS)))
    report = assert_same_results(mod, INPUTS, opt_level=opt_level, config=config)
    assert len(report.exchanged) == 1


def test_other_executors():
    mod = bind_all(conv_net(scaled))
    (stock,) = run(mod, INPUTS)
    with tvm_reorder.enabled(decision="exchange") as report, tvm.transform.PassContext(opt_level=3):
        machine = VirtualMachine(relay.vm.compile(mod, networks.TARGET), tvm.cpu())
        relay.build(mod, networks.TARGET, executor=relay.backend.Executor("aot"))
    assert [len(run) for run in report.runs] == [1, 1] and len(report.exchanged) == 1
    np.testing.assert_array_equal(machine.invoke("main", **INPUTS).numpy(), stock)


def test_fused_with_the_convolution():
    (site,) = assert_same_results(bind_all(conv_net(scaled)), INPUTS, decision="fuse").sites
    assert site.status is Status.FUSED


def silu(x):
    return x * relay.sigmoid(x)


def elu(x):
    return relay.nn.relu(x) - relay.nn.relu(relay.const(1.0) - relay.exp(x))


def joined(x):
    return relay.concatenate([relay.tanh(x), relay.tanh(conv2d(X, seed=3))], axis=1)


X = image()


@pytest.mark.parametrize("steps, licence", [(silu, "ulp:2"), (elu, "equal"), (joined, "equal")])
def test_what_has_branches(steps, licence):
    mod = bind_all(module(max_pool(steps(conv2d(X)))))
    (site,) = assert_same_results(mod, INPUTS, licence=licence).sites
    assert site.status is Status.EXCHANGED, site.explanation
    assert_fixed(mod, licence=licence)


def test_lets_inside_values():
    inner = let(conv2d(X), lambda a: relay.nn.relu(a + BIAS), "a")
    body = let(max_pool(relay.tanh(inner)), lambda b: b * relay.const(2.0), "b")
    (site,) = assert_same_results(module(body), INPUTS).sites
    assert site.chain == ("add", "nn.relu", "tanh")


def test_tuples_and_parts_of_them():
    def of_the_tuple(t):
        return max_pool(relay.sigmoid(relay.TupleGetItem(t, 1)))

    pair = relay.Tuple([relay.nn.relu(X), conv2d(X) * SCALE])
    (site,) = assert_same_results(module(let(pair, of_the_tuple)), INPUTS).sites
    assert site.status is Status.EXCHANGED
    halves = relay.split(conv2d(X) * SCALE, 2, axis=3).astuple()
    body = let(halves, lambda t: relay.add(of_the_tuple(t), relay.const(1.0)))
    assert_same_results(module(body), INPUTS)


def test_pools_keep_their_names_and_their_order():
    """The graph would execute them the other way round."""
    first = max_pool(relay.tanh(conv2d(X)), size=4, stride=4)
    second = max_pool(relay.nn.relu(conv2d(X, seed=1)))
    body = let(first, lambda a: let(second, lambda b: relay.sum(b) - relay.sum(a), "b"), "a")
    mod = module(body)
    sites = assert_same_results(mod, INPUTS).sites
    assert [(s.name, s.window[:3], s.chain[-1]) for s in sites] == [
        ("max_pool2d_1", "4x4", "tanh"),
        ("max_pool2d_2", "2x2", "nn.relu"),
    ]
    _, report = tvm_reorder.reorder(mod, decision="exchange", skip=["max_pool2d_2"])
    assert [site.status for site in report.sites] == [Status.EXCHANGED, Status.KEPT]


def test_a_value_that_others_want():
    def shared(a):
        return relay.Tuple([max_pool(a), relay.sum(a)])

    site = only_site(module(let(relay.nn.relu(conv2d(X)), shared)))
    assert site.refusal.reason is Reason.SHARED
    assert str(site.refusal).startswith("the value of nn.relu is used 2 times")


def test_two_pools_on_one_name():
    def both(a):
        return let(max_pool(relay.tanh(a)), lambda p: relay.nn.batch_flatten(p) + relay.sum(a), "p")

    mod = module(let(conv2d(X) * SCALE, both))
    (site,) = assert_same_results(mod, INPUTS).sites
    assert site.chain == ("tanh",)


def test_pool_of_a_pool():
    mod = bind_all(module(max_pool(max_pool(scaled(conv2d(X))))))
    sites = assert_same_results(mod, INPUTS).sites
    assert [site.status for site in sites] == [Status.EXCHANGED] * 2
    assert_fixed(mod)


def test_nothing_to_move():
    mod = bind_all(module(max_pool(conv2d(X))))
    stock, _ = tvm_reorder.reorder(mod, write=False)
    changed, report = tvm_reorder.reorder(mod, decision="exchange")
    tvm.ir.assert_structural_equal(changed, stock)
    assert report.sites[0].refusal.reason is Reason.NO_ACTIVATION
    (site,) = assert_same_results(mod, INPUTS, decision="fuse").sites
    assert site.status is Status.FUSED


def test_a_padding_of_its_own():
    padded = relay.nn.pad(relay.nn.relu(conv2d(X)), [[0, 0], [0, 0], [1, 1], [1, 1]], 0.0)
    mod = bind_all(module(max_pool(padded, size=3)))
    (site,) = assert_same_results(mod, INPUTS).sites
    assert site.status is Status.EXCHANGED


def with_a_branch(x):
    condition = relay.var("c", shape=(), dtype="bool")
    return relay.If(condition, x, relay.nn.relu(x))


def with_a_closure(x):
    y = relay.var("y", shape=(1, 4, 8, 8))
    return relay.Call(relay.Function([y], relay.tanh(y)), [x])


def with_a_reference(x):
    return relay.RefRead(relay.RefCreate(x))


@pytest.mark.parametrize("steps", [with_a_branch, with_a_closure, with_a_reference])
def test_effects_and_control_flow_leave_the_function_as_it_was(steps):
    body = let(relay.nn.relu(conv2d(X)), lambda a: max_pool(a), "a")
    body = let(body, lambda b: steps(relay.nn.upsampling(b, 2, 2)), "b")
    mod = module(body)
    stock, _ = tvm_reorder.reorder(mod, write=False)
    changed, report = tvm_reorder.reorder(mod, decision="exchange")
    tvm.ir.assert_structural_equal(changed, stock)
    (site,) = report.sites
    assert site.refusal.reason is Reason.NO_ACTIVATION and "let" in site.explanation


def test_a_pool_that_nobody_reads():
    body = let(max_pool(relay.tanh(conv2d(X))), lambda a: relay.nn.relu(X))
    assert_same_results(module(body), INPUTS)


def test_an_extracted_site_is_whole():
    mod = bind_all(conv_net(scaled))
    prepared, report = tvm_reorder.reorder(mod, write=False, decision="exchange")
    (extracted,) = extract_sites(prepared, report)
    text = text_of(extracted.mod)
    assert all(name in text for name in ("conv2d", "multiply", "add", "tanh", "max_pool2d"))


@pytest.mark.parametrize("in_tuple", [False, True])
@pytest.mark.parametrize("opt_level", [1, 3])
def test_a_constant_bound_by_a_let_is_no_literal(in_tuple, opt_level):
    """Divided by, it would be a factor; elsewhere than at the site, too."""
    x, y = relay.var("x", shape=(1, 8, 12, 12)), relay.var("y", shape=(1, 8, 12, 12))
    bound, three = relay.var("t"), relay.const(3.0)
    value = relay.Tuple([three, y]) if in_tuple else three
    divisor = relay.TupleGetItem(bound, 0) if in_tuple else bound
    divided = (relay.TupleGetItem(bound, 1) if in_tuple else y) / divisor
    body = relay.Let(bound, value, relay.Tuple([max_pool(relay.tanh(x)), divided]))
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(size=(1, 8, 12, 12)).astype("float32") for name in "xy"}
    assert_same_results(module(body), inputs, opt_level=opt_level)
