"""Window geometry against a pool that counts what it sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core.cost import count_evaluations, count_operations
from tvm_reorder.core.window import AdaptiveAxis, PoolWindow, WindowAxis, real_elements


def count_by_hand(axis: WindowAxis) -> list[int]:
    """Mark the real elements of a padded line, then walk the windows over it."""
    line = {position: 1 for position in range(axis.size)}
    return [
        sum(
            line.get(i * axis.stride - axis.pad_before + j * axis.dilation, 0)
            for j in range(axis.kernel)
        )
        for i in range(axis.output)
    ]


axes = st.builds(
    WindowAxis,
    size=st.integers(1, 9),
    output=st.integers(1, 6),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    pad_before=st.integers(0, 4),
)


@given(axes)
def test_real_elements_are_those_counted_by_hand(axis):
    assert real_elements(axis).tolist() == count_by_hand(axis)


@given(axes, axes)
def test_a_padding_only_window_is_seen(rows, columns):
    window = PoolWindow((rows, columns))
    seen = np.outer(count_by_hand(rows), count_by_hand(columns))
    assert window.has_padding_only_window == bool((seen == 0).any())
    full = rows.kernel * columns.kernel
    assert window.has_padding == bool((seen < full).any())
    assert window.comparisons == int(seen.sum() - seen.size)


@pytest.mark.parametrize(
    "axis",
    [
        WindowAxis(size=4, output=3, kernel=2, stride=2, pad_before=2),  # pad >= kernel
        WindowAxis(size=4, output=3, kernel=2, stride=2),  # ceil_mode past the end
        WindowAxis(size=2, output=2, kernel=2, stride=1, dilation=4, pad_before=3),  # dilation
    ],
)
def test_ways_to_get_a_padding_only_window(axis):
    assert PoolWindow((axis,)).has_padding_only_window


@given(st.integers(1, 12), st.integers(1, 12))
def test_adaptive_windows_cover_the_line(size, output):
    axis = AdaptiveAxis(size, output)
    bounds = [(i * size // output, -(-(i + 1) * size // output)) for i in range(output)]
    assert real_elements(axis).tolist() == [stop - start for start, stop in bounds]
    assert not axis.has_padding
    shares = any(a[1] > b[0] for a, b in zip(bounds, bounds[1:]))
    assert axis.overlaps == shares or size < output


def test_overlap():
    assert WindowAxis(size=8, output=3, kernel=3, stride=2).overlaps
    assert not WindowAxis(size=8, output=4, kernel=2, stride=2).overlaps
    assert not WindowAxis(size=8, output=1, kernel=8, stride=1).overlaps


def test_the_papers_worked_example():
    """16 values under a 2x2 pool: 28 operations before, 16 after."""
    axis = WindowAxis(size=4, output=2, kernel=2, stride=2)
    window = PoolWindow((axis, axis))
    operations = count_operations(window, planes=1, steps=1)
    assert (operations.before, operations.after) == (28, 16)
    evaluations = count_evaluations(window, planes=3, steps=2)
    assert (evaluations.before, evaluations.after, evaluations.is_saving) == (96, 24, True)


def test_a_window_reads_well():
    rows = WindowAxis(size=8, output=4, kernel=3, stride=2, pad_before=1)
    columns = WindowAxis(size=9, output=4, kernel=3, stride=2, dilation=2)
    assert str(PoolWindow((rows, columns))) == "3x3/2x2 on 8x9 -> 4x4 dilated 1x2 padded"
