"""What keeps every site as it is: flags of the target, and a limit to operator fusion."""

import pytest
import tvm
from tvm import relay

from tvm_reorder import Reason, Status

from .networks import conv_net, only_site


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
