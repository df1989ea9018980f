"""What keeps every site as it is: flags of the target, and a limit to operator fusion."""

import pytest
import tvm
from tvm import relay
from tvm.target import Target

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.certify.targets import may_contract, name_target, name_target_class

from .networks import channels_first, conv_net, max_pool, module, only_site

AVX2, FAST = "llvm -mcpu=core-avx2", "llvm -mcpu=core-avx2 -fast-math"


def test_fast_math_flags_leave_nothing_equal():
    target = "llvm -mcpu=skylake-avx512 -fast-math=1"
    for step in (relay.nn.relu, relay.sigmoid):
        site = only_site(conv_net(step), target=target)
        assert site.status is Status.REFUSED and site.refusal.reason is Reason.UNPROVEN
    site = only_site(conv_net(relay.nn.relu), target=target)
    assert str(site.refusal).startswith("the target's arithmetic is that of -fast-math but must be")
    assert only_site(conv_net(relay.nn.relu), target=target, licence="ulp:any").refusal is None
    off = "llvm -mcpu=skylake-avx512 -fast-math=0"
    assert only_site(conv_net(relay.nn.relu), target=off).status is Status.EXCHANGED


@pytest.mark.parametrize("depth, is_refused", [(1, False), (2, True), (5, True), (256, False)])
def test_a_limit_to_fusion(depth, is_refused):
    with tvm.transform.PassContext(config={"relay.FuseOps.max_depth": depth}):
        site = only_site(conv_net(relay.nn.relu))
    assert (site.status is Status.REFUSED) == is_refused
    if is_refused:
        assert site.refusal.reason is Reason.CONTRACTION
        assert f"max_depth is {depth} but must be 1, or 256 or more" in str(site.refusal)


def test_the_x87_rounds_where_a_kernel_ends():
    site = only_site(conv_net(relay.nn.relu), target="llvm -mtriple=i686-linux-gnu")
    assert "the target's arithmetic is that of the x87" in str(site.refusal)
    with_sse = "llvm -mtriple=i686-linux-gnu -mattr=+sse2"
    assert only_site(conv_net(relay.nn.relu), target=with_sse).status is Status.EXCHANGED


def test_kernels_are_compiled_for_the_host():
    """All llvm kernels of a build are in one module; see ``src/driver/driver_api.cc``."""
    with_fma, without = Target("llvm", host=AVX2), Target(AVX2, host="llvm")
    assert may_contract(with_fma, "float32") and not may_contract(without, "float32")
    assert name_target_class(with_fma) == name_target_class(Target(AVX2))
    assert name_target_class(without) == name_target_class(Target("llvm"))
    assert name_target_class(Target("cuda", host="llvm")).startswith("cuda")


def pair_around_a_pool():
    """A product above the pool, a sum behind it: one operation if they come into one kernel."""
    x = relay.var("x", shape=(1, 4, 8, 8))
    return module(
        max_pool(relay.nn.relu(x) * channels_first([3, 5, 7, 9])) + channels_first([1] * 4)
    )


@pytest.mark.parametrize(
    "target, host, is_contracted", [("llvm", AVX2, True), (AVX2, "llvm", False)]
)
def test_what_is_contracted_is_the_hosts(target, host, is_contracted):
    site = only_site(pair_around_a_pool(), target=Target(target, host=host))
    found = site.refusal and site.refusal.reason
    assert found is (Reason.CONTRACTION if is_contracted else None), site.explanation


def test_the_hosts_fast_math_flags_count():
    for target in (Target(AVX2, host=FAST), Target("llvm", host=FAST)):
        site = only_site(conv_net(relay.nn.relu), target=target)
        assert str(site.refusal).startswith("the target's arithmetic is that of -fast-math")


@pytest.mark.parametrize("flag", ["-device=arm_cpu", "-keys=arm_cpu,cpu"])
def test_schedules_of_another_processor_are_not_x86s(flag):
    target = f"{AVX2} {flag}"
    assert name_target(Target(target)) == "llvm x86-64 with schedules for arm_cpu"
    fused = only_site(conv_net(relay.nn.relu), target=target, decision="fuse")
    assert fused.status is not Status.FUSED
    net = conv_net(
        lambda x: relay.sigmoid(x) * channels_first([3, 5, 7, 9]) + channels_first([1] * 4)
    )
    assert "multiply" in only_site(net, target=AVX2).chain
    refusal = only_site(net, target=target).refusal
    assert refusal.reason is Reason.CONTRACTION and "schedules for arm_cpu" in str(refusal)


def build_for_several(mod, **options):
    with tvm_reorder.enabled(decision="exchange", **options) as report:
        with tvm.transform.PassContext(opt_level=3):
            relay.build(mod, target={"cpu": FAST, "ext_dev": "ext_dev"})
    assert not report.errors
    return report.sites[0]


def test_nobody_says_what_a_build_for_several_targets_compiles_for():
    site = build_for_several(conv_net(relay.sigmoid))
    assert site.refusal.reason is Reason.UNPROVEN
    assert "unknown in a build for several targets" in str(site.refusal)
    assert build_for_several(conv_net(relay.sigmoid), licence="ulp:any").refusal is None
