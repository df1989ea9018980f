"""The cost model: what must hold whatever its rates are."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core.cost import evaluation_ns
from tvm_reorder.core.cpu_model import (
    CpuModel,
    default_blocks,
    default_geometry,
    find_error_shares,
)
from tvm_reorder.core.decision import Action, choose
from tvm_reorder.core.tiles import Tile, make_tiles
from tvm_reorder.core.workload import Convolution, SiteWorkload

from .test_tiles import LANES, cuts, geometries, plain_geometry
from .workloads import CONVOLUTION, workload

KEEP, EXCHANGE, FUSE = Action
FREE = [(), ("nn.relu",), ("add", "clip"), ("nn.bias_add", "nn.leaky_relu")]
EXPENSIVE = [("sigmoid",), ("nn.bias_add", "tanh"), ("composite of exp, subtract",)]
TWO_THREADS = CpuModel(threads=2)

models = st.builds(CpuModel, threads=st.integers(1, 64), lanes=st.sampled_from(LANES))
actions = st.sampled_from(list(Action))


@st.composite
def sites(draw, chains=tuple(FREE + EXPENSIVE)) -> SiteWorkload:
    """A site with a convolution of any geometry."""
    geometry = draw(geometries(largest=20))
    conv = geometry.convolution
    planes = conv.batch * conv.channels
    return SiteWorkload(geometry.window, planes, draw(st.sampled_from(chains)), conv)


@given(models, sites(), actions)
def test_an_estimate_is_positive_and_finite(model, site, action):
    assert 0 < model.estimate(site, action) < inf


@given(models, sites(), st.sampled_from([KEEP, EXCHANGE]))
def test_a_site_without_its_convolution_has_an_estimate(model, site, action):
    """Where the chain does not begin at the convolution; what is left costs less."""
    cut = replace(site, convolution=None)
    assert 0 < model.estimate(cut, action) < model.estimate(site, action)


@given(models, sites(), actions)
def test_the_error_counts_kernels_and_saved_steps(model, site, action):
    shares, bare = find_error_shares(model.lanes), replace(site, chain=())
    assert model.error(bare, action) == pytest.approx(shares.kernels * model.estimate(bare, KEEP))
    kept, left = model.steps(site, KEEP), model.steps(site, action)
    kernels = model.estimate(site, KEEP) - kept
    expected = shares.kernels * kernels + shares.steps * max(0.0, kept - left)
    assert model.error(site, action) == pytest.approx(expected)


@given(models, sites(), actions, st.integers(1, 9))
def test_more_threads_are_never_slower(model, site, action, more):
    larger = replace(model, threads=model.threads + more)
    assert larger.estimate(site, action) <= model.estimate(site, action)


@given(models, cuts(largest=20))
def test_a_tile_is_never_slower_on_more_threads(model, cut):
    geometry, tile, lanes = cut
    model = replace(model, lanes=lanes)
    larger = replace(model, threads=2 * model.threads)
    assert 0 < larger.fused(geometry, tile) <= model.fused(geometry, tile)


@given(models, sites(chains=FREE))
def test_the_exchange_never_pays_for_a_free_activation(model, site):
    assert evaluation_ns(site.chain) == 0
    assert model.estimate(site, EXCHANGE) >= model.estimate(site, KEEP)


@pytest.mark.parametrize("chain", EXPENSIVE, ids=str)
def test_the_exchange_pays_for_an_expensive_activation(chain):
    site = workload(chain=chain)
    assert TWO_THREADS.estimate(site, EXCHANGE) < TWO_THREADS.estimate(site, KEEP)


@pytest.mark.parametrize("chain", EXPENSIVE, ids=str)
def test_the_model_fuses_an_expensive_activation(chain):
    decision = choose(workload(chain=chain), set(Action), "auto", None, TWO_THREADS)
    assert decision.action is FUSE and decision.basis == "model"


@pytest.mark.parametrize("chain", EXPENSIVE, ids=str)
def test_where_fusing_is_not_possible_an_expensive_activation_is_exchanged(chain):
    decision = choose(workload(chain=chain), {KEEP, EXCHANGE}, "auto", None, TWO_THREADS)
    assert decision.action is EXCHANGE


@pytest.mark.parametrize("action", Action, ids=str)
def test_an_expensive_activation_costs_its_evaluations(action):
    """On every value if it is kept, else on every pooled one, shared by the threads."""
    free, dear = (TWO_THREADS.estimate(workload(chain=c), action) for c in ((), ("tanh",)))
    count = workload().elements if action is KEEP else workload().pooled
    assert dear - free == pytest.approx(count * evaluation_ns(["tanh"]) / 2 * 1e-6)


@pytest.mark.parametrize("threads, waves", [(1, 7), (2, 4), (3, 3), (4, 2), (7, 1), (8, 1)])
def test_tasks_are_done_in_whole_waves(threads, waves):
    """Seven equal tasks take two threads as long as eight."""
    tile = Tile(in_registers=True, rows=4, tile_rows=1, tile_cols=4, chunks=1)
    model = CpuModel(threads=threads)
    one, seven, rounded = (
        model.fused(plain_geometry(8, batch=batch), tile) for batch in (threads, 7, waves * threads)
    )
    assert seven == rounded
    assert seven - model.launch_ms == pytest.approx(waves * (one - model.launch_ms))


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "bfloat16"])
@pytest.mark.parametrize("action", Action, ids=str)
def test_it_says_nothing_of_other_dtypes(dtype, action):
    site = workload(convolution=replace(CONVOLUTION, dtype=dtype))
    assert TWO_THREADS.estimate(replace(site, dtype=dtype), action) is None


@pytest.mark.parametrize("action", Action, ids=str)
def test_a_measured_kernel_takes_the_place_of_the_models(action):
    site = workload()
    slow, fast = (TWO_THREADS.estimate(site, action, kernel_ms=ms) for ms in (8.0, 3.0))
    assert slow - fast == pytest.approx(5.0)
    least = 3.0 + evaluation_ns(site.chain) * site.pooled / 2 * 1e-6
    assert fast >= least or fast == pytest.approx(least)


@given(geometries(largest=20), models)
def test_tiles_are_ranked_by_their_expected_time(geometry, model):
    ranked = model.ranked_tiles(geometry)
    times = [model.fused(geometry, tile) for tile in ranked]
    assert times == sorted(times)
    assert set(ranked) >= set(make_tiles(geometry, model.lanes))


@given(models, sites())
def test_the_best_tile_is_the_one_that_is_expected(model, site):
    geometry = default_geometry(site, model.lanes)
    free = replace(site, chain=())
    assert model.estimate(free, FUSE) == min(
        model.fused(geometry, tile) for tile in make_tiles(geometry, model.lanes)
    )


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(LANES))
def test_default_blocks_divide_the_channels(channels, filters, lanes):
    conv = Convolution(1, channels, 8, 8, filters, (3, 3))
    out_block, in_block = default_blocks(conv, lanes)
    assert filters % out_block == 0 and channels % in_block == 0
    assert 1 <= in_block <= out_block <= lanes


def test_a_wider_vector_unit_is_faster():
    times = [CpuModel(2, lanes).estimate(workload(chain=()), FUSE) for lanes in LANES]
    assert times == sorted(times, reverse=True) and len(set(times)) == 3
