"""The reference: it holds what stock TVM computes, is narrow, and shows what is wrong."""

import numpy as np
import pytest
import tvm
from tvm import relay

from bench.fuzz.graph import draw_inputs, make_graph, make_module
from bench.fuzz.recipe import draw_recipe
from bench.fuzz.reference import NAMES, evaluate
from bench.fuzz.reference.bounds import LIBRARY, Bounds, exact, settle
from bench.fuzz.run import How, build


def module_of(*outputs: relay.Expr) -> tvm.IRModule:
    body = relay.Tuple(list(outputs))
    mod = tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body))
    return relay.transform.InferType()(mod)


def data(*shape, dtype="float32"):
    return relay.var("x", shape=shape, dtype=dtype)


@pytest.mark.parametrize("first", range(0, 64, 16))
def test_stock_tvm_lies_inside(first):
    """Of graphs of all kinds, but those that TVM itself cannot type or build."""
    built = 0
    for index in range(first, first + 16):
        recipe = draw_recipe(31, index) | {"opt_level": 1, "executor": "graph"}
        try:
            graph = make_graph(recipe)
            mod = make_module([graph])
            run = build(mod, How(1))
        except tvm.error.TVMError:
            continue
        built += 1
        for kind in recipe["values"]:
            inputs = draw_inputs(recipe, graph.inputs, kind)
            for bounds, values in zip(evaluate(mod, inputs), run(inputs)):
                assert bounds.shape == values.shape
                outside = bounds.find_outside(values)
                assert not outside.any(), (index, kind, values[outside], bounds.low[outside])
    assert built >= 12


def widths(*outputs, x, is_fast=False) -> list[float]:
    """The largest relative width of each result's bounds."""
    found = evaluate(module_of(*outputs), {"x": x}, is_fast)
    with np.errstate(all="ignore"):
        return [float(((b.high - b.low) / np.maximum(np.abs(b.high), 1e-6)).max()) for b in found]


def test_the_bounds_are_narrow():
    """No wider than twice what the roundings on the way can add up to: see `weigh` for the sum."""
    unit, taps, scale = 2.0**-24, 4 * 3 * 3, 0.3
    x = data(1, 4, 6, 6)
    numbers = np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype("float32")
    values = np.random.default_rng(1).standard_normal((1, 4, 6, 6)).astype("float32")

    def convolve(image: relay.Expr, weights: np.ndarray) -> relay.Expr:
        kernel = relay.const(weights, "float32")
        return relay.nn.conv2d(image, kernel, kernel_size=(3, 3), padding=(1, 1))

    scaled = convolve(x, numbers) * relay.const(scale)
    pooled = relay.nn.max_pool2d(relay.sigmoid(scaled), (2, 2), (2, 2))
    (sizes,) = evaluate(module_of(convolve(x, np.abs(numbers))), {"x": np.abs(values)})
    total = float(sizes.high.max())
    # A change of x by d changes sigmoid(x) by d relative to itself at most.
    one_sided = scale * total * 2 * (taps + 4 + 2) * unit + 2 * LIBRARY * 2 * unit
    assert max(widths(pooled, x=values)) < 2 * one_sided
    assert max(widths(relay.exp(x), relay.rsqrt(relay.abs(x)), x=values)) < 4 * LIBRARY * 2 * unit
    (whole,) = evaluate(module_of(relay.floor(x)), {"x": values})
    assert np.array_equal(whole.low, np.floor(values)) and np.array_equal(whole.high, whole.low)


_FUNCTIONS = (
    *("nn.relu", "negative", "abs", "ceil", "floor", "round", "trunc", "sign"),
    *("sigmoid", "tanh", "exp", "log", "log2", "log10", "sqrt", "rsqrt", "erf"),
    *("sinh", "cosh", "sin", "cos", "tan"),
)
_LIBRARY = ("atan", "asin", "acos", "asinh", "acosh", "atanh")  # LLVM has none for float16


def all_magnitudes(dtype: str) -> np.ndarray:
    """Every finite float16; of a wider dtype one number of each of 2^16 pieces, and near 0."""
    bits = np.dtype(f"uint{8 * np.dtype(dtype).itemsize}")
    step = 2 ** (8 * bits.itemsize - 16)
    drawn = np.random.default_rng(0).integers(0, step, 2**16, dtype=np.uint64)
    values = (np.arange(2**16, dtype=np.uint64) * np.uint64(step) + drawn).astype(bits).view(dtype)
    values = np.concatenate([values, np.linspace(-120, 120, 4801).astype(dtype)])
    return values[np.isfinite(values)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("opt_level", [3, 4])
def test_functions_lie_inside_at_all_magnitudes(dtype, opt_level):
    values = all_magnitudes(dtype)
    x = data(*values.shape, dtype=dtype)
    names = _FUNCTIONS if dtype == "float16" else _FUNCTIONS + _LIBRARY
    mod = module_of(*(relay.Call(relay.op.get(name), [x]) for name in names))
    found = build(mod, How(opt_level))({"x": values})
    for name, bounds, results in zip(names, evaluate(mod, {"x": values}, opt_level == 4), found):
        outside = bounds.find_outside(results)
        assert not outside.any(), (name, values[outside][:3], results[outside][:3])
        is_narrow = dtype == "float16" and name == "erf" and opt_level == 4
        assert bounds.is_open.all() if is_narrow else not bounds.is_open.all(), name


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("low, high", [(-1.5, 6.1), (0.1, 0.7), (-6.1, -0.3), (2.0, 1.0)])
def test_clip_holds_its_bounds_as_the_dtype_does(dtype, low, high):
    values = all_magnitudes(dtype)
    mod = module_of(relay.clip(data(*values.shape, dtype=dtype), low, high))
    (bounds,), (found,) = evaluate(mod, {"x": values}), build(mod, How(3))({"x": values})
    assert not bounds.find_outside(found).any() and not bounds.is_open.any()
    assert (bounds.high - bounds.low).max() < 0.01 or low > high


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_reductions_start_where_tvms_do(dtype):
    x = data(2, 3, 4, dtype=dtype)
    mod = module_of(relay.max(x, [2]), relay.min(x, [2]))
    values = np.full((2, 3, 4), -np.inf, dtype)
    values[0] = np.inf
    for bounds, found in zip(evaluate(mod, {"x": values}), build(mod, How(1))({"x": values})):
        assert np.array_equal(bounds.low, found) and np.array_equal(bounds.high, found)


@pytest.mark.parametrize(
    "make, what",
    [
        (lambda x: relay.log(x), "NaN"),
        (lambda x: relay.cast(x * relay.const(1e12), "int8"), "a cast that does not hold it"),
        (lambda x: relay.cast(relay.cast(x, "float64"), "float16"), "TVM's broken cast"),
        (lambda x: relay.topk(x, 1, ret_type="values"), "no definition here"),
    ],
)
def test_what_is_undefined_is_open(make, what):
    values = np.full((1, 4), -2.5, "float32")
    (bounds,) = evaluate(module_of(make(data(1, 4))), {"x": values})
    assert bounds.is_open.all(), what


def test_integers_that_overflow_are_open_and_others_exact():
    x = data(4, dtype="int8")
    values = np.array([1, 60, 100, -128], "int8")
    (bounds,) = evaluate(module_of(x + x), {"x": values})
    assert bounds.is_open.tolist() == [False, False, True, True]
    assert bounds.low[:2].tolist() == bounds.high[:2].tolist() == [2, 120]


def test_integers_that_float64_cannot_hold_are_a_little_off():
    x, value = data(1, dtype="int64"), 9192116265542743438
    module = module_of(relay.divide(x, relay.const(3, "int64")), x + relay.const(1, "int64"))
    given = {"x": np.array([value])}
    for bounds, right in zip(evaluate(module, given), (value // 3, value + 1)):
        assert not bounds.find_outside(np.array([right])).any()
        assert bounds.find_outside(np.array([right - 2**20])).all()


def test_a_wrong_value_lies_outside():
    """One unit in the last place is enough where the bounds are that narrow; a licence widens."""
    bounds = Bounds(np.array([1.0]), np.array([1.0]))
    above = np.nextafter(np.float32(1), np.float32(2)).reshape(1)
    assert bounds.find_outside(above).all() and not bounds.find_outside(above, 1).any()
    assert bounds.find_outside(np.array([np.nan], "float32")).all()


def test_a_float_that_overflows_may_be_infinite_or_not():
    bounds = settle(np.array([3.5e38]), np.array([3.5e38]), "float32")
    assert bounds.low < 3.41e38 and bounds.high == np.inf


def test_a_crop_a_padding_and_a_pool_by_hand():
    """What a pool sees of a cropped tensor, by indices written out."""
    x = data(1, 1, 5)
    values = np.array([[[9, 1, 2, 3, 8]]], "float32")
    cropped = relay.nn.pad(x, ((0, 0), (0, 0), (-1, 1)), pad_value=relay.const(-7.0))
    pool = relay.nn.max_pool1d(cropped, (2,), (2,), padding=(1, 0), ceil_mode=True)
    padded, pooled = evaluate(module_of(cropped, pool), {"x": values})
    assert padded.low.ravel().tolist() == [1, 2, 3, 8, -7]
    assert pooled.low.ravel().tolist() == pooled.high.ravel().tolist() == [1, 3, 8]


def test_a_pool_reads_its_attributes_in_the_order_depth_height_width():
    """Whatever the order of the axes in its layout."""
    x = data(1, 1, 2, 3)  # N, C, W, H
    pool = relay.nn.max_pool2d(x, (3, 1), (1, 1), layout="NCWH")
    values = np.arange(6, dtype="float32").reshape(1, 1, 2, 3)
    (bounds,) = evaluate(module_of(pool), {"x": values})
    assert bounds.low.ravel().tolist() == [2, 5]


def test_a_nan_is_open_through_all_that_follows():
    x = data(1, 1, 2, 2)
    values = np.array([[[[np.nan, 1], [2, 3]]]], "float32")
    pool = relay.nn.max_pool2d(relay.nn.relu(x), (2, 1), (2, 1))
    (bounds,) = evaluate(module_of(pool), {"x": values})
    assert bounds.is_open.ravel().tolist() == [True, False]


def test_every_definition_has_a_name_and_a_fast_form_where_fastmath_has_one():
    assert {"nn.conv2d", "nn.max_pool2d", "concatenate", "qnn.requantize"} <= NAMES
    values = np.linspace(-3, 3, 24).reshape(1, 4, 6).astype("float32")
    x = data(1, 4, 6)
    exact_width, fast_width = (
        widths(relay.exp(x), x=values, is_fast=each)[0] for each in (False, True)
    )
    assert exact_width < 1e-6 < fast_width < 1e-3


def test_known_inputs_are_exact():
    bounds = exact(np.array([1.5, np.nan]))
    assert bounds.low[0] == bounds.high[0] == 1.5 and bounds.is_open.tolist() == [False, True]


@pytest.mark.parametrize("mode, expected", [("clip", [10, 30, 20]), ("wrap", [30, 30, 20])])
def test_indices_beyond_the_ends_by_hand(mode, expected):
    values = np.array([10, 20, 30], "float32")
    taken = relay.take(data(3), relay.const(np.array([-1, 5, 1], "int32")), mode=mode)
    (bounds,) = evaluate(module_of(taken), {"x": values})
    assert bounds.low.tolist() == bounds.high.tolist() == expected


def test_a_block_that_is_not_full_by_hand():
    values = np.array([5, 6], "float32").reshape(1, 2, 1, 1)
    blocked = relay.layout_transform(data(1, 2, 1, 1), "NCHW", "NCHW4c")
    (bounds,) = evaluate(module_of(blocked), {"x": values})
    assert bounds.low.ravel().tolist() == [5, 6, 0, 0]
