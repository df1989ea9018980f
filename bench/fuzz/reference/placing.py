"""Operators that move values about, pad, or take the largest of some: index by index."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import numpy as np
from tvm import relay

from .bounds import Bounds, error_of, exact, largest, lowest, settle
from .elementwise import dtype_of, shape_of

Array = np.ndarray
Mover = Callable[[relay.Call, Array], Array]


# --- layouts -------------------------------------------------------------------------------------


def _letters(layout: str) -> list[str]:
    return re.findall("[A-Za-z]", layout)


def to_plain(array: Array, layout: str, order: str) -> Array:
    """An array in a layout, its blocks put together, with the axes in this order."""
    letters = _letters(layout)
    for letter in order:
        axes = [n for n, each in enumerate(letters) if each.upper() == letter]
        if len(axes) == 2:
            outer, inner = axes
            array = np.moveaxis(array, inner, outer + 1)
            letters.insert(outer + 1, letters.pop(inner))
            shape = array.shape
            array = array.reshape(*shape[:outer], -1, *shape[outer + 2 :])
            letters.pop(outer + 1)
    return array.transpose([letters.index(letter) for letter in order])


def from_plain(array: Array, order: str, layout: str) -> Array:
    """The reverse of `to_plain`; TVM fills a block that is not full with zeros."""
    blocks = {letter: int(n) for n, letter in re.findall("([0-9]+)([a-z])", layout)}
    letters = list(order)
    for letter, block in blocks.items():
        axis = letters.index(letter.upper())
        missing = -array.shape[axis] % block
        array = np.pad(array, [(0, missing * (n == axis)) for n in range(array.ndim)])
        shape = array.shape
        array = array.reshape(*shape[:axis], shape[axis] // block, block, *shape[axis + 1 :])
        letters.insert(axis + 1, letter)
    return array.transpose([letters.index(letter) for letter in _letters(layout)])


def primal(layout: str) -> str:
    """The axes of a layout without its blocks."""
    return "".join(letter for letter in _letters(layout) if letter.isupper())


# --- moves ---------------------------------------------------------------------------------------


def _reshape(call: relay.Call, x: Array) -> Array:
    return x.reshape(shape_of(call))


def _transpose(call: relay.Call, x: Array) -> Array:
    axes = call.attrs.axes
    return x.transpose(None if axes is None else [int(axis) for axis in axes])


def _layout_transform(call: relay.Call, x: Array) -> Array:
    source, target = str(call.attrs.src_layout), str(call.attrs.dst_layout)
    order = primal(source)
    return from_plain(to_plain(x, source, order), order, target)


def _space_to_depth(call: relay.Call, x: Array) -> Array:
    block, layout = int(call.attrs.block_size), str(call.attrs.layout)
    n, c, h, w = (plain := to_plain(x, layout, "NCHW")).shape
    parts = plain.reshape(n, c, h // block, block, w // block, block)
    depth = parts.transpose(0, 3, 5, 1, 2, 4).reshape(n, -1, h // block, w // block)
    return from_plain(depth, "NCHW", layout)


def _depth_to_space(call: relay.Call, x: Array) -> Array:
    block, layout = int(call.attrs.block_size), str(call.attrs.layout)
    n, c, h, w = (plain := to_plain(x, layout, "NCHW")).shape
    is_dcr = str(call.attrs.mode) == "DCR"
    shape = (n, block, block, -1, h, w) if is_dcr else (n, -1, block, block, h, w)
    order = (0, 3, 4, 1, 5, 2) if is_dcr else (0, 1, 4, 2, 5, 3)
    space = plain.reshape(shape).transpose(order).reshape(n, -1, h * block, w * block)
    return from_plain(space, "NCHW", layout)


def _strided_slice(call: relay.Call, x: Array) -> Array:
    attrs = call.attrs
    begin, end = ([int(n) for n in each] for each in (attrs.begin, attrs.end))
    strides = [int(n) for n in attrs.strides] if attrs.strides is not None else []
    strides = [strides[n] if n < len(strides) else 1 for n in range(len(begin))]
    axes = range(len(begin)) if attrs.axes is None else [int(axis) for axis in attrs.axes]
    slices = [slice(None)] * x.ndim
    for axis, low, high, stride in zip(axes, begin, end, strides):
        if str(attrs.slice_mode) == "size":
            high, stride = (x.shape[axis] if high < 0 else low + high), 1
        is_all = stride < 0 and high < -x.shape[axis]
        slices[axis] = slice(low, None if is_all else high, stride)
    return x[tuple(slices)]


def _take(call: relay.Call, x: Array) -> Array:
    """By constant indices; ``fast`` ones are inside."""
    mode, axis = str(call.attrs.mode), call.attrs.axis
    indices = call.args[1].data.numpy()
    mode = "wrap" if mode == "wrap" else "clip"
    if int(call.attrs.batch_dims):
        pairs = zip(x, indices)
        return np.stack([np.take(a, i, int(axis) - 1, mode=mode) for a, i in pairs])
    return np.take(x, indices, None if axis is None else int(axis), mode=mode)


def _repeat(call: relay.Call, x: Array) -> Array:
    return np.repeat(x, int(call.attrs.repeats), int(call.attrs.axis))


def _upsample(call: relay.Call, x: Array) -> Array:
    """To the nearest, by a whole number."""
    letters = _letters(str(call.attrs.layout))
    x = np.repeat(x, int(call.attrs.scale_h), letters.index("H"))
    return np.repeat(x, int(call.attrs.scale_w), letters.index("W"))


MOVES: dict[str, Mover] = {
    **dict.fromkeys(("reshape", "squeeze", "expand_dims", "nn.batch_flatten"), _reshape),
    "transpose": _transpose,
    "layout_transform": _layout_transform,
    "reverse": lambda call, x: np.flip(x, int(call.attrs.axis)),
    "nn.space_to_depth": _space_to_depth,
    "nn.depth_to_space": _depth_to_space,
    "strided_slice": _strided_slice,
    "take": _take,
    "tile": lambda call, x: np.tile(x, [int(n) for n in call.attrs.reps]),
    "repeat": _repeat,
    "nn.upsampling": _upsample,
    **dict.fromkeys(
        ("broadcast_to", "broadcast_to_like"), lambda call, x: np.broadcast_to(x, shape_of(call))
    ),
}


def split(call: relay.Call, x: Array) -> list[Array]:
    """The parts of a split."""
    where, axis = call.attrs.indices_or_sections, int(call.attrs.axis)
    is_list = hasattr(where, "__len__")
    return np.split(x, [int(n) for n in where] if is_list else int(where), axis)


# --- windows -------------------------------------------------------------------------------------


def pad(call: relay.Call, x: Array, value: Array | float) -> Array:
    """An explicit padding: a negative width crops.

    A reflection or an edge is one of the whole tensor, also where the other side of it is cropped.
    """
    mode = str(call.attrs.pad_mode)
    for axis, (before, after) in enumerate(call.attrs.pad_width):
        extent = x.shape[axis]
        places = np.arange(-int(before), extent + int(after))
        inside = (places >= 0) & (places < extent)
        if mode == "reflect":
            places = np.abs(places)
            places = np.where(places >= extent, 2 * (extent - 1) - places, places)
        taken = np.take(x, np.clip(places, 0, extent - 1), axis)
        if mode == "constant":
            shape = [1] * x.ndim
            shape[axis] = -1
            taken = np.where(inside.reshape(shape), taken, value)
        x = taken
    return x


def join(call: relay.Call, parts: list[Array]) -> Array:
    """A ``concatenate`` or a ``stack`` of the parts."""
    together = np.stack if call.op.name == "stack" else np.concatenate
    return together(parts, int(call.attrs.axis))


def find_windows(call: relay.Call) -> tuple[list[int], list[list[np.ndarray]]]:
    """The axes that a pool goes over and, for each, what each window reads of it.

    A pool's attributes are those of depth, height and width, wherever the layout has these axes.
    """
    letters = _letters(str(call.attrs.layout))
    axes = [letters.index(letter) for letter in "DHW" if letter in letters]
    before, after = shape_of(call.args[0]), shape_of(call)
    sizes = [(before[axis], after[axis]) for axis in axes]
    if not hasattr(call.attrs, "pool_size"):
        return axes, [
            [np.arange(i * n // m, -(-(i + 1) * n // m)) for i in range(m)] for n, m in sizes
        ]
    rank = len(axes)
    kernel, strides, dilation, padding = (
        _per_axis(getattr(call.attrs, name), rank)
        for name in ("pool_size", "strides", "dilation", "padding")
    )
    windows = []
    for k, stride, step, first, (size, count) in zip(kernel, strides, dilation, padding, sizes):
        starts = np.arange(count) * stride - first
        reads = [start + np.arange(k) * step for start in starts]
        windows.append([each[(each >= 0) & (each < size)] for each in reads])
    return axes, windows


def _per_axis(values, rank: int) -> list[int]:
    numbers = [int(value) for value in values] if hasattr(values, "__len__") else [int(values)]
    return numbers * rank if len(numbers) == 1 else numbers


def reduce_windows(call: relay.Call, x: Array, reduce, empty) -> Array:
    """What a reduction makes of each window of a pool, axis by axis.

    Parameters
    ----------
    call : relay.Call
        The pool, or a ``max`` over axes.
    x : numpy.ndarray
        What it pools.
    reduce : callable
        ``np.max``, ``np.sum``, ``np.any`` or ``np.all``.
    empty : number
        The result for a window without anything in it.
    """
    if not hasattr(call.attrs, "layout"):
        return reduce(x, axis=reduced_axes(call), keepdims=bool(call.attrs.keepdims))
    for axis, windows in zip(*find_windows(call)):
        parts = [
            reduce(np.take(x, reads, axis), axis=axis, keepdims=True)
            if reads.size
            else np.full_like(np.take(x, [0], axis), empty)
            for reads in windows
        ]
        x = np.concatenate(parts, axis)
    return x


def reduced_axes(call: relay.Call) -> tuple[int, ...]:
    """The axes that a reduction goes over."""
    rank, axis = len(call.args[0].checked_type.shape), call.attrs.axis
    if axis is None:
        return tuple(range(rank))
    listed = axis if hasattr(axis, "__len__") else [axis]
    named = {int(each) % rank for each in listed}
    return tuple(n for n in range(rank) if (n in named) != bool(call.attrs.exclude))


def _max_pool(call: relay.Call, x: Bounds) -> Bounds:
    """The largest of a window, and never below the lowest finite value, from which TVM starts.

    Of bfloat16 that is float32's, which bfloat16 rounds to an infinity.
    """
    least = lowest(dtype_of(call))
    result = x.moved(partial(reduce_windows, call, reduce=np.max, empty=least))
    opened = reduce_windows(call, x.is_open, np.any, False)
    low, high = np.maximum(result.low, least), np.maximum(result.high, least)
    if dtype_of(call) == "bfloat16":
        low = np.where(low == least, -np.inf, low)
    return Bounds(low, high).opened(opened)


def _min(call: relay.Call, x: Bounds) -> Bounds:
    """The smallest of some axes, and never above the largest finite value."""
    most = largest(dtype_of(call))
    result = x.moved(partial(reduce_windows, call, reduce=np.min, empty=most))
    low, high = np.minimum(result.low, most), np.minimum(result.high, most)
    if dtype_of(call) == "bfloat16":
        high = np.where(high == most, np.inf, high)
    return Bounds(low, high).opened(reduce_windows(call, x.is_open, np.any, False))


def add_up(call: relay.Call, x: Bounds, dtype: str) -> tuple[Bounds, Array]:
    """The sums of windows, and how many values each has."""
    total = partial(reduce_windows, call, reduce=np.sum, empty=0)
    with np.errstate(all="ignore"):
        count = total(np.ones(x.shape))
        sizes = total(np.maximum(abs(x.low), abs(x.high)))
        low, high = total(x.low), total(x.high)
        error = (count + 2) * sizes * 2 * error_of(dtype)[0]
        return settle(low - error, high + error, dtype).opened(
            reduce_windows(call, x.is_open, np.any, False)
        ), count


def _average_pool(call: relay.Call, x: Bounds) -> Bounds:
    """The mean of what a window sees of the tensor itself."""
    dtype = dtype_of(call)
    total, count = add_up(call, x, dtype)
    if getattr(call.attrs, "count_include_pad", False):
        count = np.full(count.shape, np.prod([int(k) for k in call.attrs.pool_size]))
    with np.errstate(all="ignore"):
        return settle(total.low / count, total.high / count, dtype, 2)


def _sum(call: relay.Call, x: Bounds) -> Bounds:
    return add_up(call, x, dtype_of(call))[0]


def _mean(call: relay.Call, x: Bounds) -> Bounds:
    dtype = dtype_of(call)
    total, count = add_up(call, x, dtype)
    return settle(total.low / count, total.high / count, dtype, 2)


def _softmax(call: relay.Call, x: Bounds) -> Bounds:
    """e^x over the sum of e^x along an axis: it rises with its own x and falls with the others."""
    axis, dtype = int(call.attrs.axis), dtype_of(call)
    with np.errstate(all="ignore"):
        top = np.max(x.high, axis, keepdims=True)
        low, high = np.exp(x.low - top), np.exp(x.high - top)
        least, most = (np.sum(each, axis, keepdims=True) for each in (low, high))
        result = settle(low / (low + most - high), high / (high + least - low), dtype, 32)
    return result.opened(~np.isfinite(x.low + x.high).all(axis, keepdims=True))


def _pad(call: relay.Call, x: Bounds, value: Bounds | None = None) -> Bounds:
    value = exact(np.asarray(0.0)) if value is None else value
    return Bounds(pad(call, x.low, value.low), pad(call, x.high, value.high))


_RANKS = ("1d", "2d", "3d")
MAX_POOLS = ("max", "nn.global_max_pool2d") + tuple(
    f"nn.{kind}max_pool{rank}" for kind in ("", "adaptive_") for rank in _RANKS
)
_AVERAGES = ("nn.global_avg_pool2d",) + tuple(
    f"nn.{kind}avg_pool{rank}" for kind in ("", "adaptive_") for rank in _RANKS
)
WINDOWS: dict[str, Callable[..., Bounds]] = {
    **dict.fromkeys(MAX_POOLS, _max_pool),
    **dict.fromkeys(_AVERAGES, _average_pool),
    "min": _min,
    "sum": _sum,
    "mean": _mean,
    "nn.softmax": _softmax,
    "nn.pad": _pad,
}
