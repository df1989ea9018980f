"""The schedule for x86: parallel tasks, pooling in registers or in a strip; see ``core/tiles.py``.

The innermost loops are those of TVM's own ``conv2d_avx_common``: a register tile of columns by one
block of output channels, unrolled, the block vectorised, the sum over (input block, kernel row,
kernel column, channel of the block) or, with `unroll_kw`, (.., channel, kernel column).
"""

from __future__ import annotations

from tvm import te
from tvm.topi import tag as topi_tag

from ....core.tiles import Tile
from .compute import TAG


def schedule_NCHWc(
    outs: list[te.Tensor], tile: Tile, in_block: int, unroll_kw: bool
) -> te.Schedule:
    """Schedule the pooled convolution and the elementwise operators fused behind it.

    Parameters
    ----------
    outs : list of te.Tensor
        The kernel's result.
    tile : Tile
        How it is cut.
    in_block : int
        Channels of a block of the data.
    unroll_kw : bool
        Put the kernel's columns innermost and unroll them.
    """
    out = outs[0]
    s = te.create_schedule(out.op)
    fused = _inline_behind(s, out)
    last = out if len(out.shape) == 5 else fused
    if fused != last:
        s[fused].compute_inline()
    pool = fused.op.input_tensors[0]
    conv = pool.op.input_tensors[0]
    task, block, tile_loop, in_tile = _split_tasks(s, last, tile)
    _schedule_pool(s, pool, s[last], tile_loop, in_tile)
    if tile.in_registers:
        s[conv].compute_at(s[last], tile_loop)
        _schedule_sum(s[conv], in_block, unroll_kw, unrolled_rows=True)
    else:
        _schedule_strip(s, conv, s[last], block, tile, in_block, unroll_kw)
    _schedule_padding(s, conv.op.input_tensors[0], s[last], task, tile)
    if last != out:
        s[out].parallel(s[out].fuse(*s[out].op.axis[:2]))
    return s


def _inline_behind(s, out) -> te.Tensor:
    """Inline what stands between the pooled convolution and the kernel's result."""
    pending, seen, fused = [out], set(), None
    while pending:
        tensor = pending.pop()
        if tensor.op in seen or not isinstance(tensor.op, te.ComputeOp):
            continue
        seen.add(tensor.op)
        if tensor.op.tag == TAG:
            fused = tensor
            continue
        if tensor != out and topi_tag.is_injective(tensor.op.tag):
            s[tensor].compute_inline()
        pending.extend(tensor.op.input_tensors)
    return fused


def _split_tasks(s, last, tile):
    """Loops of the result: tasks, channel blocks and rows of a task, register tiles."""
    batch, chunk, row, col, channel = s[last].op.axis
    chunk_group, chunk = s[last].split(chunk, factor=tile.chunks)
    row_group, row = s[last].split(row, factor=tile.rows)
    row, row_in_tile = s[last].split(row, factor=tile.tile_rows)
    cols = tile.tile_cols if tile.in_registers else int(last.shape[3])
    col, col_in_tile = s[last].split(col, factor=cols)
    s[last].reorder(
        batch, chunk_group, row_group, chunk, row, col, row_in_tile, col_in_tile, channel
    )
    task = s[last].fuse(batch, chunk_group, row_group)
    s[last].parallel(task)
    s[last].vectorize(channel)
    if tile.in_registers:
        s[last].unroll(row_in_tile)
        s[last].unroll(col_in_tile)
        return task, chunk, col, None
    return task, chunk, row, col_in_tile


def _schedule_pool(s, pool, last, tile_loop, in_tile) -> None:
    """The maximum: of a register tile at once, or of one pooled value after the other."""
    s[pool].compute_at(last, tile_loop if in_tile is None else in_tile)
    _, _, row, col, channel = s[pool].op.axis
    window = s[pool].op.reduce_axis
    s[pool].reorder(row, col, *window, channel)
    s[pool].vectorize(channel)
    for loop in (row, col, *window):
        s[pool].unroll(loop)


def _schedule_sum(stage, in_block, unroll_kw, unrolled_rows) -> None:
    """A register tile of sums, its loops as in ``conv2d_avx_common``."""
    _, chunk, row, col, channel = stage.op.axis
    ic, kh, kw = stage.op.reduce_axis
    ic_chunk, ic_block = stage.split(ic, factor=in_block)
    inner = (kh, ic_block, kw) if unroll_kw else (kh, kw, ic_block)
    outer = (chunk,) if unrolled_rows else (chunk, row)
    tile = (row, col) if unrolled_rows else (col,)
    stage.reorder(*outer, ic_chunk, *inner, *tile, channel)
    stage.vectorize(channel)
    for loop in (*tile, *((kw,) if unroll_kw else ())):
        stage.unroll(loop)


def _schedule_strip(s, conv, last, block, tile, in_block, unroll_kw) -> None:
    """The convolution under a task, one channel block at a time, in a buffer that stays in L2."""
    sums = s.cache_write(conv, "global")
    s[conv].compute_at(last, block)
    _, chunk, row, col, channel = s[conv].op.axis
    col, col_in_tile = s[conv].split(col, factor=tile.tile_cols)
    s[conv].reorder(chunk, row, col, col_in_tile, channel)
    s[conv].vectorize(channel)
    s[sums].compute_at(s[conv], col)
    _schedule_sum(s[sums], in_block, unroll_kw, unrolled_rows=False)


def _schedule_padding(s, data, last, task, tile) -> None:
    if not isinstance(data.op, te.ComputeOp) or data.op.name != "data_pad":
        return
    stage = s[data]
    stage.vectorize(stage.op.axis[-1])
    if tile.pad_once:
        stage.parallel(stage.fuse(*stage.op.axis[:3]))
    else:
        stage.compute_at(last, task)
