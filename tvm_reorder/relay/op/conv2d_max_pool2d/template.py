"""The AutoTVM template: its knobs, its default configuration, its compute and its schedule."""

from __future__ import annotations

import itertools

import tvm
from tvm import autotvm, te
from tvm.autotvm.task.space import (
    ConfigEntity,
    FallbackConfigEntity,
    OtherOptionEntity,
    SplitEntity,
)
from tvm.target.x86 import get_simd_32bit_lanes
from tvm.topi.utils import get_const_tuple
from tvm.topi.x86.conv2d import _get_default_config, _pack_data

from ....core.cpu_model import CpuModel
from ....core.tiles import FusedGeometry, Tile, divisors
from .attributes import FusedAttributes, make_geometry
from .compute import TAG, compute_NCHWc
from .schedule_x86 import schedule_NCHWc
from .tuned import TASK, plain_workload, query

_TILES_PER_BLOCKING = 24  # the model's best for each choice of channel blocks
_LARGEST_IN_BLOCK = 64


@autotvm.register_topi_compute(TASK)
def conv2d_max_pool2d_NCHWc(cfg, data, kernel, *options):
    """The operator's tensor expression, for blocked (5-D, 6-D) or plain (4-D) data and kernel.

    `options` are those of `FusedAttributes.as_arguments`.  Plain tensors occur while tuning, where
    blocked placeholders take their place, and where AlterOpLayout does not run, where they are
    blocked inside the kernel.
    """
    attributes = FusedAttributes.from_arguments(get_const_tuple(kernel.shape), options)
    is_plain = len(data.shape) == 4
    if cfg.is_fallback and (is_plain or not _is_filled(cfg)):
        set_default_config(cfg, data, kernel, attributes)
    elif not isinstance(cfg, ConfigEntity):
        define_space(cfg, data, kernel, attributes)
    if is_plain:
        check_blocks(cfg, int(data.shape[1]), int(kernel.shape[0]))
        data, kernel = _blocked(cfg, data, kernel)
    geometry = make_geometry(get_const_tuple(data.shape), get_const_tuple(kernel.shape), attributes)
    _check_config(cfg, geometry)
    cfg.add_flop(2 * geometry.convolution.multiply_adds)
    result = compute_NCHWc(data, kernel, geometry, read_tile(cfg))
    return _unblocked(result) if is_plain and not autotvm.GLOBAL_SCOPE.in_tuning else result


@autotvm.register_topi_schedule(TASK)
def schedule_conv2d_max_pool2d_NCHWc(cfg, outs):
    """The schedule for what `conv2d_max_pool2d_NCHWc` computes and what is fused behind it."""
    outs = [outs] if isinstance(outs, te.Tensor) else list(outs)
    return schedule_NCHWc(
        outs, read_tile(cfg), cfg["tile_ic"].size[-1], bool(int(cfg["unroll_kw"].val))
    )


def set_default_config(cfg, data: te.Tensor, kernel: te.Tensor, attributes: FusedAttributes):
    """Fill a fallback configuration.

    The channel blocks and the order of summation are those the plain convolution would have, by
    its best tuning record if there is one: then neighbours share their layouts and the result is
    the plain convolution's, bit for bit.  The tile is the one the model expects to be the fastest.
    """
    data_shape, kernel_shape = (get_const_tuple(each.shape) for each in (data, kernel))
    if len(data_shape) == 5:
        in_block, out_block, unroll_kw = data_shape[4], kernel_shape[5], 0
    else:
        plain = find_plain_config(data, kernel, attributes)
        in_block, out_block, unroll_kw = read_blocking(plain)
    geometry = blocked_geometry(data_shape, kernel_shape, attributes, in_block, out_block)
    conv = geometry.convolution
    cfg["tile_ic"] = SplitEntity([conv.in_channels // in_block, in_block])
    cfg["tile_oc"] = SplitEntity([conv.channels // out_block, out_block])
    cfg["unroll_kw"] = OtherOptionEntity(unroll_kw)
    cfg["tile"] = SplitEntity(tile_numbers(make_model().best_tile(geometry)))


def define_space(cfg, data: te.Tensor, kernel: te.Tensor, attributes: FusedAttributes) -> None:
    """Define the knobs; all of them numbers, tiles that spill or waste are not among them.

    Parameters
    ----------
    cfg : ConfigSpace
        Receives the knobs.
    data, kernel : te.Tensor
        In NCHW and OIHW.
    attributes : FusedAttributes
        The operator's attributes.
    """
    channels, filters = int(data.shape[1]), int(kernel.shape[0])
    in_blocks = [b for b in reversed(divisors(channels)) if b <= _LARGEST_IN_BLOCK]
    out_blocks = _out_blocks(filters, make_model().lanes)
    unroll_kw = [0, 1] if int(kernel.shape[3]) > 1 else [0]
    blockings = list(itertools.product(in_blocks, out_blocks, unroll_kw))
    define_blocked_space(cfg, data, kernel, attributes, blockings, _TILES_PER_BLOCKING)


def define_blocked_space(
    cfg,
    data: te.Tensor,
    kernel: te.Tensor,
    attributes: FusedAttributes,
    blockings: list[tuple[int, int, int]],
    tiles: int,
) -> None:
    """Define the knobs for given blockings: channels of a block in and out, and ``unroll_kw``.

    `tiles` is how many of the model's best tiles each blocking gets.
    """
    shapes = [get_const_tuple(each.shape) for each in (data, kernel)]
    channels, filters = shapes[0][1], shapes[1][0]
    in_blocks, out_blocks, unroll_kw = (list(dict.fromkeys(column)) for column in zip(*blockings))
    model = make_model()
    candidates = dict.fromkeys(
        tuple(tile_numbers(tile))
        for out_block in out_blocks
        for tile in _best_tiles(model, *shapes, attributes, out_block, tiles)
    )
    _define(cfg, "tile_ic", [[channels // block, block] for block in in_blocks])
    _define(cfg, "tile_oc", [[filters // block, block] for block in out_blocks])
    cfg.define_knob("unroll_kw", unroll_kw)
    _define(cfg, "tile", [list(numbers) for numbers in candidates])
    cfg.multi_filter(lambda entity: _is_valid(entity, *shapes, attributes, blockings))


def _define(cfg, name: str, candidates: list[list[int]]) -> None:
    """A knob of several numbers; the first candidates of all knobs go together.

    AutoTVM runs the template on them when it collects the space.
    """
    cfg.define_split(
        name, 1, num_outputs=len(candidates[0]), policy="candidate", candidate=candidates
    )


def make_model() -> CpuModel:
    """The model for the target in scope, llvm if there is none, and TVM's number of threads."""
    with tvm.target.Target.current(allow_none=True) or tvm.target.Target("llvm"):
        lanes = get_simd_32bit_lanes()
    return CpuModel(threads=tvm.runtime.num_threads(), lanes=lanes)


def find_plain_config(data: te.Tensor, kernel: te.Tensor, attributes: FusedAttributes):
    """The configuration that the convolution alone would be built with."""
    found = query(plain_workload(data, kernel, attributes))
    return make_default_plain(data, kernel, attributes) if found.is_fallback else found


def make_default_plain(data: te.Tensor, kernel: te.Tensor, attributes: FusedAttributes):
    """The configuration that TVM gives a convolution which has not been tuned."""
    plain = FallbackConfigEntity()
    a = attributes
    _get_default_config(plain, data, kernel, a.strides, a.padding, a.dilation, a.out_dtype)
    return plain


def read_blocking(plain) -> tuple[int, int, int]:
    """Channels of a block in and out, and ``unroll_kw``, of a plain convolution's configuration."""
    in_block, out_block = (plain[name].size[-1] for name in ("tile_ic", "tile_oc"))
    try:
        return in_block, out_block, int(plain["unroll_kw"].val)
    except KeyError:  # those with a 1x1 kernel have no such knob
        return in_block, out_block, 0


def blocked_geometry(data, kernel, attributes, in_block, out_block) -> FusedGeometry:
    """The geometry of plain or blocked shapes under given channel blocks."""
    if len(data) == 5:
        return make_geometry(data, kernel, attributes)
    batch, channels, height, width = data
    blocked_data = (batch, channels // in_block, height, width, in_block)
    filters = (kernel[0] // out_block, channels // in_block, *kernel[2:], in_block, out_block)
    return make_geometry(blocked_data, filters, attributes)


def tile_numbers(tile: Tile) -> list[int]:
    """A tile as the numbers of a knob."""
    return [
        int(tile.in_registers),
        tile.rows,
        tile.tile_rows,
        tile.tile_cols,
        tile.chunks,
        int(tile.pad_once),
    ]


def read_tile(cfg) -> Tile:
    """The tile of a configuration."""
    in_registers, rows, tile_rows, tile_cols, chunks, pad_once = cfg["tile"].size
    return Tile(bool(in_registers), rows, tile_rows, tile_cols, chunks, bool(pad_once))


def _best_tiles(model, data, kernel, attributes, out_block, count):
    geometry = blocked_geometry(data, kernel, attributes, 1, out_block)
    return model.ranked_tiles(geometry)[:count]


def _out_blocks(filters: int, lanes: int) -> list[int]:
    """Whole vectors, up to two of them; else the widest part of one that divides the filters."""
    whole = [b for b in divisors(filters) if b % lanes == 0 and b <= 2 * lanes]
    return whole or [max(b for b in divisors(filters) if b <= lanes)]


def _is_valid(entity, data, kernel, attributes, blockings) -> bool:
    blocks = entity["tile_ic"].size[-1], entity["tile_oc"].size[-1]
    if (*blocks, int(entity["unroll_kw"].val)) not in blockings:
        return False
    return why_invalid(read_tile(entity), blocked_geometry(data, kernel, attributes, *blocks)) == ""


def why_invalid(tile: Tile, geometry: FusedGeometry) -> str:
    """Why a tile cannot cut a geometry; empty if it can."""
    if min(tile.rows, tile.tile_rows, tile.tile_cols, tile.chunks) < 1:
        return f"tile is {tile} but must be made of positive numbers"
    if tile.rows % tile.tile_rows:
        return f"rows is {tile.rows} but must be a multiple of tile_rows, {tile.tile_rows}"
    if geometry.out_chunks % tile.chunks:
        return f"chunks is {tile.chunks} but must divide the {geometry.out_chunks} channel blocks"
    if tile.in_registers and not geometry.may_pool_in_registers:
        return "in_registers is 1 but must be 0: windows overlap or see padding"
    if not tile.in_registers and tile.tile_rows != 1:
        return f"tile_rows is {tile.tile_rows} but must be 1 for a strip"
    if geometry.accumulators(tile, 16) > 64:
        return f"the register tile is {geometry.accumulators(tile, 16)} sums but must be at most 64"
    return ""


def check_blocks(cfg, channels: int, filters: int) -> None:
    """Refuse channel blocks that do not divide, from a log made for something else, say.

    Raises
    ------
    ValueError
        If a block is no divisor.
    """
    for name, extent in (("tile_ic", channels), ("tile_oc", filters)):
        block = cfg[name].size[-1]
        if block < 1 or extent % block:
            raise ValueError(f"{TASK}: {name} is {block} but must divide {extent} channels")


def _check_config(cfg, geometry: FusedGeometry) -> None:
    wanted = {"tile_ic": geometry.in_block, "tile_oc": geometry.out_block}
    for name, block in wanted.items():
        if cfg[name].size[-1] != block:
            raise ValueError(
                f"{TASK}: {name} is {cfg[name].size[-1]} but must be {block}, the tensor's block"
            )
    why = why_invalid(read_tile(cfg), geometry)
    if why:
        raise ValueError(f"{TASK}: {why}")


def _is_filled(cfg) -> bool:
    """True if AlterOpLayout has filled a fallback configuration already."""
    try:
        return bool(cfg["tile"].size)
    except KeyError:
        return False


def _blocked(cfg, data, kernel):
    """Plain tensors in blocks; while tuning, placeholders, because packing is not what is timed."""
    if not autotvm.GLOBAL_SCOPE.in_tuning:
        return _pack_data(cfg, data, kernel)
    in_block, out_block = cfg["tile_ic"].size[-1], cfg["tile_oc"].size[-1]
    batch, channels, height, width = get_const_tuple(data.shape)
    filters, _, kh, kw = get_const_tuple(kernel.shape)
    blocked = (batch, channels // in_block, height, width, in_block)
    weights = (filters // out_block, channels // in_block, kh, kw, in_block, out_block)
    return (
        te.placeholder(blocked, data.dtype, name="data"),
        te.placeholder(weights, kernel.dtype, name="kernel"),
    )


def _unblocked(result: te.Tensor) -> te.Tensor:
    batch, chunks, height, width, block = get_const_tuple(result.shape)
    return te.compute(
        (batch, chunks * block, height, width),
        lambda n, c, h, w: result[n, tvm.tir.indexdiv(c, block), h, w, tvm.tir.indexmod(c, block)],
        name="unpack",
        tag=f"injective,{TAG}_unpack",
    )
