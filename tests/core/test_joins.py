"""The algebra of joined maps, against brute force on every map of a small chain."""

from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core.joins import JOINS, join_directions, join_maps
from tvm_reorder.core.monotone import Direction, MonotoneMap

from .test_monotone import BY_DIRECTION, holds

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
    assert join_maps(name, f, g).worst_ulp == expected
