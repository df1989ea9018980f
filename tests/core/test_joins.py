"""The algebra of joined maps, against brute force on every map of a small chain."""

from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core import library
from tvm_reorder.core.joins import JOINS, glue_directions, join_directions, join_maps
from tvm_reorder.core.monotone import Direction, MonotoneMap

from .test_monotone import BY_DIRECTION, TABLES, holds

R, F, V, C, O = (  # noqa: E741
    Direction.RISING,
    Direction.FALLING,
    Direction.VALLEY,
    Direction.CONSTANT,
    Direction.OTHER,
)
ORDERED = ["maximum", "minimum", "add", "subtract"]
PAIRS = list(product(Direction, repeat=2))


@pytest.mark.parametrize("left, right", PAIRS)
@pytest.mark.parametrize("name", JOINS)
def test_joined_maps_move_as_claimed(left, right, name):
    claimed = join_directions(name, left, right)
    if name == "divide":
        assert claimed is (C if left is right is C else O)
        return
    for f in BY_DIRECTION[left][::2]:
        for g in BY_DIRECTION[right][::3]:
            assert holds(claimed, JOINS[name](f, g))


@lru_cache
def outcomes(left: Direction, right: Direction, name: str) -> tuple:
    """What joins of maps of these directions have in common, a thinned list of them."""
    joined = [JOINS[name](f, g) for f in BY_DIRECTION[left] for g in BY_DIRECTION[right][::2]]
    return tuple(d for d in Direction if all(holds(d, table) for table in joined))


@pytest.mark.parametrize("left, right", PAIRS)
@pytest.mark.parametrize("name", ORDERED)
def test_the_strongest_direction_is_claimed(left, right, name):
    claimed = join_directions(name, left, right)
    implied = [d for d in Direction if all(holds(d, t) for t in BY_DIRECTION[claimed])]
    assert set(outcomes(left, right, name)) == set(implied)


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


POSETS = st.lists(st.integers(-3, 3), min_size=2, max_size=8)


@given(st.lists(POSETS, min_size=2, max_size=4), st.data())
def test_the_largest_of_any_valleys_is_a_valley(drawn, data):
    """Every table sorted down to some place and up from there is a valley; so is their maximum."""
    size = min(map(len, drawn))
    maps = []
    for numbers in drawn:
        turn = data.draw(st.integers(0, size))
        line = np.array(numbers[:size])
        maps.append(np.concatenate([np.sort(line[:turn])[::-1], np.sort(line[turn:])]))
        maps[-1][turn:] = np.maximum(maps[-1][turn:], maps[-1][turn - 1] if turn else -9)
    assert all(holds(V, line) for line in maps)
    assert holds(V, np.maximum.reduce(maps))


def drop(line: np.ndarray) -> int:
    """How far a table falls below its running maximum."""
    return int((np.maximum.accumulate(line) - line).max())


def valley_drop(line: np.ndarray) -> int:
    before = np.minimum.accumulate(line)
    behind = np.minimum.accumulate(line[::-1])[::-1]
    return int((line - np.maximum(before, behind)).max())


@given(POSETS, POSETS, st.sampled_from(["maximum", "minimum"]))
def test_what_maps_stray_survives_a_maximum_or_minimum(left, right, name):
    size = min(len(left), len(right))
    f, g = np.array(left[:size]), np.array(right[:size])
    joined = JOINS[name](f, g)
    assert drop(joined) <= max(drop(f), drop(g))
    assert drop(-joined) <= max(drop(-f), drop(-g))
    if name == "maximum":
        assert valley_drop(joined) <= max(valley_drop(f), valley_drop(g))
    assert valley_drop(f) <= min(drop(f), drop(-f))  # a rising or falling map is a valley too
    capped = np.minimum(f, 0)
    assert valley_drop(capped) <= valley_drop(f)


@pytest.mark.parametrize(
    "name, left, right, expected",
    [
        ("maximum", 2, 3, 3),
        ("minimum", 2, 0, 2),
        ("maximum", None, 0, None),
        ("add", 0, 0, 0),
        ("add", 1, 0, None),
        ("multiply", 0, 0, 0),
    ],
)
def test_ulps_of_joins(name, left, right, expected):
    f, g = (MonotoneMap("f", (R,), ulp, lambda x: x) for ulp in (left, right))
    assert join_maps(name, f, g, "float32").worst_ulp == expected


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
    summed = join_maps("add", RELU, scaled(SLOPES, DOWN), "float32", shape)
    assert summed.directions == (V, R, R, R, V)
    taken = join_maps("subtract", RELU, scaled(SLOPES, DOWN), "float32", shape)
    assert taken.directions == (R, V, R, V, R)
    assert summed.worst_ulp == taken.worst_ulp == 0
    line = np.linspace(-3, 3, 61)[:, None]
    for joined in (summed, taken):
        values = joined.evaluate(line)
        assert all(holds(d, values[:, n]) for n, d in enumerate(joined.directions))


def test_sums_of_maps_that_move_on_both_sides_of_0_are_other():
    """exp falls short of being 0 up to 0, and x moves everywhere."""
    rising = MonotoneMap("exp", (R,), 0, library.exp)
    assert join_maps("add", rising, DOWN, "float32").directions == (O,)
    assert join_maps("add", X, DOWN, "float32").directions == (O,)
    assert join_maps("subtract", RELU, X, "float32").directions == (O,)
    assert join_maps("subtract", DOWN, RELU, "float32").directions == (F,)
    assert join_maps("add", RELU, DOWN, "float32").directions == (V,)


def test_a_hill_of_two_halves_is_other():
    up = MonotoneMap("min(x, 0)", (R,), 0, lambda x: np.minimum(x, 0))
    down = MonotoneMap("-relu", (F,), 0, lambda x: -np.maximum(x, 0))
    assert join_maps("add", up, down, "float32").directions == (O,)
    turned = MonotoneMap("-x", (F,), 0, np.negative)
    assert join_maps("minimum", X, turned, "float32").directions == (O,)


def test_a_map_that_is_not_exact_is_not_taken_for_constant():
    rough = MonotoneMap("rough relu", (R,), 1, lambda x: np.maximum(x, 0))
    assert join_maps("add", rough, DOWN, "float32").directions == (O,)


def test_directions_by_channel_survive():
    factors = np.array([2.0, -2.0, 0.5, 0.0])
    joined = join_maps("maximum", X, scaled(factors, X), "float32", (1, 4))
    assert joined.directions == (R, V, R, R)
    joined = join_maps("minimum", X, scaled(factors, X), "float32", (1, 4))
    assert joined.directions == (R, O, R, R)


@pytest.mark.parametrize("dtype, expected", [("int32", V), ("float16", V), ("bfloat16", O)])
def test_sides_are_known_where_a_dtype_is_followed(dtype, expected):
    assert join_maps("maximum", RELU, DOWN, dtype).directions == (V,)
    assert join_maps("add", RELU, DOWN, dtype).directions == (expected,)
