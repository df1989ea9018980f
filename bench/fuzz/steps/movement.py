"""Steps that only move values, or drop some: between the activations and the pool."""

from __future__ import annotations

from itertools import permutations
from math import factorial
from random import Random

import numpy as np
from tvm import relay

from ..value import Value, is_float
from .kind import Kind, Maker

_SPARE = "DHWN"  # what a new axis may mean
_MOST_AXES = 5
_BLOCKABLE = ("NCHW", "NHWC")
_TARGETS = ("NHWC", "NCHW", "NCHW4c", "NCHW2c", "NCW", "NWC", "NCDHW", "NDHWC")


def _build_reshape(maker: Maker, value: Value, parameters: dict) -> Value:
    shape, axes = _RESHAPES[parameters.get("how", "same")](value)
    return value.to(relay.reshape(value.expr, shape), axes)


def _merge(value: Value) -> tuple[list[int], str]:
    """The two innermost spatial axes as one: NCHW to NCW."""
    shape, axes, spatial = list(value.shape), value.axes, value.spatial
    if len(spatial) < 2 or spatial[-1] - spatial[-2] != 1:
        return shape, axes
    first, second = spatial[-2:]
    shape[first : second + 1] = [shape[first] * shape[second]]
    return shape, axes[:first] + axes[second:]


def _split(value: Value) -> tuple[list[int], str]:
    """A spatial axis as two: NCW to NCHW."""
    shape, axes, spatial = list(value.shape), value.axes, value.spatial
    spare = [letter for letter in "WHD" if letter not in axes]
    if not spatial or not spare or len(shape) == _MOST_AXES:
        return shape, axes
    last = spatial[-1]
    inner = 2 if shape[last] % 2 == 0 else 1
    shape[last : last + 1] = [shape[last] // inner, inner]
    return shape, axes[:last] + spare[0] + axes[last:]


def _same(value: Value) -> tuple[list[int], str]:
    return list(value.shape), value.axes


def _swap(value: Value) -> tuple[list[int], str]:
    """The spatial extents the other way round: windows see other values together."""
    shape = list(value.shape)
    for axis, extent in zip(value.spatial, [shape[axis] for axis in reversed(value.spatial)]):
        shape[axis] = extent
    return shape, value.axes


def _fold_batch(value: Value) -> tuple[list[int], str]:
    """The first two axes as one, behind a batch of 1."""
    shape = list(value.shape)
    if len(shape) < 2:
        return shape, value.axes
    return [1, shape[0] * shape[1], *shape[2:]], value.axes


def _spill_channels(value: Value) -> tuple[list[int], str]:
    """Half of the channels become rows: a window sees two of them."""
    shape = list(value.shape)
    channel, after = value.channel, value.channel + 1
    if after >= len(shape) or shape[channel] % 2:
        return shape, value.axes
    shape[channel], shape[after] = shape[channel] // 2, shape[after] * 2
    return shape, value.axes


_RESHAPES = {
    "same": _same,
    "merge": _merge,
    "split": _split,
    "swap": _swap,
    "fold_batch": _fold_batch,
    "spill_channels": _spill_channels,
}


def _build_transpose(maker: Maker, value: Value, parameters: dict) -> Value:
    rank = len(value.axes)
    orders = list(permutations(range(rank)))
    order = orders[parameters.get("order", 0) % len(orders)]
    axes = "".join(value.axes[axis] for axis in order)
    return value.to(relay.transpose(value.expr, order), axes)


def _build_layout_transform(maker: Maker, value: Value, parameters: dict) -> Value:
    """To one of the other layouts of the same axes, with channels in blocks or without."""
    source, axes = value.layout, sorted(value.axes.replace("c", ""))
    targets = [each for each in _TARGETS if sorted(each.rstrip("24c")) == axes and each != source]
    targets = [each for each in targets if not (each.endswith("c") and "c" in value.axes)]
    if not targets:
        return value
    target = targets[parameters.get("to", 0) % len(targets)]
    expr = relay.layout_transform(value.expr, source, target)
    return value.to(expr, "".join(letter for letter in target if letter.isalpha()))


def _build_squeeze(maker: Maker, value: Value, parameters: dict) -> Value:
    """Without its first axis of extent 1."""
    if 1 not in value.shape or len(value.axes) == 1:
        return value
    axis = value.shape.index(1)
    axes = value.axes[:axis] + value.axes[axis + 1 :]
    return value.to(relay.squeeze(value.expr, axis=[axis]), axes)


def _build_expand_dims(maker: Maker, value: Value, parameters: dict) -> Value:
    spare = [letter for letter in _SPARE if letter not in value.axes]
    if not spare or len(value.axes) >= _MOST_AXES:
        return value
    axis = parameters.get("axis", 0) % (len(value.axes) + 1)
    letter = spare[parameters.get("letter", 0) % len(spare)]
    axes = value.axes[:axis] + letter + value.axes[axis:]
    return value.to(relay.expand_dims(value.expr, axis), axes)


def _build_reverse(maker: Maker, value: Value, parameters: dict) -> Value:
    return value.to(relay.reverse(value.expr, parameters.get("axis", 0) % len(value.axes)))


def _build_space_to_depth(maker: Maker, value: Value, parameters: dict) -> Value:
    if value.axes not in _BLOCKABLE or any(value.shape[axis] % 2 for axis in value.spatial):
        return value
    return value.to(relay.nn.space_to_depth(value.expr, 2, value.layout))


def _build_depth_to_space(maker: Maker, value: Value, parameters: dict) -> Value:
    if value.axes not in _BLOCKABLE or value.shape[value.channel] % 4:
        return value
    return value.to(relay.nn.depth_to_space(value.expr, 2, value.layout))


def _build_strided_slice(maker: Maker, value: Value, parameters: dict) -> Value:
    """All but what `begin` and `end` leave out of an axis, or every second one, or backwards.

    It may be said of any axis, or of the first ones in order; by sizes, or counted from the end.
    """
    rank, form = len(value.axes), parameters.get("form", "axes")
    last = parameters.get("axis", 0) % rank
    axes = [last] if form == "axes" else list(range(last + 1))
    stride, begins, ends = parameters.get("stride", 1), [], []
    for extent in (value.shape[axis] for axis in axes):
        begin = parameters.get("begin", 0) % extent
        end = max(begin + 1, extent - parameters.get("end", 0))
        if stride < 0:
            begin, end = end - 1, begin - 1 - extent
        elif form == "from the end":
            begin, end = begin - extent, end - extent or extent
        elif form == "size":
            end -= begin
        begins.append(begin)
        ends.append(end)
    options = {"axes": axes} if form == "axes" else {}
    if form == "size":
        options["slice_mode"] = "size"
        stride = 1
    return value.to(relay.strided_slice(value.expr, begins, ends, [stride] * len(axes), **options))


def _build_take(maker: Maker, value: Value, parameters: dict) -> Value:
    """Some of an axis by constant indices, as many at most; or of the values laid out in a row."""
    axis, mode = parameters.get("axis", 0) % len(value.axes), parameters.get("mode", "clip")
    form, indices = parameters.get("form", "axis"), parameters.get("indices", [0])
    extent = value.shape[axis]
    if form == "flat":
        whole = np.arange(int(np.prod(value.shape))).reshape(value.shape)
        places = np.take(whole, np.array(indices) % extent, axis)
        return value.to(relay.take(value.expr, relay.const(places, "int32"), mode=mode))
    if mode == "fast":  # which reads whatever stands there
        indices = [index % extent for index in indices]
    indices = np.array(indices[:extent], "int32")
    if form == "batched":
        axis = max(axis, 1) if len(value.axes) > 1 else 0
        batch = value.shape[0] if axis else 0
        if not batch:
            return value
        each = np.tile(indices[: value.shape[axis]] % value.shape[axis], (batch, 1))
        return value.to(relay.take(value.expr, relay.const(each), axis, 1, mode))
    return value.to(relay.take(value.expr, relay.const(indices), axis, mode=mode))


def _build_tile(maker: Maker, value: Value, parameters: dict) -> Value:
    axis = parameters.get("axis", 0) % len(value.axes)
    return value.to(relay.tile(value.expr, [1 + (n == axis) for n in range(len(value.axes))]))


def _build_repeat(maker: Maker, value: Value, parameters: dict) -> Value:
    return value.to(relay.repeat(value.expr, 2, parameters.get("axis", 0) % len(value.axes)))


def _build_upsampling(maker: Maker, value: Value, parameters: dict) -> Value:
    if value.axes not in _BLOCKABLE:
        return value
    return value.to(relay.nn.upsampling(value.expr, 2, 2, value.layout))


def _build_batch_flatten(maker: Maker, value: Value, parameters: dict) -> Value:
    return value.to(relay.nn.batch_flatten(value.expr), "NW") if len(value.axes) > 1 else value


def _build_broadcast_to(maker: Maker, value: Value, parameters: dict) -> Value:
    """A batch of 1 as one of 2."""
    shape = (2 if value.shape[0] == 1 else value.shape[0], *value.shape[1:])
    return value.to(relay.broadcast_to(value.expr, shape))


def _build_part(maker: Maker, value: Value, parameters: dict) -> Value:
    """One half of a split, if the axis can be halved."""
    axis = parameters.get("axis", 0) % len(value.axes)
    if value.shape[axis] % 2:
        return value
    return value.to(relay.split(value.expr, 2, axis)[parameters.get("half", 0) % 2])


def _draw_axis(random: Random, dtype: str) -> dict:
    return {"axis": random.randint(0, 4)}


def _draw_take(random: Random, dtype: str) -> dict:
    return {
        "axis": random.randint(0, 4),
        "indices": [random.randint(-2, 5) for _ in range(random.randint(1, 6))],
        "mode": random.choice(("clip", "clip", "wrap", "fast")),
        "form": random.choice(("axis", "axis", "axis", "flat", "batched")),
    }


def _is_any(dtype: str) -> bool:
    return True


MOVEMENT: dict[str, Kind] = {
    "reshape": Kind(
        _build_reshape, lambda r, d: {"how": r.choice(sorted(_RESHAPES))}, _is_any, weight=8
    ),
    "transpose": Kind(
        _build_transpose,
        lambda r, d: {"order": r.randint(0, factorial(_MOST_AXES) - 1)},
        _is_any,
        weight=5,
    ),
    "layout_transform": Kind(
        _build_layout_transform,
        lambda r, d: {"to": r.randint(0, 5)},
        _is_any,
        weight=6,
    ),
    "squeeze": Kind(_build_squeeze, takes=_is_any, weight=3),
    "expand_dims": Kind(
        _build_expand_dims,
        lambda r, d: {"axis": r.randint(0, 4), "letter": r.randint(0, 3)},
        _is_any,
        weight=3,
    ),
    "reverse": Kind(_build_reverse, _draw_axis, _is_any, weight=3),
    "nn.space_to_depth": Kind(_build_space_to_depth, takes=_is_any),
    "nn.depth_to_space": Kind(_build_depth_to_space, takes=_is_any),
    "strided_slice": Kind(
        _build_strided_slice,
        lambda r, d: {
            "axis": r.randint(0, 4),
            "begin": r.randint(0, 1),
            "end": r.randint(0, 1),
            "stride": r.choice((1, 1, 2, -1, -2)),
            "form": r.choice(("axes", "axes", "first axes", "from the end", "size")),
        },
        _is_any,
        weight=4,
    ),
    "take": Kind(_build_take, _draw_take, _is_any, weight=4),
    "tile": Kind(_build_tile, _draw_axis, _is_any, weight=1),
    "repeat": Kind(_build_repeat, _draw_axis, _is_any, weight=1),
    "nn.upsampling": Kind(_build_upsampling, takes=is_float, weight=1),
    "nn.batch_flatten": Kind(_build_batch_flatten, takes=_is_any, weight=1),
    "broadcast_to": Kind(_build_broadcast_to, takes=_is_any),
    "part": Kind(
        _build_part, lambda r, d: {"axis": r.randint(0, 4), "half": r.randint(0, 1)}, _is_any
    ),
}
