"""Windows with infinities: what the exchange gives against what the network gave, by brute force.

The model is TVM's max pool as ``core/lowest.py`` describes it: a maximum that starts from the
lowest finite value, and a pool of the negated input for the smallest value.
"""

from itertools import combinations_with_replacement, product

import numpy as np
import pytest

from tvm_reorder.core import library
from tvm_reorder.core.chain import Chain, Link
from tvm_reorder.core.checks import Plan, check_exchange
from tvm_reorder.core.config import ReorderConfig
from tvm_reorder.core.enclosure import cast, where_positive
from tvm_reorder.core.monotone import Direction, MonotoneMap, collapse, directions_from_signs
from tvm_reorder.core.refusal import Reason
from tvm_reorder.core.window import PoolWindow, WindowAxis

R, F, V = Direction.RISING, Direction.FALLING, Direction.VALLEY
EQUAL, STRICT = ReorderConfig(), ReorderConfig(licence="strict")
AXIS = WindowAxis(8, 4, 2, 2, 1, 0)


def scale(*factors):
    values = np.array(factors, "float16")
    return MonotoneMap("multiply", directions_from_signs(values), 0, lambda x: x * values)


def prelu(*slopes):
    values = np.array(slopes, "float16")
    directions = collapse(tuple(V if slope < 0 else R for slope in slopes))
    evaluate = lambda x: where_positive(x, lambda a: a, lambda b: b * values)  # noqa: E731
    return MonotoneMap("nn.prelu", directions, 0, evaluate)


def shift(amount):
    return MonotoneMap("add", (R,), 0, lambda x: x + np.float16(amount))


def clip(low, high):
    return MonotoneMap("clip", (R,), 0, lambda x: np.maximum(np.minimum(x, high), low))


STEPS = {
    "prelu of both signs": prelu(0.5, -0.5, 1, -2),
    "prelu rising": prelu(0.5, 0, 1, 2),
    "prelu of one valley": prelu(-0.5, -0.5, -0.5, -0.5),
    "scale of both signs": scale(0.5, -0.5, -1, 2),
    "scale": scale(0.5, 0, 1, 2),
    "clip": clip(-1.0, 2.0),
    "relu": MonotoneMap("nn.relu", (R,), 0, lambda x: np.maximum(x, 0)),
    "negative": MonotoneMap("negative", (F,), 0, np.negative),
    "abs": MonotoneMap("abs", (V,), 0, np.abs),
    "shift": shift(-1),
    "from above": clip(-np.inf, 1.0),
    "sigmoid": MonotoneMap("sigmoid", (R,), 0, library.sigmoid),
    "exp": MonotoneMap("exp", (R,), 0, library.exp),
    "log": MonotoneMap("log", (R,), 0, library.log),
}
CHANNELS = 4


def extremes(dtype: str) -> list:
    top = np.finfo(dtype).max
    return [-np.inf, -top, -1.0, 0.0, 1.0, top, np.inf]


def draw_windows(dtype: str) -> np.ndarray:
    """Every window of three of the extreme values, and with that of two and of one."""
    found = list(combinations_with_replacement(extremes(dtype), 3))
    return np.array(found, dtype)[:, :, None]


def evaluate(maps, x: np.ndarray) -> np.ndarray:
    """The steps on values of every channel, along the last axis."""
    x = np.broadcast_to(x, np.broadcast_shapes(x.shape, (CHANNELS,)))
    with np.errstate(all="ignore"):
        for step in reversed(maps):
            x = step.evaluate(x)
    return x


def exchange(maps, found, windows: np.ndarray, low_in, low_out) -> np.ndarray:
    """What the exchanged network gives for each window and channel."""
    largest = np.maximum(windows.max(1), low_in)
    smallest = np.minimum(windows.min(1), -low_in)
    if found.ends.is_both:
        value = np.maximum(evaluate(maps, largest), evaluate(maps, smallest))
    else:
        signs = np.resize(found.ends.signs or (1,), CHANNELS)
        value = evaluate(maps, np.where(signs > 0, largest, smallest))
    return np.maximum(value, low_out) if found.clamps else value


def find(maps, dtypes, config):
    links = tuple(Link(step, dtype) for step, dtype in zip(maps, dtypes))
    window = PoolWindow((AXIS, AXIS))
    # Signs that go into filters cost nothing, so that every exchange saves evaluations.
    chain = Chain(window, CHANNELS, links, dtypes, filters=CHANNELS, plane_shape=(CHANNELS,))
    outcome = check_exchange(chain, config)
    if not isinstance(outcome, Plan):
        return [], outcome
    return [plan for plan in (outcome, outcome.wider) if plan], outcome.note


def differences(maps, config, dtype: str, windows: np.ndarray):
    """Windows and channels without NaN for which an exchange gives another result."""
    low = np.finfo(dtype).min
    values = evaluate(maps, windows)
    stock, usable = np.maximum(values.max(1), low), ~np.isnan(values).any(1)
    for found in find(maps, (dtype,) * (len(maps) + 1), config)[0]:
        moved = maps[: found.moved]
        stays = evaluate(maps[found.moved :], windows) if maps[found.moved :] else windows
        below = np.broadcast_to(stays, values.shape)
        ours = exchange(moved, found, below, low, low)
        differs = usable & ~np.isnan(below).any(1) & (stock != ours)
        if not config.licence.strict:
            differs &= ~(below == -np.inf).all(1)
            differs &= found.ends.is_maximum | ~(below == np.inf).all(1)
        yield found, np.argwhere(differs)


def check(names, dtype):
    maps, windows = [STEPS[name] for name in names], draw_windows(dtype)
    for config in (EQUAL, STRICT):
        for found, where in differences(maps, config, dtype, windows):
            shown = [(windows[w].ravel().tolist(), c) for w, c in where[:3]]
            assert not where.size, (names, str(config.licence), found, shown)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("length", [1, 2])
def test_every_window_of_every_short_chain(length, dtype):
    for names in product(STEPS, repeat=length):
        check(names, dtype)


@pytest.mark.full
@pytest.mark.parametrize("first", STEPS)
def test_every_window_of_every_chain_of_three(first):
    for names in product([first], STEPS, STEPS):
        check(names, "float32")


THREE = [
    ("clip", "prelu of both signs", "negative"),
    ("prelu of both signs", "negative", "relu"),
    ("scale of both signs", "prelu of both signs", "scale"),
    ("prelu of both signs", "scale of both signs", "shift"),
    ("abs", "shift", "relu"),
    ("from above", "negative", "exp"),
    ("sigmoid", "abs", "scale of both signs"),
    ("log", "exp", "scale of both signs"),
]


@pytest.mark.parametrize("names", THREE)
def test_chains_of_three(names):
    check(names, "float32")


def refusal_of(*names):
    found, note = find([STEPS[name] for name in names], ("float32",) * (len(names) + 1), STRICT)
    return note if not found else None


def test_rising_channels_beside_a_valley_count():
    refusal = refusal_of("prelu of both signs")
    assert refusal.reason is Reason.NEGATIVE_INFINITY
    assert "-1.70141e+38 after the exchange, -3.40282e+38 before" in str(refusal)
    assert refusal_of("prelu of one valley") is None
    assert refusal_of("abs") is None


def test_plus_infinity_counts_where_a_negation_stands_below_a_valley():
    maps = [prelu(-0.5, 0.5, -2, -1), STEPS["negative"]]
    found, note = find(maps, ("float32",) * 3, STRICT)
    assert [each.moved for each in found] == [] and note.reason is Reason.NEGATIVE_INFINITY


def test_what_levels_off_is_let_through():
    for names in (("clip",), ("relu",), ("sigmoid",), ("exp",), ("clip", "scale of both signs")):
        assert refusal_of(*names) is None, names


def test_integers_have_no_infinities():
    """float32 from int8: the lowest integer is a value like any other."""
    maps = [prelu(0.5, -0.5, 1, -2), MonotoneMap("cast", (R,), 0, lambda x: cast(x, "float32"))]
    found, _ = find(maps, ("float32", "float32", "int8"), STRICT)
    assert found[-1].moved == 2 and found[-1].ends.is_both
    values = np.array(list(combinations_with_replacement([-128, -1, 0, 1, 127], 3)), "int8")
    windows = values[:, :, None]
    stock = evaluate(maps, windows).max(1)
    largest, smallest = windows.max(1), windows.min(1)
    ours = np.maximum(evaluate(maps, largest), evaluate(maps, smallest))
    np.testing.assert_array_equal(stock, ours)
