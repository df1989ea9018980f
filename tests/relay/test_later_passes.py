"""What TVM's later passes, its simplifier and LLVM see of a moved step and what follows the pool.

All pairs of a step that moves and an operator behind the pool, inside a build and outside.
"""

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder import Status
from tvm_reorder.cli.measure import count_kernels

from ..targets import WIDEST
from .networks import build, constant, execute, max_pool, module

CHANNELS = 4
SHAPE = (1, CHANNELS, 6, 6)
SCALES, SHIFTS = [0.7, 1.3, 2.1, 0.9], [0.3, -1.7, 2.9, 11.1]


TARGETS = ["llvm", WIDEST]  # without and with a fused multiply-add


def number(value, like):
    return constant(value, dtype_of(like))


def dtype_of(value):
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(value))
    return mod["main"].ret_type.dtype


def per_channel(values, like):
    values = np.asarray(values)
    whole = dtype_of(like).startswith(("int", "uint"))
    return constant(np.reshape(np.rint(values) if whole else values, (-1, 1, 1)), dtype_of(like))


def clip_to(x, bound):
    return relay.clip(x, 0 if dtype_of(x) == "uint8" else -bound, bound)


def narrow(dtype, low, high):
    return lambda x: relay.clip(x, low, high).astype(dtype)


# Steps on float32 between -300 and 300, the last one next to the pool.
MOVED = {
    "cast to float16": lambda x: x.astype("float16"),
    "clip, cast to float16": narrow("float16", 0.3, 80.7),
    "clip, cast to int8": narrow("int8", -100.5, 100.5),
    "clip, cast to uint8": narrow("uint8", 0.0, 200.7),
    "clip, cast to int32": narrow("int32", -250.3, 250.3),
    "clip, cast to float64": narrow("float64", -250.3, 250.3),
    "int32, cast to float32": lambda x: narrow("int32", -2e9, 2e9)(x * number(6e6, x)).astype(
        "float32"
    ),
    "int8, cast to uint8": lambda x: relay.nn.relu(narrow("int8", -100, 100)(x)).astype("uint8"),
    "clip": lambda x: relay.clip(x, -120.3, 120.3),
    "clip to a dtype's range": lambda x: relay.clip(x, -128, 127),
    "add a number": lambda x: x + number(0.3, x),
    "add per channel": lambda x: x + per_channel(SHIFTS, x),
    "multiply by a number": lambda x: x * number(1.7, x),
    "multiply per channel": lambda x: x * per_channel(SCALES, x),
    "multiply by -1": lambda x: relay.nn.relu(relay.tanh(x)) * number(-1.0, x),
    "divide by a number": lambda x: x / number(3.3, x),
    "square": lambda x: relay.power(relay.nn.relu(x), number(2, x)),
    "sqrt": lambda x: relay.sqrt(relay.nn.relu(x)),
    "maximum": lambda x: relay.maximum(x, per_channel(SHIFTS, x)),
    "negative": lambda x: relay.negative(relay.nn.relu(relay.tanh(x))),
    "relu": relay.nn.relu,
    "reshape": lambda x: relay.reshape(relay.tanh(x), (1, 2, 12, 6)),
    "transpose": lambda x: relay.transpose(relay.tanh(x), (0, 1, 3, 2)),
}
BEHIND = {
    "cast to float32": lambda x: x.astype("float32"),
    "cast to float16": lambda x: x.astype("float16") if dtype_of(x) != "float64" else x,
    "cast to int32": lambda x: x.astype("int32"),
    "cast to int8 and back": lambda x: clip_to(x, 99).astype("int8").astype("float32"),
    "clip": lambda x: clip_to(x, 90),
    "add a number": lambda x: x + number(0.3, x),
    "add per channel": lambda x: x + relay.reshape(per_channel(SHIFTS, x), (-1, 1, 1)),
    "subtract what was added": lambda x: x - number(0.3, x),
    "subtract from": lambda x: number(0.3, x) - x,
    "multiply by a number": lambda x: x * number(1.7, x),
    "multiply per channel": lambda x: x * per_channel(SCALES, x),
    "divide by a number": lambda x: x / number(3.3, x) if dtype_of(x).startswith("float") else x,
    "divide": lambda x: number(5, x) / x if dtype_of(x).startswith("float") else x,
    "square": lambda x: x * x,
    "sqrt": lambda x: relay.sqrt(relay.nn.relu(x).astype("float32")),
    "maximum": lambda x: relay.maximum(x, number(7, x)),
    "reshape": lambda x: relay.reshape(x, (1, -1)),
    "transpose": lambda x: relay.transpose(x, (0, 2, 3, 1)),
    "mean": lambda x: relay.mean(x.astype("float32"), axis=[2, 3]),
}


def all_pairs(step):
    """One module: the step before and each operator behind a pool of its own."""
    outputs = []
    for number_of, behind in enumerate(BEHIND.values()):
        x = relay.var(f"x{number_of}", shape=SHAPE)
        value = max_pool(step(x))
        if value_channels(value) != CHANNELS and behind in PER_CHANNEL:
            continue
        outputs.append(behind(value))
    return module(relay.Tuple(outputs))


PER_CHANNEL = [BEHIND["add per channel"], BEHIND["multiply per channel"]]


def value_channels(value):
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(value))
    return int(mod["main"].ret_type.shape[1])


def draw(mod):
    rng = np.random.default_rng(4)
    names = [variable.name_hint for variable in mod["main"].params]
    return {name: rng.uniform(-300, 300, SHAPE).astype("float32") for name in names}


OPTIONS = {"decision": "exchange", "licence": "ulp:any"}


def assert_equal(stock, ours, inputs, report, more_kernels=0):
    """Results are the same; there are no more kernels, but where a second pool is needed."""
    for k, (before, after) in enumerate(zip(execute(stock, inputs), execute(ours, inputs))):
        assert before.dtype == after.dtype
        same = np.array_equal(before, after, equal_nan=before.dtype.kind == "f")
        assert same, f"{list(BEHIND)[k]}: {report}"
    if not any(site.ends.is_both for site in report.sites):
        counts = (count_kernels(each.get_graph_json()) for each in (ours, stock))
        assert next(counts) <= next(counts) + more_kernels


QUICK = [
    *("clip, cast to float16", "clip, cast to int8", "int32, cast to float32"),
    *("add a number", "multiply per channel"),
]
ALL = [
    pytest.param(name, target, marks=() if name in QUICK and target != "llvm" else pytest.mark.full)
    for name in MOVED
    for target in TARGETS
]


@pytest.mark.parametrize("name, target", ALL)
def test_nothing_is_merged_inside_a_build(name, target):
    mod = all_pairs(MOVED[name])
    stock = build(mod, target=target)
    with tvm_reorder.enabled(**OPTIONS) as report:
        ours = build(mod, target=target)
    assert not report.errors
    moved = [site for site in report.sites if site.status is Status.EXCHANGED]
    assert len(moved) >= 5, report
    assert_equal(stock, ours, draw(mod), report)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.full) for n in MOVED])
def test_nothing_is_merged_outside_a_build(name):
    mod, target = all_pairs(MOVED[name]), TARGETS[-1]
    stock = build(mod, target=target)
    reordered, report = tvm_reorder.reorder(mod, target=target, **OPTIONS)
    assert_equal(stock, build(reordered, target=target), draw(mod), report)


def build_with(context, mod, target):
    with tvm.transform.PassContext(opt_level=3, **context):
        return relay.build(mod, target)


def merged_through(move, step, behind):
    """Both steps move, what stood between them stays above the pool."""
    x = relay.var("x", shape=SHAPE)
    return module(max_pool(behind(move(step(x)))))


BETWEEN = {
    "reverse": lambda x: relay.reverse(x, axis=2),
    "take": lambda x: relay.take(x, relay.const(np.arange(5)), axis=3),
    "slice": lambda x: relay.strided_slice(x, [0, 0, 1, 0], [1, CHANNELS, 6, 6]),
    "transpose": lambda x: relay.transpose(x, (0, 1, 3, 2)),
}
NARROW = [name for name in MOVED if "cast" in name or "clip" in name]


@pytest.mark.parametrize("move", BETWEEN)
@pytest.mark.parametrize("name", NARROW)
def test_a_move_in_front_of_the_pool_hides_no_step(name, move):
    """The step is next to what follows the pool, although the move was next to the pool."""
    step = lambda x: BETWEEN[move](MOVED[name](x))
    outputs = [relay.var(f"x{k}", shape=SHAPE) for k in range(2)]
    casts = (BEHIND["cast to float32"], BEHIND["cast to int8 and back"])
    pooled = [behind(max_pool(step(x))) for behind, x in zip(casts, outputs)]
    mod = module(relay.Tuple(pooled))
    stock = build(mod, target=TARGETS[-1])
    with tvm_reorder.enabled(**OPTIONS) as report:
        ours = build(mod, target=TARGETS[-1])
    assert not report.errors and report.exchanged, report
    assert_equal(stock, ours, draw(mod), report)


STEPS = [
    *("clip, cast to int8", "clip, cast to int32", "add a number", "multiply by a number"),
    *("multiply per channel", "divide by a number"),
]
SECOND = {
    "a cast": lambda x: x.astype("float32"),
    "a sum": BEHIND["add a number"],
    "a scale": BEHIND["multiply by a number"],
}


@pytest.mark.parametrize(
    "way", ["inside", "outside", pytest.param("apart", marks=pytest.mark.full)]
)
@pytest.mark.parametrize("behind", SECOND)
@pytest.mark.parametrize("name", STEPS)
def test_a_move_between_two_steps_keeps_them_apart_where_it_has_gone(name, behind, way):
    mod, target = merged_through(BETWEEN["reverse"], MOVED[name], SECOND[behind]), "llvm"
    context = {"config": {"relay.FuseOps.max_depth": 1} if way == "apart" else {}}
    stock = build_with(context, mod, target)
    if way == "outside":
        reordered, report = tvm_reorder.reorder(mod, target=target, **OPTIONS)
        ours = build_with(context, reordered, target)
    else:
        with tvm_reorder.enabled(**OPTIONS) as report:
            ours = build_with(context, mod, target)
    assert not report.errors and report.exchanged, report
    # Apart, the clamp behind a scale is a kernel of its own.
    assert_equal(stock, ours, draw(mod), report, more_kernels=int(way == "apart"))


def test_a_sum_that_is_dropped_separates_nothing():
    """What `SimplifyExprPostAlterOp` takes away between a moved cast and the next one."""
    x = relay.var("x", shape=SHAPE)
    whole = max_pool(MOVED["clip, cast to int32"](x))
    mod = module((whole + relay.const(0, "int32")).astype("float32"))
    context = {"disabled_pass": ["SimplifyExpr"]}
    stock = build_with(context, mod, "llvm")
    with tvm_reorder.enabled(**OPTIONS) as report:
        ours = build_with(context, mod, "llvm")
    assert report.exchanged, report
    assert_equal(stock, ours, draw(mod), report)


IDENTITIES = {"add": 0, "subtract": 0, "multiply": 1, "divide": 1}
EXTENTS = [
    (),
    (1, 1, 1, 1),
    (CHANNELS, 1, 1),
    SHAPE,
    (1, 1, *SHAPE[2:]),
]  # the last: to one element


def with_identity(name, shape, like):
    """x + 0, x - 0, x * 1 or x / 1; SimplifyExpr drops it if the constant has one element."""
    made = constant(np.full(shape, IDENTITIES[name]), dtype_of(like))
    return getattr(relay, name)(like, made)


@pytest.mark.parametrize("disabled", [[], ["SimplifyExpr"]])
@pytest.mark.parametrize("name", IDENTITIES)
def test_what_is_dropped_once_its_constant_is_one_number_joins_nothing(name, disabled):
    """Casts behind a clip meet where it has gone, and so do a product and a sum."""
    outputs = []
    for shape in EXTENTS:
        for place in ("between two casts", "between the pool's casts", "between product and sum"):
            x = relay.var(f"x{len(outputs)}", shape=SHAPE)
            if place == "between product and sum":
                scaled = relay.tanh(x) * per_channel(SCALES, x)
                value = max_pool(with_identity(name, shape, scaled) + per_channel(SHIFTS, x))
            else:
                value = with_identity(name, shape, narrow("uint8", 0, 200)(x))
                above = place == "between two casts"
                value = max_pool(value.astype("float32") if above else value).astype("float32")
            outputs.append(value)
    mod, context = module(relay.Tuple(outputs)), {"disabled_pass": disabled}
    stock = build_with(context, mod, WIDEST)
    with tvm_reorder.enabled(**OPTIONS) as report:
        ours = build_with(context, mod, WIDEST)
    assert not report.errors
    for before, after in zip(execute(stock, draw(mod)), execute(ours, draw(mod))):
        np.testing.assert_array_equal(after, before)
    kept = [site for site in report.sites if "dropped behind the pool" in site.explanation]
    assert len(kept) >= 2, report
    assert sum(site.status is Status.EXCHANGED for site in report.sites) >= 4 * 2, report
