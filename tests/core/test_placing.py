"""Paddings, crops and windows put together, against a pool that is walked index by index."""

from itertools import product

import numpy as np
import pytest

from tvm_reorder.core.window import PoolWindow, WindowAxis, join_widths, place_window

from ..pooling import LOWEST, max_pool, pad

WIDTHS = range(-3, 4)
POOLS = list(product((1, 2, 3), (1, 2, 3), (1, 2), (False, True)))  # kernel, stride, dilation, ceil
SIZES = [4, *(pytest.param(size, marks=pytest.mark.full) for size in (1, 2, 3, 5, 8))]


def elements_read(size, explicit, own, kernel, stride, dilation, ceil_mode):
    """For each window the elements that it reads, by their numbers; None for padding."""
    line = {i: i - explicit[0] for i in range(size + sum(explicit))}
    line = {i: number for i, number in line.items() if 0 <= number < size}
    length = size + sum(explicit) + sum(own) + (stride - 1) * ceil_mode
    span = (kernel - 1) * dilation + 1
    starts = range(0, length - span + 1, stride)
    taps = [[start + j * dilation - own[0] for j in range(kernel)] for start in starts]
    return [[line.get(at) for at in window] for window in taps]


def read_by(axis: WindowAxis, first: int = 0) -> list[list[int | None]]:
    """What core says of it: `first` is the number of the line's first element."""
    windows = []
    for k in range(axis.output):
        at = [k * axis.stride - axis.pad_before + j * axis.dilation for j in range(axis.kernel)]
        windows.append([first + p if 0 <= p < axis.size else None for p in at])
    return windows


@pytest.mark.parametrize("size", SIZES)
def test_every_padding_in_front_of_every_pool(size):
    """The elements of each window, those of a joined padding, and how many windows there are."""
    joined_widths = 0
    for explicit in product(WIDTHS, WIDTHS):
        if size + sum(explicit) < 0:
            continue
        for own, (kernel, *rest) in product(product(WIDTHS, WIDTHS), POOLS):
            expected = elements_read(size, explicit, own, kernel, *rest)
            axis = place_window(size, own, kernel, *rest, explicit)
            assert max(axis.output, 0) == len(expected), (explicit, own, kernel, rest)
            first = max(0, -explicit[0])
            assert read_by(axis, first) == expected, (explicit, own, kernel, rest)
            assert axis.ends_in_padding == any(window[-1] is None for window in expected)
            joined = join_widths(explicit, own)
            if joined is None:
                continue
            assert read_by(place_window(size, joined, kernel, *rest)) == expected
            joined_widths += 1
    assert joined_widths


@pytest.mark.parametrize("explicit", [(-1, 2), (2, -1), (-1, 0), (0, -3)])
def test_a_crop_is_never_joined(explicit):
    assert join_widths(explicit, (3, 3)) is None


def test_a_pools_own_crop_is_joined_with_what_fills_it_up():
    assert join_widths((2, 1), (-1, -1)) == (1, 0)
    assert join_widths((0, 1), (-1, -1)) is None


def steps(x):
    """Rising, and f(lowest) is not the lowest."""
    return np.maximum(x * np.float32(0.5), np.float32(-0.25))


def draw_pool(random, rank):
    numbers = {
        "own": [tuple(random.integers(-3, 4, 2)) for _ in range(rank)],
        "kernel": random.integers(1, 4, rank),
        "stride": random.integers(1, 4, rank),
        "dilation": random.integers(1, 3, rank),
    }
    return numbers, bool(random.integers(2))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("value", [-np.inf, LOWEST])
def test_the_exchange_and_the_joined_pool_on_random_pools(rank, value):
    """maxpool(pad(f(x))) = f(maxpool(pad(x))) unless core sees a window of padding only."""
    random = np.random.default_rng(rank)
    seen = {"exchanged": 0, "refused": 0, "joined": 0}
    while min(seen.values()) < 40:
        sizes = random.integers(1, 7, rank)
        explicit = [tuple(random.integers(-3, 4, 2)) for _ in range(rank)]
        pool, ceil_mode = draw_pool(random, rank)
        if any(size + sum(widths) < 0 for size, widths in zip(sizes, explicit)):
            continue
        fields = zip(sizes, *pool.values(), [ceil_mode] * rank, explicit)
        axes = tuple(place_window(*map(_plain, field)) for field in fields)
        if min(axis.output for axis in axes) < 1:
            continue
        x = random.normal(size=sizes).astype("float32")
        padded = max_pool(pad(x, explicit, value), *pool.values(), ceil_mode)
        before = max_pool(pad(steps(x), explicit, value), *pool.values(), ceil_mode)
        assert before.shape == PoolWindow(axes).outputs
        is_exact = not PoolWindow(axes).has_padding_only_window
        assert np.array_equal(before, steps(padded)) == is_exact
        seen["exchanged" if is_exact else "refused"] += 1
        joined = [join_widths(e, o) for e, o in zip(explicit, pool["own"])]
        if None not in joined:
            alone = max_pool(x, joined, *list(pool.values())[1:], ceil_mode)
            assert np.array_equal(padded, alone)
            seen["joined"] += 1


def _plain(value):
    return tuple(map(int, value)) if isinstance(value, tuple) else value
