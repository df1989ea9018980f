"""Summaries of runs, joined in any grouping, equal the direct computation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.certify.floats import FORMATS
from tvm_reorder.certify.runs import Summary, falling, rising, summarise

FLOAT = FORMATS["float32"]
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3.4028235e38]
VALUES = st.one_of(st.sampled_from(SPECIAL), st.floats(width=32), st.integers(-3, 3).map(float))
ARRAYS = st.lists(VALUES, min_size=1, max_size=24).map(lambda v: np.array(v, np.float32))


def of(values: np.ndarray, start: int = 0) -> Summary:
    bits = values.view(np.uint32)
    return summarise(FLOAT.keys(bits), FLOAT.is_nan(bits), start)


def ranks(values: np.ndarray) -> list[int]:
    """Keys of what is no NaN, from the values alone: the sign, and the bits of the magnitude."""
    return [int(np.sign(v)) * int(np.abs(v).view(np.int32)) for v in values if v == v]


@given(ARRAYS)
def test_a_summary_is_what_pairs_say(values):
    keys, summary = ranks(values), of(values)
    assert (summary.values, summary.nan) == (values.size, values.size - len(keys))
    if not keys:
        assert summary.whole is None
        return
    pairs = [(a, b) for i, a in enumerate(keys) for b in keys[i:]]
    steps = [b - a for a, b in zip(keys, keys[1:])]
    whole = summary.whole
    assert whole.drop == max(a - b for a, b in pairs)
    assert whole.climb == max(b - a for a, b in pairs)
    assert whole.falls == sum(step < 0 for step in steps)
    assert whole.rises == sum(step > 0 for step in steps)
    assert whole.worst_fall == max([0, *(-step for step in steps)])
    assert whole.worst_rise == max([0, *steps])
    assert (whole.low, whole.high) == (min(keys), max(keys))


@given(ARRAYS)
def test_a_valley_is_judged_by_its_quasi_convexity(values):
    keys, summary = ranks(values), of(values)
    if not keys:
        return
    wrong = [key - max(min(keys[: i + 1]), min(keys[i:])) for i, key in enumerate(keys)]
    assert max(summary.left.climb, summary.right.drop) == max(wrong)


@given(ARRAYS, st.lists(st.integers(0, 24), max_size=4), st.randoms())
def test_any_grouping_gives_the_same(values, cuts, random):
    bounds = sorted({0, values.size, *(min(cut, values.size) for cut in cuts)})
    parts = [of(values[a:b], a) for a, b in zip(bounds, bounds[1:])]
    while len(parts) > 1:
        index = random.randrange(len(parts) - 1)
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
    figures = [_without_places(summary) for summary in (parts[0], of(values))]
    assert figures[0] == figures[1]
    if parts[0].whole is not None:  # places may differ among equals, but must prove the figure
        assert parts[0].whole.low_at == of(values).whole.low_at
        _check_witness(parts[0].whole, values)


def _without_places(summary: Summary):
    hide = {name: 0 for name in ("drop_from", "drop_to", "climb_from", "climb_to", "high_at")}
    return [None if e is None else e._replace(**hide) for e in summary[:3]] + list(summary[3:])


def _check_witness(whole, values):
    key = lambda place: ranks(values[place : place + 1])[0]
    if whole.drop:
        assert whole.drop_from < whole.drop_to
        assert key(whole.drop_from) - key(whole.drop_to) == whole.drop
    if whole.climb:
        assert whole.climb_from < whole.climb_to
        assert key(whole.climb_to) - key(whole.climb_from) == whole.climb


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12).map(sorted), st.integers(0, 9))
def test_monotone_stretches_from_their_ends(keys, start):
    steps, stop = np.diff(keys), start + len(keys)
    moves, worst = int(np.count_nonzero(steps)), int(steps.max(initial=0))
    no_nan = np.zeros(len(keys), bool)
    up = rising(keys[0], keys[-1], start, stop, moves, worst)
    assert _without_places(up) == _without_places(summarise(np.array(keys), no_nan, start))
    back = keys[::-1]
    low_at = start + back.index(back[-1])
    down = falling(back[0], back[-1], start, low_at, stop, moves, worst)
    assert _without_places(down) == _without_places(summarise(np.array(back), no_nan, start))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_places_are_every_value_in_order(name):
    kind = FORMATS[name]
    bits = np.empty(kind.size + 3, kind.unsigned)
    ramp = np.arange(bits.size, dtype=kind.unsigned)
    kind.fill(0, bits, ramp)
    assert len(set(bits[: kind.size].tolist())) == kind.size == 2 * (kind.infinity + 1)
    assert (bits[kind.size :] == kind.infinity).all() and not kind.is_nan(bits).any()
    steps = np.diff(kind.keys(bits[: kind.size]))
    assert (steps >= 0).all() and np.flatnonzero(steps == 0).tolist() == [kind.zeros[0]]
    wide = bits.astype(np.uint32) << 16
    values = bits.view(np.float16) if name == "float16" else wide.view(np.float32)
    for place in (0, 1, *kind.zeros, kind.size - 1):
        assert kind.value_at(place) == values[place]
        assert np.signbit(kind.value_at(place)) == np.signbit(values[place])


@given(st.integers(0, FLOAT.size - 1), st.integers(1, 40))
def test_any_stretch_of_float32_follows_its_neighbours(start, count):
    bits = np.empty(count, np.uint32)
    FLOAT.fill(start, bits, np.arange(count, dtype=np.uint32))
    values = bits.view(np.float32)
    for place, value in enumerate(values[: FLOAT.size - start], start):
        assert FLOAT.value_at(place) == value
        if place + 1 < FLOAT.size and value != 0:
            assert FLOAT.value_at(place + 1) == np.nextafter(value, np.float32(np.inf))
