"""Functions of one x, piece by piece: on every integer, and on floats at the cuts."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core import library
from tvm_reorder.core.enclosure import enclose
from tvm_reorder.core.intervals import apply
from tvm_reorder.core.monotone import ANY_RANK, Direction, MonotoneMap
from tvm_reorder.core.pieces import Part, describe_parts, glue_directions

from .test_monotone import BY_DIRECTION, TABLES, holds

R, F, V, C, O = (  # noqa: E741
    Direction.RISING,
    Direction.FALLING,
    Direction.VALLEY,
    Direction.CONSTANT,
    Direction.OTHER,
)
PAIRS = list(product(Direction, repeat=2))


def join(name, left, right, dtype, shape=ANY_RANK):
    """Two maps of the same x, joined by an operator."""
    parts = [Part("f", (0,), left, dtype), Part("g", (0,), right, dtype)]
    return describe_parts([*parts, Part(name, (1, 2), None, dtype)], dtype, shape)[-1]


@pytest.mark.parametrize("below, above", PAIRS)
def test_what_is_glued_moves_as_claimed(below, above):
    claimed = glue_directions(below, above)
    found = set()
    for table in TABLES:
        for at in range(len(table)):
            if holds(below, table[: at + 1]) and holds(above, table[at:]):
                assert holds(claimed, table)
                found.update(d for d in Direction if not holds(d, table))
    implied = {d for d in Direction if all(holds(d, t) for t in BY_DIRECTION[claimed])}
    assert set(Direction) - found == implied


RELU = MonotoneMap("relu", (R,), 0, lambda x: np.maximum(x, 0))
DOWN = MonotoneMap("relu of negative", (F,), 0, lambda x: np.maximum(-x, 0))
X = MonotoneMap("x", (R,), 0, lambda x: x)
SLOPES = np.array([0.5, -0.5, 0.0, -1.0, 3.0])


def scaled(factors, step):
    directions = {1.0: R, -1.0: F, 0.0: C}
    turned = {R: F, F: R, C: C, V: O}
    signs = [directions[float(np.sign(f))] for f in factors]
    (own,) = step.directions
    found = tuple(own if s is R else turned[own] if s is F else C for s in signs)
    return MonotoneMap("scaled", found, 0, lambda x: step.evaluate(x) * factors)


def test_prelu_written_out_is_a_valley_or_rises_by_channel():
    shape = (1, 5)
    summed = join("add", RELU, scaled(SLOPES, DOWN), "float32", shape)
    assert summed.directions == (V, R, R, R, V)
    taken = join("subtract", RELU, scaled(SLOPES, DOWN), "float32", shape)
    assert taken.directions == (R, V, R, V, R)
    assert summed.worst_ulp == taken.worst_ulp == 0
    line = np.linspace(-3, 3, 61)[:, None]
    for joined in (summed, taken):
        values = joined.evaluate(line)
        assert all(holds(d, values[:, n]) for n, d in enumerate(joined.directions))


def test_sums_of_maps_that_move_on_both_sides_of_0_are_other():
    """exp falls short of being 0 up to 0, and x moves everywhere."""
    rising = MonotoneMap("exp", (R,), 0, library.exp)
    assert join("add", rising, DOWN, "float32").directions == (O,)
    assert join("add", X, DOWN, "float32").directions == (O,)
    assert join("subtract", RELU, X, "float32").directions == (O,)
    assert join("subtract", DOWN, RELU, "float32").directions == (F,)
    assert join("add", RELU, DOWN, "float32").directions == (V,)


def test_a_hill_of_two_halves_is_other():
    up = MonotoneMap("min(x, 0)", (R,), 0, lambda x: np.minimum(x, 0))
    down = MonotoneMap("-relu", (F,), 0, lambda x: -np.maximum(x, 0))
    assert join("add", up, down, "float32").directions == (O,)
    turned = MonotoneMap("-x", (F,), 0, np.negative)
    assert join("minimum", X, turned, "float32").directions == (O,)


def test_a_map_that_is_not_exact_is_not_taken_for_constant():
    rough = MonotoneMap("rough relu", (R,), 1, lambda x: np.maximum(x, 0))
    assert join("add", rough, DOWN, "float32").directions == (O,)


def test_directions_by_channel_survive():
    factors = np.array([2.0, -2.0, 0.5, 0.0])
    joined = join("maximum", X, scaled(factors, X), "float32", (1, 4))
    assert joined.directions == (R, V, R, R)
    joined = join("minimum", X, scaled(factors, X), "float32", (1, 4))
    assert joined.directions == (R, O, R, R)


@pytest.mark.parametrize("dtype, expected", [("int32", V), ("float16", V), ("bfloat16", O)])
def test_sides_are_known_where_a_dtype_is_followed(dtype, expected):
    assert join("maximum", RELU, DOWN, dtype).directions == (V,)
    assert join("add", RELU, DOWN, dtype).directions == (expected,)


def describe(*parts, dtype="float32", shape=ANY_RANK):
    return describe_parts(parts, dtype, shape)[-1]


def number(value, dtype="float32"):
    return np.array(value, dtype)


def compared(name, value, dtype="float32"):
    return Part(name, (0, number(value, dtype)), None, "bool")


def shifted(amount):
    return MonotoneMap("add", (R,), 0, lambda x: x + np.float32(amount))


def thresholded(alpha, name="greater"):
    """x * (x > alpha)."""
    mask = Part("cast", (1,), None, "float32")
    return compared(name, alpha), mask, Part("multiply", (0, 2), None, "float32")


def shrunk(lambd, bias):
    """ONNX's Shrink."""
    zero = number(0)
    return (
        compared("less", -lambd),
        Part("add", (0,), shifted(bias), "float32"),
        Part("where", (1, 2, zero), None, "float32"),
        compared("greater", lambd),
        Part("subtract", (0,), shifted(-bias), "float32"),
        Part("where", (4, 5, zero), None, "float32"),
        Part("add", (3, 6), None, "float32"),
    )


def chosen(condition, above, below):
    """where(x ? c, above, below) with maps or numbers."""
    parts, operands = [condition], [1]
    for side in (above, below):
        if isinstance(side, MonotoneMap):
            parts.append(Part("f", (0,), side, "float32"))
            operands.append(len(parts))
        else:
            operands.append(side)
    return (*parts, Part("where", tuple(operands), None, "float32"))


EXP = MonotoneMap("exp - 1", (R,), 0, lambda x: library.exp(x) - 1)
FUNCTIONS = {
    "thresholded relu": (thresholded(1.0), R),
    "thresholded at 0": (thresholded(0.0), R),
    "thresholded below 0": (thresholded(-1.0), V),
    "thresholded from": (thresholded(0.5, "greater_equal"), R),
    "the other way": (thresholded(1.0, "less"), O),
    "below 0, the other way": (thresholded(-1.0, "less"), R),
    "shrink": (shrunk(0.5, 0.0), R),
    "shrink with a bias": (shrunk(0.5, 0.5), R),
    "shrink with too much bias": (shrunk(0.5, 0.75), O),
    "relu": (chosen(compared("greater", 0), X, number(0)), R),
    "leaky relu": (chosen(compared("less", 0), scaled([0.1], X), X), R),
    "leaky relu downwards": (chosen(compared("less", 0), scaled([-0.1], X), X), V),
    "elu": (chosen(compared("greater", 0), X, EXP), R),
    "a step": (chosen(compared("greater", 1.0), number(1), number(0)), R),
    "a step down": (chosen(compared("greater", 1.0), number(0), number(1)), F),
    "threshold of torch": (chosen(compared("greater", 1.0), X, number(0)), R),
    "threshold with a large value": (chosen(compared("greater", 1.0), X, number(20)), V),
    "a hole": (chosen(compared("equal", 3.0), number(0), X), O),
    "a peak": (chosen(compared("not_equal", 3.0), X, number(100)), O),
    "a notch in a constant": (chosen(compared("equal", 3.0), number(-1), number(0)), V),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_with_comparisons(name):
    parts, expected = FUNCTIONS[name]
    found = describe(*parts)
    assert found.directions == (expected,) and found.worst_ulp == 0
    line = np.unique(np.float32([*np.linspace(-4, 4, 801), 0.5, 1, 3, np.nextafter(1, 2), 30]))
    values = found.evaluate(line)
    assert holds(expected, values)
    inside = apply(found, enclose(line, "float32"))
    assert ((inside.low <= values) & (values <= inside.high)).all()


def test_cuts_by_channel():
    parts = (
        Part("greater", (0, np.float32([1.0, -1.0, 0.0])), None, "bool"),
        Part("cast", (1,), None, "float32"),
        Part("multiply", (0, 2), None, "float32"),
    )
    assert describe(*parts, shape=(1, 3)).directions == (R, V, R)


def test_what_cannot_be_cut_is_other():
    many = np.arange(20, dtype="float32")
    parts = (
        Part("greater", (0, many), None, "bool"),
        Part("cast", (1,), None, "float32"),
        Part("multiply", (0, 2), None, "float32"),
    )
    assert describe(*parts, shape=(1, 20)).directions == (O,)
    unknown = (Part("isnan", (0,), None, "bool"), Part("where", (1, 0, number(0)), None, "float32"))
    found = describe(*unknown)
    assert found.directions == (O,) and found.worst_ulp is None and found.evaluate is None


STEPS = {
    "relu": MonotoneMap("relu", (R,), 0, lambda x: np.maximum(x, 0)),
    "negative": MonotoneMap("negative", (F,), 0, np.negative),
    "halve": MonotoneMap("shift", (R,), 0, lambda x: x >> np.array(1, object)),
    "add": MonotoneMap("add", (R,), 0, lambda x: x + np.array(3, object)),
    "twice": MonotoneMap("multiply", (R,), 0, lambda x: x * np.array(2, object)),
    "abs": MonotoneMap("abs", (V,), 0, np.abs),
    "cap": MonotoneMap("minimum", (R,), 0, lambda x: np.minimum(x, np.array(5, object))),
}
EVERY_INT8 = np.arange(-128, 128).astype(object)


@st.composite
def programs(draw):
    """Random parts over int8, whose last one depends on x."""
    parts, values, bools = [], [0], []
    for _ in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(["step", "join", "compare", "where", "cast"]))
        if kind == "step" or kind in ("where", "cast") and not bools:
            step = draw(st.sampled_from(sorted(STEPS)))
            parts.append(Part(step, (draw(st.sampled_from(values)),), STEPS[step], "int32"))
        elif kind == "join":
            name = draw(st.sampled_from(["add", "subtract", "multiply", "maximum", "minimum"]))
            operands = (draw(st.sampled_from(values)), draw(st.sampled_from(values)))
            parts.append(Part(name, operands, None, "int32"))
        elif kind == "compare":
            name = draw(st.sampled_from(["greater", "greater_equal", "less", "equal", "not_equal"]))
            cut = np.array(draw(st.integers(-9, 9)), "int32")
            operands = (draw(st.sampled_from([0, 0, *values])), cut)
            parts.append(
                Part(name, operands if draw(st.booleans()) else operands[::-1], None, "bool")
            )
        elif kind == "where":
            sides = tuple(
                draw(st.sampled_from(values))
                if draw(st.booleans())
                else np.array(draw(st.integers(-5, 5)), "int32")
                for _ in range(2)
            )
            parts.append(Part("where", (draw(st.sampled_from(bools)), *sides), None, "int32"))
        else:
            parts.append(Part("cast", (draw(st.sampled_from(bools)),), None, "int32"))
        (bools if parts[-1].dtype == "bool" else values).append(len(parts))
    if parts[-1].dtype == "bool":
        parts.append(Part("cast", (len(parts),), None, "int32"))
    return parts


@given(programs())
def test_random_functions_move_as_claimed(parts):
    for known in describe_parts(parts, "int8", (1, 1)):
        if known.evaluate is None:
            continue
        values = np.array(known.evaluate(EVERY_INT8).tolist(), dtype="int64")
        (direction,) = known.directions
        assert holds(direction, values), (parts, direction)


@given(programs())
def test_random_enclosures_hold_every_value(parts):
    for known in describe_parts(parts, "int8", (1, 1)):
        values = np.array(known.evaluate(EVERY_INT8).tolist(), dtype=object)
        for low, high in ((-128, 127), (-5, 9), (0, 0), (-128, -1), (3, 4)):
            found = apply(known, enclose([low], "int8", [high]))
            part = values[low + 128 : high + 129]
            assert (found.low <= part).all() and (part <= found.high).all()


@pytest.mark.parametrize("condition", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_a_condition_that_is_constant(condition, dtype):
    """Beside a comparison, which makes it a function by pieces."""
    number = np.asarray(2, dtype)
    parts = [
        Part("greater", (0, number), None, "bool"),
        Part("where", (1, 0, number), None, dtype),
        Part("where", (np.asarray(condition), number, 2), None, dtype),
    ]
    *_, whole = describe_parts(parts, dtype, (1, 1))
    values = np.arange(-4, 5).astype(dtype).reshape(-1, 1)
    found = apply(whole, enclose(values, dtype)).stored()
    expected = np.full_like(values, 2) if condition else np.maximum(values, 2)
    assert np.array_equal(found.low, expected) and np.array_equal(found.high, expected)
    assert np.array_equal(whole.evaluate(values), expected)
