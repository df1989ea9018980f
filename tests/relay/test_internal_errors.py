"""An error at one site costs that site alone, whatever was being done there."""

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.core.selection import UnknownSite
from tvm_reorder.relay import function_rewriting, fusion
from tvm_reorder.relay.decisions import SiteDecider
from tvm_reorder.relay.rules.exchange_chain import ExchangeChain

from .networks import conv2d, image, max_pool, module, run

INPUTS = {"x": np.random.default_rng(3).normal(size=(1, 3, 12, 12)).astype("float32")}
ERROR = ValueError("planted\nin two lines")


def pool(data, size):
    return max_pool(data, size=size, stride=size)


def three_sites():
    """Sites of windows 2, 3 and 4 side by side, and one without an activation."""
    x = image(12)
    sites = [pool(relay.tanh(conv2d(x, seed=size)), size) for size in (2, 3, 4)]
    return module(relay.Tuple([*sites, pool(conv2d(x, seed=5), 5)]))


def fail_at(monkeypatch, owner, name, is_meant, error=ERROR):
    """Let a function fail where its arguments are meant."""
    original = getattr(owner, name)

    def fail(*arguments, **options):
        if is_meant(*arguments):
            raise error
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, fail)


def is_window(size):
    """Picks the pool of one size out of the arguments of anything."""

    def is_meant(*arguments):
        return any(_size(argument) == size for argument in arguments)

    return is_meant


def _size(argument) -> int | None:
    if isinstance(argument, relay.Call) and argument.op.name == "nn.max_pool2d":
        return int(argument.attrs.pool_size[0])
    window = getattr(argument, "window", None)  # a chain's, the facts' of a pool
    return window.axes[0].kernel if hasattr(window, "axes") else None


def ill_typed(monkeypatch, size):
    original = ExchangeChain.rewrite

    def rewrite(self, plan, match, pool):
        value, pools = original(self, plan, match, pool)
        wrong = relay.reshape(value, [7, 7]) if _size(pool) == size else value
        return wrong, pools

    monkeypatch.setattr(ExchangeChain, "rewrite", rewrite)


PHASES = {
    "reading": lambda m, size: fail_at(m, ExchangeChain, "read", is_window(size)),
    "checking": lambda m, size: fail_at(m, ExchangeChain, "check", is_window(size)),
    "deciding": lambda m, size: fail_at(m, SiteDecider, "decide", is_window(size)),
    "rewriting": lambda m, size: fail_at(m, ExchangeChain, "rewrite", is_window(size)),
    "typing": ill_typed,
    "fusing": lambda m, size: fail_at(m, fusion, "read_fused_attributes", is_window(size)),
}


@pytest.mark.parametrize("phase", PHASES)
def test_the_other_sites_are_rewritten(phase, monkeypatch, caplog):
    mod = three_sites()
    expected, before = tvm_reorder.reorder(mod, decision="fuse", skip=["max_pool2d_2"])
    PHASES[phase](monkeypatch, 3)
    changed, report = tvm_reorder.reorder(mod, decision="fuse")
    tvm.ir.assert_structural_equal(changed, expected)
    first, broken, third, bare = report.sites
    assert [first, third, bare] == [before.sites[k] for k in (0, 2, 3)]
    assert first.status is bare.status is Status.FUSED
    assert broken.status is Status.REFUSED and broken.refusal.reason is Reason.INTERNAL_ERROR
    assert "please report" in broken.explanation and "\n" not in broken.explanation
    if phase != "typing":
        assert "ValueError: in two lines" in broken.explanation
        assert report.errors == [ERROR]
    assert len(report.errors) == 1 and report.failure is None
    (record,) = [r for r in caplog.records if r.name == "tvm_reorder"]
    assert record.exc_info and "max_pool2d_2" in record.getMessage()
    assert "1 refused" in str(report)


def test_a_site_without_an_activation(monkeypatch):
    fail_at(monkeypatch, SiteDecider, "decide_bare", is_window(5))
    _, report = tvm_reorder.reorder(three_sites(), decision="fuse")
    assert [site.status for site in report.sites] == [Status.FUSED] * 3 + [Status.REFUSED]
    assert report.sites[3].refusal.reason is Reason.INTERNAL_ERROR


def test_every_site_may_fail(monkeypatch):
    mod = three_sites()
    stock, _ = tvm_reorder.reorder(mod, write=False)
    fail_at(monkeypatch, ExchangeChain, "read", lambda *arguments: True)
    changed, report = tvm_reorder.reorder(mod, decision="fuse")
    tvm.ir.assert_structural_equal(changed, stock)
    assert {site.refusal.reason for site in report.sites} == {Reason.INTERNAL_ERROR}
    assert len(report.errors) == 4


def test_sites_that_fail_together_alone(monkeypatch):
    """Each rewrite works, both in one function do not: one of them is given up."""
    original = ExchangeChain.rewrite
    seen = []

    def rewrite(self, plan, match, pool):
        seen.append(_size(pool))
        if seen[-2:] == [2, 3]:
            seen.clear()
            raise ERROR
        return original(self, plan, match, pool)

    monkeypatch.setattr(ExchangeChain, "rewrite", rewrite)
    _, report = tvm_reorder.reorder(three_sites(), decision="exchange")
    statuses = [site.status for site in report.sites[:3]]
    assert statuses == [Status.EXCHANGED, Status.REFUSED, Status.EXCHANGED]


def test_a_later_round_fails(monkeypatch):
    """What the site gave in an earlier one is not kept."""
    body = pool(pool(relay.tanh(conv2d(image(12))), 2), 3)
    fail_at(monkeypatch, ExchangeChain, "rewrite", is_window(3))
    changed, report = tvm_reorder.reorder(module(body), decision="exchange")
    assert [site.status for site in report.sites] == [Status.EXCHANGED, Status.REFUSED]
    expected, _ = tvm_reorder.reorder(module(body), decision="exchange", skip=["max_pool2d_2"])
    tvm.ir.assert_structural_equal(changed, expected)


def test_the_build_goes_on(monkeypatch):
    mod = three_sites()
    stock = run(mod, INPUTS)
    fail_at(monkeypatch, ExchangeChain, "rewrite", is_window(3))
    with tvm_reorder.enabled(decision="exchange") as report:
        ours = run(mod, INPUTS)
    assert len(report.exchanged) == 2 and report.errors == [ERROR]
    for before, after in zip(stock, ours):
        np.testing.assert_array_equal(after, before)


def test_an_unknown_site_is_the_users_mistake(monkeypatch):
    fail_at(monkeypatch, ExchangeChain, "read", is_window(3))
    with pytest.raises(UnknownSite):
        tvm_reorder.reorder(three_sites(), only=["nobody"])


def test_an_average_pool_that_cannot_be_read(monkeypatch):
    averaged = relay.nn.avg_pool2d(image(12), pool_size=(2, 2))
    body = relay.Tuple([averaged, pool(relay.tanh(conv2d(image(12))), 3)])
    fail_at(
        monkeypatch,
        function_rewriting,
        "read_pool",
        lambda call, graph: call.op.name == "nn.avg_pool2d",
    )
    _, report = tvm_reorder.reorder(module(body), decision="exchange")
    assert len(report.exchanged) == 1 and report.errors == [ERROR]
    (site,) = report.other_pools
    assert site.refusal.reason is Reason.INTERNAL_ERROR
