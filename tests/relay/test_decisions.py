"""What a decision rests on besides the site: the target, and how operators are compiled."""

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.core.decision import Action
from tvm_reorder.core.refusal import Reason
from tvm_reorder.core.report import Status
from tvm_reorder.relay.circumstances import read_circumstances

from .networks import TARGET, conv2d, conv_net, execute, max_pool, module

CUDA = "cuda -arch=sm_90"
APART = {"relay.FuseOps.max_depth": 1}


def large(activation, batch=1):
    """A convolution as in the paper: 3 to 64 channels on 224x224."""
    x = relay.var("x", shape=(batch, 3, 224, 224))
    return module(max_pool(activation(conv2d(x, channels=64))))


def only_site(mod, **options):
    _, report = tvm_reorder.reorder(mod, **options)
    (site,) = report.sites
    return site


def test_on_cuda_a_library_function_needs_a_licence():
    site = only_site(large(relay.sigmoid), target=CUDA)
    assert site.refusal.reason is Reason.UNPROVEN and "licence ulp:any" in site.explanation
    assert only_site(large(relay.sigmoid), target=CUDA, licence="ulp:99").status is Status.REFUSED


@pytest.mark.parametrize("licence", ["ulp:any", "strict+ulp:any"])
def test_on_cuda_the_licence_lets_it_move_where_the_model_says_so(licence):
    site = only_site(large(relay.sigmoid, batch=16), target=CUDA, licence=licence)
    assert site.status is Status.EXCHANGED
    assert site.decision.basis == "model" and site.decision.gain > 1.16


def test_on_cuda_relu_stays_in_the_convolution():
    site = only_site(large(relay.nn.relu), target=CUDA)
    assert site.status is Status.KEPT and site.decision.basis == "model"
    assert "not fused: the target is cuda" in site.decision.note


def test_on_a_gpu_without_figures_only_what_is_expensive_moves():
    options = {"target": "cuda -arch=sm_50", "licence": "ulp:any"}
    site = only_site(large(relay.tanh), **options)
    assert site.status is Status.EXCHANGED and site.decision.basis == "evaluations"
    assert only_site(large(relay.nn.relu), **options).status is Status.KEPT


def test_a_machine_without_a_gpu_is_no_place_for_records():
    if tvm.cuda(0).exist:
        pytest.skip("this machine has a GPU")
    assert read_circumstances(CUDA).processor == "no GPU"
    assert read_circumstances("llvm").processor not in ("no GPU", "")


def test_a_gpus_records_are_kept_by_its_name(monkeypatch):
    monkeypatch.setattr(tvm.runtime.Device, "exist", True)
    monkeypatch.setattr(tvm.runtime.Device, "device_name", "NVIDIA H200")
    found = read_circumstances(CUDA)
    assert found.processor == "NVIDIA H200" and "-arch=sm_90" in found.target


@pytest.mark.parametrize("target", [TARGET, CUDA, "llvm -mtriple=aarch64-linux-gnu"])
def test_apart_relu_is_exchanged_on_every_target(target):
    with tvm.transform.PassContext(opt_level=3, config=APART):
        site = only_site(large(relay.nn.relu), target=target)
    assert site.decision.action in (Action.EXCHANGE, Action.FUSE)
    assert target == TARGET or "kernel of its own" in site.decision.note
    with tvm.transform.PassContext(opt_level=3, config={"relay.FuseOps.max_depth": 2}):
        assert "kernel of its own" not in only_site(large(relay.nn.relu), target=target).explanation


def test_nothing_is_fused_at_opt_level_0():
    mod = conv_net(relay.nn.relu)
    with tvm.transform.PassContext(opt_level=0), tvm_reorder.enabled(opt_level=0) as report:
        relay.build(mod, TARGET)
    assert "kernel of its own" in report.sites[0].decision.note


def test_apart_a_clamp_is_a_kernel_more():
    """The logarithm of 0 is -inf: max(., lowest) has to stand behind it."""
    with tvm.transform.PassContext(opt_level=3, config=APART):
        site = only_site(large(lambda x: relay.log(relay.nn.relu(x))), target=TARGET)
    assert "kernel of its own" not in str(site.decision)


@pytest.mark.parametrize("activation", [relay.nn.relu, relay.sigmoid])
def test_apart_the_result_is_the_same(activation):
    mod = conv_net(activation)
    data = np.random.default_rng(0).standard_normal((1, 3, 8, 8), "float32")
    with tvm.transform.PassContext(opt_level=3, config=APART):
        stock = relay.build(mod, TARGET)
        with tvm_reorder.enabled() as report:
            ours = relay.build(mod, TARGET)
    assert report.sites[0].decision.action in (Action.EXCHANGE, Action.FUSE)
    (before,), (after,) = (execute(library, {"x": data}) for library in (stock, ours))
    np.testing.assert_array_equal(after, before)
