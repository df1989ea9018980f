"""The algebra of directions, against brute force on every map of a small chain."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core.monotone import (
    Direction,
    MonotoneMap,
    compose,
    compose_directions,
    directions_from_signs,
)
from tvm_reorder.core.refusal import Reason

POINTS = 4
TABLES = [np.array(table) for table in product(range(POINTS), repeat=POINTS)]


def holds(direction: Direction, table: np.ndarray) -> bool:
    """True if the map 0..3 -> 0..3 given as a table moves in that direction."""
    steps = np.diff(table)
    if direction is Direction.CONSTANT:
        return bool((steps == 0).all())
    if direction is Direction.RISING:
        return bool((steps >= 0).all())
    if direction is Direction.FALLING:
        return bool((steps <= 0).all())
    if direction is Direction.VALLEY:
        rising = np.flatnonzero(steps > 0)
        return not rising.size or bool((steps[rising[0] :] >= 0).all())
    return True


BY_DIRECTION = {d: [t for t in TABLES if holds(d, t)] for d in Direction}


@pytest.mark.parametrize("outer, inner", list(product(Direction, repeat=2)))
def test_composition_holds_for_every_map_of_these_directions(outer, inner):
    claimed = compose_directions(outer, inner)
    for f in BY_DIRECTION[outer][::3]:
        for g in BY_DIRECTION[inner]:
            assert holds(claimed, f[g])


@pytest.mark.parametrize("outer, inner", list(product(Direction, repeat=2)))
def test_composition_claims_the_strongest_direction(outer, inner):
    claimed = compose_directions(outer, inner)
    stronger = [d for d in Direction if d is not claimed and _implies(d, claimed)]
    for direction in stronger:
        assert not all(
            holds(direction, f[g]) for f in BY_DIRECTION[outer][::3] for g in BY_DIRECTION[inner]
        )


def _implies(strong: Direction, weak: Direction) -> bool:
    return all(holds(weak, table) for table in BY_DIRECTION[strong])


def test_a_valley_is_the_larger_of_its_ends():
    """The identity behind VALLEY: max over a window of f(x) = max(f(max x), f(min x))."""
    for table in BY_DIRECTION[Direction.VALLEY]:
        for low in range(POINTS):
            for high in range(low, POINTS):
                assert table[low : high + 1].max() == max(table[low], table[high])


directions = st.sampled_from(list(Direction))


@given(st.lists(st.tuples(directions, directions), min_size=2, max_size=5))
def test_maps_compose_channel_by_channel(pairs):
    outer = MonotoneMap("f", tuple(o for o, _ in pairs))
    inner = MonotoneMap("g", tuple(i for _, i in pairs))
    claimed = compose(outer, inner).directions
    expected = tuple(compose_directions(o, i) for o, i in pairs)
    assert claimed == expected or claimed == expected[:1] and len(set(expected)) == 1


def test_one_direction_serves_every_channel():
    outer = MonotoneMap("f", (Direction.FALLING,))
    inner = MonotoneMap("g", (Direction.RISING, Direction.FALLING))
    assert compose(outer, inner).directions == (Direction.FALLING, Direction.RISING)


def test_channel_counts_that_differ_are_an_error():
    two = MonotoneMap("f", (Direction.RISING, Direction.FALLING))
    three = MonotoneMap("g", (Direction.RISING, Direction.FALLING, Direction.RISING))
    with pytest.raises(ValueError, match="2 channels cannot follow 3 channels"):
        compose(two, three)


@pytest.mark.parametrize(
    "outer, inner, expected",
    [(0, 0, 0), (3, 0, 3), (0, 3, None), (None, 0, None), (0, None, None), (2, 2, None)],
)
def test_a_drop_is_known_only_at_the_outermost_place(outer, inner, expected):
    f = MonotoneMap("f", (Direction.RISING,), outer)
    g = MonotoneMap("g", (Direction.RISING,), inner)
    assert compose(f, g).worst_ulp == expected


def test_the_culprit_keeps_its_reason():
    bad = MonotoneMap("g", (Direction.FALLING,), 0, None, Reason.NEGATIVE_SCALE, "-2")
    assert compose(MonotoneMap("f", (Direction.RISING,)), bad).why is Reason.NEGATIVE_SCALE


@pytest.mark.parametrize(
    "values, expected",
    [
        ([2.0, 0.5], (Direction.RISING,)),
        ([-2.0], (Direction.FALLING,)),
        ([0.0, -0.0], (Direction.CONSTANT,)),
        ([1.0, -1.0, 0.0], (Direction.RISING, Direction.FALLING, Direction.CONSTANT)),
    ],
)
def test_signs_give_directions(values, expected):
    assert directions_from_signs(np.array(values)) == expected
