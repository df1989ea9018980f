"""The GPU's cost model: what must hold of a roofline, and of the published figures in it."""

from dataclasses import replace
from math import inf, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core.decision import Action, choose
from tvm_reorder.core.gpu_model import _GPUS, find_gpu_model
from tvm_reorder.core.window import AdaptiveAxis, PoolWindow
from tvm_reorder.core.workload import Convolution, SiteWorkload

from .test_cpu_model import EXPENSIVE, FREE, sites
from .workloads import workload

KEEP, EXCHANGE, FUSE = Action
POSSIBLE = {KEEP, EXCHANGE}
# float32 TFLOP/s without tensor cores, as the data sheets print them.
PEAKS = {"sm_70": 15.7, "sm_75": 8.1, "sm_80": 19.5, "sm_86": 31.2, "sm_89": 30.3, "sm_90": 67}
MODELS = st.sampled_from(list(_GPUS.values()))


def decide(site: SiteWorkload, architecture: str = "sm_90"):
    return choose(site, POSSIBLE, "auto", None, find_gpu_model(architecture))


def wide(chain: tuple[str, ...]) -> SiteWorkload:
    """VGG-16's last pool: 512 channels in, so that the convolution is all that counts."""
    site = workload(14, chain=chain, convolution=Convolution(1, 512, 14, 14, 512, (3, 3), (1, 1)))
    return replace(site, planes=512)


def whole_plane(chain: tuple[str, ...]) -> SiteWorkload:
    axis = AdaptiveAxis(224, 1)
    return replace(workload(chain=chain), window=PoolWindow((axis, axis)))


@pytest.mark.parametrize("architecture", _GPUS)
def test_the_figures_make_the_printed_peak(architecture):
    model = find_gpu_model(architecture)
    assert model.peak_tflops == pytest.approx(PEAKS[architecture], rel=0.01)


def test_what_is_not_known_has_no_model():
    assert find_gpu_model("sm_90a") is find_gpu_model("sm_90") is not None
    assert [find_gpu_model(name) for name in ("sm_50", "", None)] == [None] * 3
    model = find_gpu_model("sm_90")
    assert model.estimate(workload(), FUSE) is None
    assert model.estimate(workload(convolution=None), KEEP) is None
    assert model.estimate(replace(workload(), dtype="float16"), KEEP) is None


@given(MODELS, sites(), st.sampled_from([KEEP, EXCHANGE]))
def test_an_estimate_is_positive_and_finite(model, site, action):
    assert 0 < model.estimate(site, action) < inf


@given(MODELS, sites(), st.sampled_from([KEEP, EXCHANGE]), st.floats(1.0, 8.0))
def test_a_larger_gpu_is_never_slower(model, site, action, factor):
    larger = replace(model, bandwidth=model.bandwidth * factor, clock_ghz=model.clock_ghz * factor)
    assert larger.estimate(site, action) <= model.estimate(site, action)


@given(MODELS, sites(chains=tuple(FREE)))
def test_a_free_activation_stays(model, site):
    assert model.estimate(site, EXCHANGE) == model.estimate(site, KEEP)
    assert choose(site, POSSIBLE, "auto", None, model).action is KEEP


@given(MODELS, sites())
def test_no_kernel_is_faster_than_the_bytes_it_moves(model, site):
    conv = site.convolution
    moved = conv.batch * conv.channels * prod(conv.outputs) + site.elements + site.pooled
    for action in POSSIBLE:
        assert model.estimate(site, action) >= 4 * moved / model.bandwidth * 1e-6


@given(MODELS, sites(chains=tuple(EXPENSIVE)))
def test_fewer_evaluations_are_never_slower(model, site):
    if site.pooled <= site.elements:
        assert model.estimate(site, EXCHANGE) <= model.estimate(site, KEEP)


@pytest.mark.parametrize("chain", [("sigmoid",), ("nn.bias_add", "tanh")], ids=str)
@pytest.mark.parametrize(
    "architecture, gains",
    [("sm_70", True), ("sm_80", True), ("sm_90", True), ("sm_75", False)],
)
def test_a_short_convolution_gains_where_memory_is_fast(chain, architecture, gains):
    """Where it is slow, the activation is computed while the values are being written."""
    model, site = find_gpu_model(architecture), workload(chain=chain)
    assert (model.estimate(site, KEEP) > 1.04 * model.estimate(site, EXCHANGE)) is gains


@pytest.mark.parametrize("chain", [("sigmoid",), ("nn.bias_add", "tanh")], ids=str)
@pytest.mark.parametrize("batch, action", [(1, KEEP), (16, EXCHANGE)])
def test_a_gain_must_exceed_what_the_model_was_off_by(chain, batch, action):
    """As measured: at batch 1 and with tanh the exchange lost 8 % where 9 % were promised."""
    site = workload(chain=chain)
    convolution = replace(site.convolution, batch=batch)
    site = replace(site, convolution=convolution, planes=batch * site.planes)
    decision = decide(site)
    assert decision.action is action and decision.basis == "model"


@pytest.mark.parametrize("chain", [*EXPENSIVE, ("nn.relu",)], ids=str)
def test_beside_a_long_convolution_no_activation_counts(chain):
    decision = decide(wide(chain))
    assert decision.action is KEEP and decision.basis == "model"
    assert "exchange would give 1.00x" in decision.note


def test_behind_the_pool_of_a_whole_plane_stands_another_kernel():
    model = find_gpu_model("sm_90")
    site = whole_plane(("nn.relu",))
    assert model.estimate(site, EXCHANGE) > model.estimate(site, KEEP)
    assert decide(site).action is KEEP


def test_without_a_convolution_to_weigh_evaluations_decide():
    decision = decide(workload(chain=("tanh",), convolution=None))
    assert decision.action is EXCHANGE and decision.basis == "evaluations"
