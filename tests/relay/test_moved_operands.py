"""Constants above operators that only move values: they are moved along, or refused."""

from math import prod

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.relay.floor_division import mend_floor_division
from tvm_reorder.relay.moves import MOVES, carry, read_moves, undo_one_another

from .networks import (
    TARGET,
    assert_same_results,
    channels_first,
    constant,
    conv2d,
    execute,
    image,
    max_pool,
    module,
    only_site,
)

RNG = np.random.default_rng(17)
INPUTS = {"x": RNG.normal(size=(1, 3, 8, 8)).astype("float32") * 3}
PER_CHANNEL = (1, -2, 3, 0.5)


# --- how values move -------------------------------------------------------------------------

LAYOUTS = [
    ("NCHW", "NHWC", (2, 4, 3, 5)),
    ("NHWC", "NCHW", (2, 3, 5, 4)),
    ("NCHW", "NCHW4c", (2, 8, 3, 5)),
    ("NCHW4c", "NCHW", (2, 2, 3, 5, 4)),
    ("NCHW4c", "NCHW2c", (2, 2, 3, 5, 4)),
    ("NCHW2c", "NHWC8c", (1, 4, 3, 5, 2)),
    ("NHWC", "NHWC2h", (1, 4, 3, 2)),
    ("NCHW", "NCHW4c1n", (3, 8, 2, 2)),
    ("NCW", "NWC", (2, 4, 3)),
    ("NCDHW", "NDHWC", (2, 4, 3, 2, 2)),
]
MOVED = [
    *((lambda x, s=s, d=d: relay.layout_transform(x, s, d), shape) for s, d, shape in LAYOUTS),
    (lambda x: relay.transpose(x, [2, 0, 1]), (2, 3, 4)),
    (lambda x: relay.transpose(x, [-1, 0, -2]), (2, 3, 4)),
    (lambda x: relay.transpose(x), (2, 3, 4)),
    (lambda x: relay.reshape(x, [-1]), (2, 3, 4)),
    (lambda x: relay.reshape(x, [0, -3]), (2, 3, 4)),
    (lambda x: relay.reshape(x, [-4, 2, -1, -2]), (4, 3, 2)),
    (lambda x: relay.squeeze(x), (1, 3, 1, 4)),
    (lambda x: relay.squeeze(x, [-2]), (1, 3, 1, 4)),
    (lambda x: relay.expand_dims(x, -1, 2), (2, 3)),
    (lambda x: relay.expand_dims(x, 1), (2, 3)),
    (lambda x: relay.reverse(x, 1), (2, 3, 4)),
    (lambda x: relay.reverse(x, -1), (2, 3, 4)),
]


@pytest.mark.parametrize("make, shape", MOVED)
def test_values_move_as_tvm_moves_them(make, shape):
    values = np.arange(prod(shape), dtype="float32").reshape(shape)
    x = relay.var("x", shape=shape)
    mod = module(make(x))
    moves, source = read_moves(mod["main"].body)
    assert len(moves) == 1 and isinstance(source, relay.Var)
    with mend_floor_division():
        folded = relay.transform.FoldConstantExpr(
            relay.bind(mod["main"].body, {mod["main"].params[0]: constant(values)}), mod
        )
    np.testing.assert_array_equal(carry(values, moves), folded.data.numpy())


def test_what_is_not_known_is_not_guessed():
    x = relay.var("x", shape=(1, 4, 4, 4))
    mod = module(relay.nn.depth_to_space(x, 2))
    moves, _ = read_moves(mod["main"].body)
    assert len(moves) == 1 and carry(np.zeros((1, 4, 4, 4)), moves) is None
    assert not undo_one_another(moves)
    assert {"nn.depth_to_space", "reshape"} <= MOVES


@pytest.mark.parametrize(
    "make, is_undone",
    [
        (lambda x: relay.transpose(relay.transpose(x, [0, 2, 3, 1]), [0, 3, 1, 2]), True),
        (lambda x: relay.transpose(relay.transpose(x, [0, 2, 3, 1]), [0, 2, 3, 1]), False),
        (lambda x: relay.reshape(relay.reshape(x, [-1]), [2, 4, 3, 3]), True),
        (lambda x: relay.reshape(relay.transpose(x, [0, 1, 3, 2]), [2, 4, 3, 3]), False),
        (lambda x: relay.reverse(relay.reverse(x, 2), 2), True),
        (lambda x: relay.transpose(relay.layout_transform(x, "NCHW", "NHWC"), [0, 3, 1, 2]), True),
    ],
)
def test_moves_that_undo_one_another(make, is_undone):
    moves, _ = read_moves(module(make(relay.var("x", shape=(2, 4, 3, 3))))["main"].body)
    assert len(moves) == 2 and undo_one_another(moves) is is_undone


# --- random networks against NumPy and stock TVM ----------------------------------------------


def draw_step(value, shape, random):
    """A step with a random operand, on whole numbers: every result is exact."""
    kept = random.random(len(shape)) < 0.4
    extents = [extent if is_kept else 1 for extent, is_kept in zip(shape, kept)]
    while len(extents) > 1 and extents[0] == 1 and random.random() < 0.5:
        extents.pop(0)
    c = random.integers(-3, 4, extents).astype("float32")
    axis = int(random.integers(len(shape)))
    line = random.choice([-2, -1, 0, 0.5, 1, 2], shape[axis]).astype("float32")
    wide = line.reshape([-1 if each == axis else 1 for each in range(len(shape))])
    steps = {
        "add": (lambda: value + constant(c), lambda a: a + c),
        "subtract": (lambda: constant(c) - value, lambda a: c - a),
        "multiply": (lambda: value * constant(c), lambda a: a * c),
        "maximum": (lambda: relay.maximum(value, constant(c)), lambda a: np.maximum(a, c)),
        "bias": (lambda: relay.nn.bias_add(value, constant(line), axis), lambda a: a + wide),
        "prelu": (
            lambda: relay.nn.prelu(value, constant(line), axis),
            lambda a: np.where(a > 0, a, a * wide),
        ),
        "relu": (lambda: relay.nn.relu(value), lambda a: np.maximum(a, 0)),
    }
    make, compute = steps[str(random.choice(list(steps)))]
    return make(), compute


def draw_move(value, shape, random):
    """A move that fits the shape; none if the one drawn does not."""
    rank, kind = len(shape), random.choice(["transpose", "reshape", "split", "reverse", "ones"])
    axis = int(random.integers(rank))
    if kind == "transpose":
        order = [int(each) for each in random.permutation(rank)]
        return relay.transpose(value, order), lambda a: a.transpose(order)
    if kind == "reverse":
        return relay.reverse(value, axis), lambda a: np.flip(a, axis)
    if kind == "ones" and rank < 5:
        return relay.expand_dims(value, axis), lambda a: np.expand_dims(a, axis)
    wanted = list(shape)
    if kind == "split" and rank < 5 and shape[axis] % 2 == 0:
        wanted[axis : axis + 1] = [2, shape[axis] // 2]
    elif rank > 3 and axis < rank - 1:
        wanted[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
    return relay.reshape(value, wanted), lambda a: a.reshape(wanted)


def draw_pool(value, shape, random):
    """A max pool of 2 along some axes, in a layout that fits the rank."""
    layouts = {3: ["NCW", "NWC"], 4: ["NCHW", "NHWC"], 5: ["NCDHW", "NDHWC"]}
    layout = str(random.choice(layouts[len(shape)]))
    axes = [axis for axis, letter in enumerate(layout) if letter in "DHW"]
    extents = tuple(min(2, shape[axis]) for axis in axes)

    def compute(a):
        for axis, extent in zip(axes, extents):
            whole = a.shape[axis] // extent
            a = np.take(a, range(whole * extent), axis)
            a = a.reshape(*a.shape[:axis], whole, extent, *a.shape[axis + 1 :]).max(axis + 1)
        return a

    make = getattr(relay.nn, f"max_pool{len(axes)}d")
    return make(value, pool_size=extents, strides=extents, layout=layout), compute


def draw_network(random, name):
    shape = [int(extent) for extent in random.choice([1, 2, 4, 4], int(random.integers(3, 6)))]
    data = random.integers(-4, 5, shape).astype("float32")
    value = relay.var(name, shape=shape)
    result = data
    for _ in range(int(random.integers(2, 5))):
        for draw in (draw_step, draw_move):
            value, compute = draw(value, list(result.shape), random)
            result = compute(result)
    value, compute = draw_pool(value, list(result.shape), random)
    return value, data, compute(result)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.full)])
def test_random_networks(seed):
    random = np.random.default_rng(seed)
    values, data, expected = zip(*(draw_network(random, f"x{k}") for k in range(30)))
    mod = module(relay.Tuple(values))
    inputs = {f"x{k}": each for k, each in enumerate(data)}
    stock = build_without_lets(mod, inputs)
    for result, wanted in zip(stock, expected):
        np.testing.assert_array_equal(result, wanted)
    with tvm_reorder.enabled(decision="exchange") as report:
        for result, wanted in zip(build_without_lets(mod, inputs), expected):
            np.testing.assert_array_equal(result, wanted)
    assert not report.errors and len(report.exchanged) >= 10
    changed, _ = tvm_reorder.reorder(mod, decision="exchange")
    for result, wanted in zip(build_without_lets(changed, inputs), expected):
        np.testing.assert_array_equal(result, wanted)
    _, report = tvm_reorder.reorder(changed, decision="exchange")
    assert not report.exchanged


def build_without_lets(mod, inputs):
    """Built and run without the lets that LLVM's verifier refuses (``floor_division.py``)."""
    disabled = ["tir.CommonSubexprElimTIR"]
    with tvm.transform.PassContext(opt_level=3, disabled_pass=disabled):
        return execute(relay.build(mod, TARGET), inputs)


# --- what models have -------------------------------------------------------------------------


def nhwc(values):
    return constant(np.reshape(values, (1, 1, 1, -1)))


def turned(activation):
    """As exporters write NHWC: transpose, convolution, transpose, bias, activation, pool."""
    last = relay.transpose(conv2d(image()), [0, 2, 3, 1])
    return activation(last + nhwc(PER_CHANNEL))


def elu(x):
    negative = relay.nn.relu(relay.const(1.0) - relay.exp(x))
    return relay.const(-1.0) * negative + relay.nn.relu(x)


@pytest.mark.parametrize("activation", [relay.nn.relu, elu])
def test_a_bias_between_two_transposes(activation):
    body = max_pool(relay.transpose(turned(activation), [0, 3, 1, 2]))
    (site,) = assert_same_results(module(body), INPUTS).sites
    assert site.status is Status.EXCHANGED and site.chain[0] == "add"


def test_transposes_that_undo_one_another_are_gone_and_the_convolution_is_fused():
    mod = module(max_pool(relay.transpose(turned(relay.tanh), [0, 3, 1, 2])))
    (site,) = assert_same_results(mod, INPUTS, decision="fuse").sites
    assert site.status is Status.FUSED and site.chain == ("add", "tanh")
    changed, _ = tvm_reorder.reorder(mod, decision="fuse")
    assert "transpose" not in changed["main"].astext(show_meta_data=False)


def test_signs_go_into_the_filters_past_moves_that_undo_one_another():
    last = relay.transpose(conv2d(image()), [0, 2, 3, 1])
    body = max_pool(relay.transpose(relay.tanh(last * nhwc(PER_CHANNEL)), [0, 3, 1, 2]))
    (site,) = assert_same_results(module(body), INPUTS, decision="fuse").sites
    assert str(site.ends) == "the maximum or the minimum, by channel"
    assert site.workload.ends == "one"


def test_transposes_that_somebody_else_reads_stay():
    moved = relay.transpose(conv2d(image()), [0, 2, 3, 1])
    pooled = max_pool(relay.transpose(relay.tanh(moved + nhwc(PER_CHANNEL)), [0, 3, 1, 2]))
    (site,) = assert_same_results(module(relay.Tuple([pooled, moved])), INPUTS).sites
    assert site.status is Status.EXCHANGED


def test_several_moves_with_steps_between_them():
    value = conv2d(image(), channels=8) + channels_first(np.arange(8) - 3)
    value = relay.layout_transform(value, "NCHW", "NCHW4c")
    value = value * constant(RNG.uniform(0.5, 2, (1, 2, 1, 1, 4)))
    value = relay.layout_transform(value, "NCHW4c", "NHWC")
    value = relay.nn.bias_add(value, constant(np.arange(8.0)), axis=3)
    value = relay.reshape(value, [1, 64, 8])
    value = relay.nn.prelu(value, constant(np.linspace(-1, 1, 8)), axis=2)
    pooled = relay.nn.max_pool1d(value, pool_size=4, strides=4, layout="NWC")
    (site,) = assert_same_results(module(pooled), INPUTS).sites
    assert site.chain == ("add", "multiply", "add", "nn.prelu")
    # How a kernel with moves in it rounds is not known; without a fused multiply-add none matters.
    assert only_site(module(pooled)).refusal.reason is Reason.CONTRACTION
    assert only_site(module(pooled), target="llvm").ends.is_both


def test_a_converted_model():
    """ConvertLayout puts a layout_transform around what does not follow the layout."""
    slopes = constant([0.1, 0.2, -0.3, 0.4])
    body = relay.nn.prelu(conv2d(image()) + channels_first(PER_CHANNEL), slopes)
    layouts = {"nn.conv2d": ["NHWC", "default"], "nn.max_pool2d": ["NHWC", "default"]}
    mod = relay.transform.ConvertLayout(layouts)(module(max_pool(body)))
    mod = relay.transform.InferType()(mod)
    assert "layout_transform" in mod["main"].astext(show_meta_data=False)
    (site,) = assert_same_results(mod, INPUTS).sites
    assert site.status is Status.EXCHANGED and site.chain == ("add", "nn.prelu")


def test_slopes_along_two_axes_of_what_the_pool_reads():
    """Behind it they are written as the ONNX importer writes slopes of every size."""
    bent = relay.nn.prelu(conv2d(image()), constant([0.1, 0.2, 0.3, 0.4]))
    mod = module(max_pool(max_pool(relay.reshape(bent, [2, 2, 8, 8]))))
    sites = assert_same_results(mod, INPUTS).sites
    assert [site.status for site in sites] == [Status.EXCHANGED] * 2


def test_rounding_by_sign():
    data = conv2d(image(dtype="int8"), dtype="int8", out_dtype="int32")
    zero = constant(np.zeros((1, 4, 1, 1)), "int32")
    up, down = (constant(np.reshape(v, (1, 4, 1, 1)), "int32") for v in ([4, 3, 2, 9], [1] * 4))
    shape = (1, 4, 8, 8)
    wide = [relay.broadcast_to(each, shape) for each in (zero, up, down)]
    rounded = data + relay.where(relay.greater_equal(data, wide[0]), *wide[1:])
    moved = relay.layout_transform(relay.right_shift(rounded, constant(3, "int32")), "NCHW", "NHWC")
    inputs = {"x": RNG.integers(-128, 128, (1, 3, 8, 8)).astype("int8")}
    (site,) = assert_same_results(module(max_pool(moved, layout="NHWC")), inputs).sites
    assert site.status is Status.EXCHANGED
    assert site.chain[-2:] == ("rounding by sign", "right_shift")


# --- what is refused, and for what reason -------------------------------------------------------


def above_a_move(step):
    moved = relay.layout_transform(step(conv2d(image())), "NCHW", "NHWC")
    return module(max_pool(moved, layout="NHWC"))


UNKNOWN = {
    "a parameter": lambda x: x + relay.var("b", shape=(4, 1, 1)),
    "a bias": lambda x: relay.nn.bias_add(x, relay.var("b", shape=(4,))),
    "what is computed": lambda x: x * relay.nn.global_avg_pool2d(x),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_nobody_can_move_what_is_not_known(case):
    site = only_site(above_a_move(UNKNOWN[case]))
    assert site.refusal.reason is Reason.UNKNOWN_SIGN
    assert "above layout_transform is " in site.explanation
    assert "must be a constant" in site.explanation


VARYING = {
    "along a window axis": lambda x: x + constant(np.arange(8).reshape(1, 1, 8, 1)),
    "a residual": lambda x: x + conv2d(image(), seed=1),
    "a line along the wrong axis": lambda x: relay.nn.bias_add(x, constant(np.arange(8)), axis=2),
}


@pytest.mark.parametrize("case", VARYING)
def test_what_varies_inside_the_window_is_refused(case):
    assert only_site(above_a_move(VARYING[case])).refusal.reason is Reason.VARIES_IN_WINDOW


def test_channels_that_a_reshape_makes_part_of_a_window():
    biased = conv2d(image()) + channels_first(PER_CHANNEL)
    site = only_site(module(max_pool(relay.reshape(biased, [1, 1, 8, 32]), size=8, stride=8)))
    assert site.refusal.reason is Reason.VARIES_IN_WINDOW
    whole = module(max_pool(relay.reshape(biased, [1, 1, 32, 8])))  # of 8 rows a channel
    (site,) = assert_same_results(whole, INPUTS).sites
    assert site.refusal.reason is Reason.VARIES_IN_WINDOW  # ours looks at the axis as a whole


def test_below_an_operator_of_which_nothing_is_known():
    def shuffled(step):
        return module(max_pool(relay.nn.depth_to_space(step(conv2d(image())), 2)))

    assert only_site(shuffled(relay.nn.relu)).status is Status.EXCHANGED
    site = only_site(shuffled(lambda x: x + channels_first(PER_CHANNEL)))
    assert site.refusal.reason is Reason.VARIES_IN_WINDOW
