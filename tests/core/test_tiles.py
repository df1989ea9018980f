"""How a fused convolution and pool is cut: brute force over small geometries."""

from itertools import product
from math import prod

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tvm_reorder.core.tiles import (
    FusedGeometry,
    Tile,
    divisors,
    make_tiles,
    register_count,
    round_up,
)
from tvm_reorder.core.window import PoolWindow, WindowAxis
from tvm_reorder.core.workload import Convolution

LANES = (4, 8, 16)


def pair(values):
    return st.tuples(values, values)


@st.composite
def pool_axes(draw, size: int) -> WindowAxis:
    """A window along an axis of `size` values, by the formula of ``Pool2DRel``."""
    if draw(st.booleans()):  # neither shared nor padded
        kernel = draw(st.integers(1, min(4, size)))
        stride = kernel + draw(st.integers(0, 1))
        return WindowAxis(size, (size - kernel) // stride + 1, kernel, stride)
    before, after = (draw(st.integers(0, 3)) for _ in range(2))
    padded = size + before + after
    kernel, stride = draw(st.integers(1, min(4, padded))), draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 2)) if 2 * kernel - 1 <= padded else 1
    room = padded - (kernel - 1) * dilation - 1
    output = (-(-room // stride) if draw(st.booleans()) else room // stride) + 1
    return WindowAxis(size, output, kernel, stride, dilation, before)


@st.composite
def geometries(draw, largest: int = 40) -> FusedGeometry:
    """Any convolution and pool, primes and single values included, in any channel blocks."""
    channels = [draw(st.sampled_from([1, 2, 3, 7, 10, 13, 16, 32, 48, 64])) for _ in "io"]
    kernel, strides, dilation = (draw(pair(st.integers(1, top))) for top in (3, 2, 2))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    extents = []
    for axis in (0, 1):
        output, span = draw(st.integers(1, largest)), (kernel[axis] - 1) * dilation[axis] + 1
        reach = (output - 1) * strides[axis] + span - padding[axis] - padding[axis + 2]
        extents.append(max(1, reach + draw(st.integers(0, strides[axis] - 1))))
    batch = draw(st.integers(1, 3))
    conv = Convolution(
        batch, channels[0], *extents, channels[1], kernel, strides, padding, dilation
    )
    assume(min(conv.outputs) >= 1)
    window = PoolWindow(tuple(draw(pool_axes(size)) for size in conv.outputs))
    blocks = [draw(st.sampled_from(divisors(number))) for number in channels]
    return FusedGeometry(conv, window, *blocks)


def plain_geometry(columns, kernel=2, stride=2, block=16, batch=1) -> FusedGeometry:
    """A 1x1 convolution of some columns under a square pool."""
    conv = Convolution(batch, 3, columns, columns, block, (1, 1))
    axis = WindowAxis(columns, (columns - kernel) // stride + 1, kernel, stride)
    return FusedGeometry(conv, PoolWindow((axis, axis)), 3, block)


@st.composite
def cuts(draw, largest: int = 40) -> tuple[FusedGeometry, Tile, int]:
    """A geometry, one of its tiles, and the lanes that it is for."""
    geometry, lanes = draw(geometries(largest)), draw(st.sampled_from(LANES))
    tiles = list(make_tiles(geometry, lanes))
    assume(tiles)
    return geometry, draw(st.sampled_from(tiles)), lanes


def seen(axis: WindowAxis, output: int) -> range:
    """Positions that one window reads."""
    start = output * axis.stride - axis.pad_before
    return range(start, start + axis.kernel * axis.dilation, axis.dilation)


@pytest.mark.parametrize("number, multiple, result", [(1, 1, 1), (7, 2, 8), (8, 4, 8), (9, 4, 12)])
def test_rounding_goes_up_to_a_multiple(number, multiple, result):
    assert round_up(number, multiple) == result


def test_divisors_ascend():
    assert divisors(1) == [1] and divisors(13) == [1, 13] and divisors(12) == [1, 2, 3, 4, 6, 12]


def test_only_avx512_has_32_registers():
    assert [register_count(lanes) for lanes in LANES] == [16, 16, 32]


@given(geometries())
def test_an_axis_is_masked_where_some_window_sees_padding(geometry):
    for axis, is_masked in zip(geometry.window.axes, geometry.is_masked):
        positions = [at for output in range(axis.output) for at in seen(axis, output)]
        assert is_masked == (min(positions) < 0 or max(positions) >= axis.size)


@given(geometries())
def test_what_is_pooled_in_registers_is_neither_padded_nor_shared(geometry):
    assume(geometry.may_pool_in_registers)
    for axis in geometry.window.axes:
        positions = [at for output in range(axis.output) for at in seen(axis, output)]
        assert len(set(positions)) == len(positions)
        assert set(positions) <= set(range(axis.size))


@given(geometries(), st.integers(1, 50))
def test_the_convolutions_extent_is_what_the_first_windows_reach(geometry, pooled):
    """At least one value, though windows that see padding only reach none."""
    for number, axis in enumerate(geometry.window.axes):
        count = min(pooled, axis.output) if geometry.is_masked[number] else pooled
        reach = max(at for output in range(count) for at in seen(axis, output)) + 1
        clipped = max(1, min(reach, axis.size)) if geometry.is_masked[number] else reach
        assert geometry.conv_extent(number, count) == clipped


@given(geometries(), st.integers(1, 50))
def test_the_datas_extent_is_what_the_convolution_reads(geometry, outputs):
    conv = geometry.convolution
    for axis in (0, 1):
        taps = range(0, conv.kernel[axis] * conv.dilation[axis], conv.dilation[axis])
        last = (outputs - 1) * conv.strides[axis] + max(taps)
        assert geometry.data_extent(axis, outputs) == last + 1


@given(cuts())
def test_all_the_output_is_computed(cut):
    geometry, tile, _ = cut
    rounded = geometry.rounded_pooled(tile)
    assert all(wide >= exact for wide, exact in zip(rounded, geometry.pooled))
    assert rounded[0] % tile.rows == 0
    conv = geometry.rounded_conv(tile)
    for number, axis in enumerate(geometry.window.axes):
        reads = [at for output in range(axis.output) for at in seen(axis, output)]
        assert max(at for at in reads if at < axis.size) < conv[number]


@given(cuts())
def test_every_row_and_channel_block_belongs_to_one_task(cut):
    geometry, tile, _ = cut
    places = product(
        range(geometry.convolution.batch), range(geometry.pooled[0]), range(geometry.out_chunks)
    )
    tasks = {(item, row // tile.rows, chunk // tile.chunks) for item, row, chunk in places}
    assert geometry.tasks(tile) == len(tasks)


@given(cuts())
def test_a_convolution_that_reads_beyond_the_data_is_padded(cut):
    geometry, tile, _ = cut
    conv = geometry.convolution
    sizes, reads = (conv.height, conv.width), geometry.rounded_conv(tile)
    starts = [-pad for pad in conv.padding[:2]]
    ends = [geometry.data_extent(a, n) - conv.padding[a] for a, n in enumerate(reads)]
    is_beyond = min(starts) < 0 or any(end > size for end, size in zip(ends, sizes))
    assert geometry.needs_padding(tile) == is_beyond


@given(cuts())
def test_a_tile_never_spills(cut):
    """One register is left for the weights; a block that fills them all alone is as it is."""
    geometry, tile, lanes = cut
    vectors = -(-geometry.out_block // lanes)
    most = max(register_count(lanes) - 1, vectors)
    assert geometry.accumulators(tile, lanes) <= most


@given(cuts())
def test_a_register_tile_counts_the_sums_under_its_windows(cut):
    geometry, tile, lanes = cut
    vectors = -(-geometry.out_block // lanes)
    if not tile.in_registers:
        assert geometry.accumulators(tile, lanes) == tile.tile_cols * vectors
        return
    extents = []
    for axis, count in zip(geometry.window.axes, (tile.tile_rows, tile.tile_cols)):
        extents.append(max(at for output in range(count) for at in seen(axis, output)) + 1)
    assert geometry.accumulators(tile, lanes) == prod(extents) * vectors


@given(cuts())
def test_a_tile_divides_its_task_and_chunks_divide_the_channels(cut):
    geometry, tile, _ = cut
    assert tile.rows % tile.tile_rows == 0 and geometry.out_chunks % tile.chunks == 0
    assert tile.in_registers or tile.tile_rows == 1
    assert geometry.may_pool_in_registers or not tile.in_registers


@given(cuts())
def test_at_most_a_fifteenth_is_computed_beyond_the_edge(cut):
    """In each direction, in TVM's default blocks; columns of a strip are the convolution's."""
    geometry, tile, lanes = cut
    assume(geometry.out_block <= lanes)
    height, width = geometry.pooled
    columns = width if tile.in_registers else geometry.conv_extent(1, width)
    for extent, step in ((height, tile.rows), (columns, tile.tile_cols)):
        assert 15 * (round_up(extent, step) - extent) <= extent


@given(cuts())
def test_padding_once_is_offered_only_where_there_is_padding(cut):
    geometry, tile, _ = cut
    assert geometry.needs_padding(tile) or not tile.pad_once


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("window", [(1, 1), (2, 2), (3, 2), (3, 3)], ids=str)
def test_there_is_a_tile_for_every_extent(window, lanes):
    """Primes too; in channel blocks as TVM's default and the tuning space have them."""
    for columns in range(window[0], 120):
        for block in (1, lanes - 1, lanes, 2 * lanes):
            assert next(make_tiles(plain_geometry(columns, *window, block), lanes), None)


@pytest.mark.parametrize("block", [64, 128, 512])
def test_there_is_a_tile_for_wide_channel_blocks(block):
    """A tuned plain convolution may have any blocks, and the fused operator takes them over."""
    for columns in range(3, 60):
        assert next(make_tiles(plain_geometry(columns, 3, 2, block), 16), None), columns


def test_there_is_a_tile_for_a_large_batch():
    assert next(make_tiles(plain_geometry(8, batch=5000), 16), None)


@given(geometries(), st.sampled_from(LANES))
def test_tiles_are_distinct(geometry, lanes):
    tiles = list(make_tiles(geometry, lanes))
    assert len(set(tiles)) == len(tiles)
