"""The identities behind the ends of a window, on tables of every direction."""

from itertools import combinations, product

import numpy as np
import pytest

from tvm_reorder.core.chain import Chain, Link
from tvm_reorder.core.checks import Plan, check_exchange
from tvm_reorder.core.config import ReorderConfig
from tvm_reorder.core.ends import THE_MAXIMUM, Ends, find_ends
from tvm_reorder.core.monotone import Direction, MonotoneMap, guess_direction
from tvm_reorder.core.refusal import Reason
from tvm_reorder.core.window import PoolWindow, WindowAxis

from .test_monotone import BY_DIRECTION

R, F, V, C, O = (  # noqa: E741
    Direction.RISING,
    Direction.FALLING,
    Direction.VALLEY,
    Direction.CONSTANT,
    Direction.OTHER,
)


@pytest.mark.parametrize(
    "directions, ends",
    [
        ((R,), THE_MAXIMUM),
        ((C, R), THE_MAXIMUM),
        ((F,), Ends((-1,))),
        ((F, F), Ends((-1,))),
        ((R, F, C), Ends((1, -1, 1))),
        ((V,), Ends(is_both=True)),
        ((R, V, F), Ends(is_both=True)),
        ((R, O), None),
    ],
)
def test_the_fewest_ends_are_found(directions, ends):
    assert find_ends(directions) == ends


def take(ends: Ends, table, window) -> int:
    """The exchanged result for one window of places of a table."""
    if ends.is_both:
        return max(table[max(window)], table[min(window)])
    sign = ends.signs[0] if ends.signs else 1
    return table[sign * max(sign * place for place in window)]


@pytest.mark.parametrize("direction", [R, F, V, C])
def test_every_window_of_every_table_has_the_same_maximum(direction):
    ends = find_ends((direction,))
    for table in BY_DIRECTION[direction]:
        places = range(len(table))
        for size in (1, 2, 3):
            for window in combinations(places, size):
                assert take(ends, table, window) == max(table[place] for place in window)


def test_both_ends_serve_rising_and_falling_channels_too():
    both = Ends(is_both=True)
    for direction, size in product((R, F), (2, 3)):
        for table in BY_DIRECTION[direction]:
            for window in combinations(range(len(table)), size):
                assert take(both, table, window) == max(table[place] for place in window)


def make_chain(*maps: MonotoneMap, size=8, **facts) -> Chain:
    axis = WindowAxis(size, size // 2, 2, 2, 1, 0)
    links = tuple(Link(step, "float32") for step in maps)
    return Chain(PoolWindow((axis, axis)), 4, links, ("float32",) * (len(maps) + 1), **facts)


RISE = MonotoneMap("nn.relu", (R,), 0, lambda x: np.maximum(x, 0))
MIXED = MonotoneMap("multiply", (R, F, R, F), 0, lambda x: x * np.array([1, -1, 0.5, -0.5]))
DOWN = MonotoneMap("negative", (F,), 0, np.negative)
BEND = MonotoneMap("abs", (V,), 0, np.abs)
CONFIG = ReorderConfig()


def test_signs_are_one_step_more_on_each_side_unless_they_fold():
    plans = [check_exchange(make_chain(MIXED, RISE, filters=f), CONFIG) for f in (0, 4)]
    assert all(isinstance(plan, Plan) and plan.moved == 2 for plan in plans)
    assert [plan.folds_signs for plan in plans] == [False, True]
    assert plans[0].ends == plans[1].ends == Ends((1, -1, 1, -1))
    elements, pooled = 4 * 64, 4 * 16
    assert plans[0].evaluations.after - plans[1].evaluations.after == elements
    assert plans[1].evaluations.after == 3 * pooled


def test_signs_do_not_fold_where_a_step_stays_below():
    stays = MonotoneMap("sin", (O,), None)
    plan = check_exchange(make_chain(MIXED, RISE, RISE, stays, filters=4), CONFIG)
    assert plan.moved == 3 and not plan.folds_signs


def test_a_longer_exchange_at_both_ends_is_offered_beside_the_shorter_one():
    plan = check_exchange(make_chain(RISE, BEND), CONFIG)
    assert plan.moved == 1 and plan.ends is THE_MAXIMUM
    assert plan.wider.moved == 2 and plan.wider.ends.is_both and plan.wider.wider is None


def test_a_longer_exchange_at_the_maximum_leaves_no_other():
    plan = check_exchange(make_chain(DOWN, DOWN), CONFIG)
    assert plan.moved == 2 and plan.ends is THE_MAXIMUM and plan.wider is None


def test_a_hill_is_refused_for_its_direction():
    refusal = check_exchange(make_chain(DOWN, BEND), CONFIG)
    assert refusal.reason is Reason.NOT_MONOTONE


def test_a_valley_that_is_none_as_computed_needs_a_licence():
    noisy = MonotoneMap("silu", (V,), 3)
    slow = MonotoneMap("copy", (R,), 0, lambda x: x)
    chain = make_chain(noisy, slow)
    assert check_exchange(chain, CONFIG).reason is Reason.DECREASES_AS_COMPUTED
    assert check_exchange(chain, ReorderConfig(licence="ulp:3")).ends.is_both


def test_strict_asks_for_windows_of_plus_infinity_where_f_falls():
    config = ReorderConfig(licence="strict")
    refusal = check_exchange(make_chain(MIXED, RISE, filters=4), config)
    assert refusal.reason is Reason.NEGATIVE_INFINITY and "+inf" in str(refusal)
    assert check_exchange(make_chain(BEND, RISE), config).ends.is_both


@pytest.mark.parametrize(
    "function, direction",
    [
        (lambda x: x / (1 + np.exp(-x)), V),
        (lambda x: x * np.clip(x + 3, 0, 6) / 6, V),
        (np.square, V),
        (np.sin, O),
        (lambda x: -np.abs(x), O),
        (lambda x: x**3, R),
        (lambda x: -x, F),
        (lambda x: x * np.ones((1, 3, 1, 1)), O),  # not one function for all channels
        (np.sqrt, O),  # no value for half of the points
        (None, O),
    ],
)
def test_a_direction_is_guessed(function, direction):
    assert guess_direction(function) is direction


def test_a_direction_of_integers_is_guessed():
    """Python's own integers are what ~x and a shift are evaluated on."""
    assert guess_direction(np.invert, is_whole=True) is F
    assert guess_direction(lambda x: x >> 1, is_whole=True) is R
    assert guess_direction(lambda x: np.maximum(x, np.invert(x)), is_whole=True) is V
