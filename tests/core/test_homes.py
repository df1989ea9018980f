"""What the cost models make of the kernel that holds the steps, whatever the rates are."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core.cpu_model import CpuModel
from tvm_reorder.core.decision import Action, choose
from tvm_reorder.core.gpu_model import find_gpu_model
from tvm_reorder.core.window import AdaptiveAxis, PoolWindow, WindowAxis
from tvm_reorder.core.workload import Home, SiteWorkload

KEEP, EXCHANGE, FUSE = Action
POSSIBLE = {KEEP, EXCHANGE}
PRODUCER, ANOTHER_POOL, COPY, ALONE, THIS_POOL = Home
CHEAP, DEAR = ("nn.relu",), ("sigmoid",)
TWO_THREADS, GPU = CpuModel(threads=2), find_gpu_model("sm_90")


def site(home: Home, chain=DEAR, planes=64, size=56, kernel=2, **fields) -> SiteWorkload:
    """A pool without overlap; nothing is known of what stands above the steps."""
    axis = WindowAxis(size, size // kernel, kernel, kernel)
    window = PoolWindow((axis, axis))
    return SiteWorkload(window, planes, chain, None, "float32", "x", home=home, **fields)


def whole_plane(home: Home, chain=DEAR) -> SiteWorkload:
    axis = AdaptiveAxis(56, 1)
    plain = site(home, chain, is_reduction=True)
    return replace(plain, window=PoolWindow((axis, axis)))


models = st.builds(CpuModel, threads=st.integers(1, 64), lanes=st.sampled_from([4, 8, 16]))
any_site = st.builds(
    site,
    st.sampled_from(Home),
    st.sampled_from([CHEAP, DEAR, ("add", "tanh")]),
    st.integers(1, 100),
    st.integers(6, 60),
    st.integers(2, 6),
    ends=st.sampled_from(["one", "signed", "both"]),
)


def decide(workload: SiteWorkload, model=TWO_THREADS) -> Action:
    return choose(workload, POSSIBLE, "auto", None, model).action


@given(models, any_site, st.integers(1, 9))
def test_more_threads_are_never_slower(model, workload, more):
    larger = replace(model, threads=model.threads + more)
    for action in POSSIBLE:
        assert 0 < larger.estimate(workload, action) <= model.estimate(workload, action)


@given(models, any_site)
def test_a_gain_is_there_whether_evaluations_hide_behind_bytes_or_not(model, workload):
    """In a kernel that copies, stock may take as long as the longer of the two alone."""

    def gain(home: Home) -> float:
        there = replace(workload, home=home)
        return model.estimate(there, KEEP) - model.estimate(there, EXCHANGE)

    assert gain(COPY) <= gain(PRODUCER) or gain(COPY) == pytest.approx(gain(PRODUCER))


@pytest.mark.parametrize("home", Home)
def test_an_expensive_activation_is_exchanged_wherever_it_is_computed(home):
    assert decide(site(home)) is EXCHANGE


@pytest.mark.parametrize("home", [PRODUCER, COPY, THIS_POOL])
@pytest.mark.parametrize("model", [TWO_THREADS, None])
def test_a_cheap_one_stays_where_it_costs_nothing(home, model):
    assert decide(site(home, CHEAP), model) is KEEP


def test_a_kernel_of_its_own_is_worth_most():
    """Its bytes go too; they pay for the loop behind the pool where a window has many values."""
    assert decide(site(ALONE, CHEAP, kernel=2)) is KEEP  # at its slowest that loop takes longer
    assert decide(site(ALONE, CHEAP, kernel=7)) is EXCHANGE
    assert decide(site(COPY, CHEAP, kernel=7)) is KEEP


def test_behind_another_pool_even_relu_moves():
    """The loop behind that pool becomes one behind this pool, over fewer values."""
    assert decide(site(ANOTHER_POOL, CHEAP)) is EXCHANGE


def test_behind_a_reduction_the_steps_are_a_kernel_more():
    cheap = whole_plane(THIS_POOL, CHEAP)
    assert decide(cheap) is KEEP and decide(whole_plane(THIS_POOL)) is EXCHANGE
    launch = TWO_THREADS.launch_ms
    free = replace(cheap, chain=())
    assert TWO_THREADS.estimate(free, EXCHANGE) >= TWO_THREADS.estimate(free, KEEP) + launch
    assert decide(whole_plane(PRODUCER), None) is KEEP  # of another target nobody knows what pays


@pytest.mark.parametrize("planes, threads, share", [(16, 8, 1), (32, 8, 2), (64, 3, 2), (64, 4, 4)])
def test_few_channels_leave_threads_idle_behind_the_pool(planes, threads, share):
    """The loop behind a pool is parallel over blocks of channels alone."""
    model = CpuModel(threads=threads)
    free, dear = (
        model.estimate(site(PRODUCER, chain, planes), EXCHANGE) for chain in (CHEAP, DEAR)
    )
    evaluations = site(PRODUCER, DEAR, planes).pooled * 2.29e-6
    assert dear - free == pytest.approx(evaluations / share)


def test_a_wider_value_below_the_steps_is_read_as_such():
    """Before a cast the pool reads float64, twice the bytes."""
    narrow, wide = site(ALONE), site(ALONE, base_dtype="float64")
    extra = narrow.elements * 4 / (TWO_THREADS.pool_rate * 2) * 1e-6
    estimates = [TWO_THREADS.estimate(each, EXCHANGE) for each in (narrow, wide)]
    assert estimates[1] - estimates[0] == pytest.approx(extra)


def test_on_a_gpu_a_pass_over_memory_hides_its_steps_and_one_that_goes_pays():
    assert decide(site(COPY, size=448), GPU) is KEEP
    assert decide(site(ALONE, CHEAP, size=448), GPU) is EXCHANGE
    assert [GPU.estimate(site(home), KEEP) for home in (PRODUCER, ANOTHER_POOL)] == [None] * 2
