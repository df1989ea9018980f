"""Networks that relay.transform.ToMixedPrecision has made: equal to stock, or refused in words."""

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status

from .networks import (
    TARGET,
    assert_same_results,
    channels_first,
    constant,
    conv2d,
    image,
    max_pool,
    module,
    only_site,
)

RNG = np.random.default_rng(13)


def mixed(activation, dtype):
    """conv -> bias -> activation -> pool in mixed precision, its result as float32."""
    data = relay.nn.bias_add(conv2d(image()), constant([1, -2, 3, 0.5]))
    mod = module(max_pool(activation(data)))
    mod = relay.transform.InferType()(relay.transform.ToMixedPrecision(dtype)(mod))
    result = mod["main"].body
    if str(result.checked_type.dtype) != "float32":  # numpy has no bfloat16 to compare
        result = result.astype("float32")
    return module(result)


def pictures():
    # Sums overflow in float16, to one infinity each: two would make a NaN.
    extremes = RNG.choice([0, 1e-8, -1e-8, 6e3, -6e3], (1, 3, 8, 8))
    return [RNG.normal(size=(1, 3, 8, 8)).astype("float32") * 3, extremes.astype("float32")]


MOVES = {
    "float16": {
        "relu": (relay.nn.relu, ("add", "nn.relu")),
        "sigmoid": (relay.sigmoid, ("add", "sigmoid")),
        # exp is on the list of what stays in float32: a cast comes before it.
        "exp": (relay.exp, ("add", "cast to float32", "exp")),
        "leaky_relu": (lambda x: relay.nn.leaky_relu(x, 0.1), ("add", "nn.leaky_relu")),
    },
    # The bias stays, and so does the cast before exp.
    "bfloat16": {"relu": (relay.nn.relu, ("nn.relu",)), "exp": (relay.exp, ("exp",))},
}


@pytest.mark.parametrize(
    "dtype, name", [(dtype, name) for dtype, names in MOVES.items() for name in names]
)
def test_results_are_equal(dtype, name):
    activation, chain = MOVES[dtype][name]
    picture, _ = pictures()
    (site,) = assert_same_results(mixed(activation, dtype), {"x": picture}).sites
    assert site.status is Status.EXCHANGED, site.explanation
    assert site.chain == chain


@pytest.mark.parametrize("dtype", MOVES)
def test_extremes(dtype):
    _, extremes = pictures()
    with np.errstate(all="ignore"):
        (site,) = assert_same_results(mixed(relay.nn.relu, dtype), {"x": extremes}).sites
    assert site.status is Status.EXCHANGED


def test_a_bfloat16_kernel_rounds_only_where_it_ends():
    picture, _ = pictures()
    (site,) = assert_same_results(mixed(relay.sigmoid, "bfloat16"), {"x": picture}).sites
    assert site.status is Status.REFUSED and site.refusal.reason is Reason.UNPROVEN


COMPOSITES = {
    "square": lambda x: x * x,
    "abs": lambda x: relay.maximum(x, relay.negative(x)),
    "sum": lambda x: x + relay.nn.relu(x),
    "shrink": lambda x: relay.where(relay.greater(x, relay.ones_like(x)), x, relay.zeros_like(x)),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_nor_is_a_composite_rounded_where_it_stands(name):
    """In the pool's kernel the sigmoid would read what no kernel has rounded."""
    x = relay.nn.relu(image().astype("bfloat16"))
    pooled = relay.sigmoid(max_pool(COMPOSITES[name](x)))
    picture, _ = pictures()
    (site,) = assert_same_results(module(pooled.astype("float32")), {"x": picture}).sites
    assert site.status is Status.REFUSED


STEPS = {
    "relu": relay.nn.relu,
    "cast": lambda x: x.astype("float32"),
    "exp": relay.exp,
    "square": lambda x: x * x,
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_stays_where_tvm_takes_bits_for_numbers(name):
    """Stock TVM makes 16256 of a 1: in a kernel of its own the step would make 1 of it."""
    x = image().astype("bfloat16")
    joined = relay.concatenate([max_pool(x), max_pool(relay.negative(x))], axis=1)
    mod = module(max_pool(STEPS[name](joined)).astype("float32"))
    picture, _ = pictures()
    report = assert_same_results(mod, {"x": picture}, licence="ulp:any", decision="exchange")
    refusal = report.sites[-1].refusal
    assert refusal.reason is Reason.NOT_COMPILED and "concatenate of bfloat16" in str(refusal)


def test_a_step_behind_what_moves_a_concatenation_is_read_rightly():
    x = image().astype("bfloat16")
    joined = relay.concatenate([max_pool(x), max_pool(relay.negative(x))], axis=1)
    turned = relay.transpose(joined, (0, 1, 3, 2))
    mod = module(max_pool(relay.nn.relu(turned)).astype("float32"))
    report = assert_same_results(mod, {"x": pictures()[0]}, decision="exchange")
    assert report.sites[-1].status is Status.EXCHANGED


NARROW = relay.tanh(image(dtype="bfloat16", channels=4)).astype("float32")
LOWEST = constant(np.finfo("float32").min)
WRITES_A_CONSTANT = {
    "a clamp": max_pool(relay.clip(conv2d(image()), -1, 1).astype("bfloat16")),
    "signs": max_pool(NARROW * channels_first([1, -1, 1, -1])),
    "a padding": max_pool(relay.nn.pad(NARROW, [(0, 0), (0, 0), (1, 1), (1, 1)], LOWEST)),
}


AOT = {"executor": relay.backend.Executor("aot", {"interface-api": "packed"})}
LINKED = {"executor": relay.backend.Executor("graph", {"link-params": True})}
BUILDS = {"aot": (AOT, {}), "linked": (LINKED, {}), "fused": ({}, {"relay.FuseOps.link_params": 1})}


@pytest.mark.parametrize("name", WRITES_A_CONSTANT)
def test_no_bfloat16_constant_is_written_where_tvm_compiles_none(name):
    mod = module(WRITES_A_CONSTANT[name].astype("float32"))
    options = {"licence": "ulp:any", "decision": "exchange"}

    def build_site(arguments, config):
        context = tvm.transform.PassContext(opt_level=3, config=config)
        with context, tvm_reorder.enabled(**options) as report:
            relay.build(mod, TARGET, runtime=relay.backend.Runtime("cpp"), **arguments)
        return report.sites[0]

    for build in BUILDS.values():
        assert build_site(*build).refusal.reason is Reason.NOT_COMPILED
    assert only_site(mod, **options).refusal.reason is Reason.NOT_COMPILED  # for a later AOT build
    site = build_site({}, {})
    assert site.status is Status.EXCHANGED, site.explanation


def test_a_pool_reads_wider_values_behind_a_cast():
    """The exchange moves it to float16: half the bytes, so nothing speaks of more."""
    picture, _ = pictures()
    (site,) = assert_same_results(
        mixed(relay.exp, "float16"), {"x": picture}, decision="auto"
    ).sites
    assert site.workload.widening == 0.5 and site.decision.basis != "bytes"
