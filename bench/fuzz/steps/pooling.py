"""Paddings, max pools, maxima over axes, and average pools."""

from __future__ import annotations

from functools import partial
from random import Random

import numpy as np
from tvm import relay

from ..value import Value, is_float, is_number
from .constants import draw_number, make_scalar
from .kind import Kind, Maker

_RANKS = 3
_POOLS = {1: "1d", 2: "2d", 3: "3d"}
PAD_MODES = ("constant", "edge", "reflect")


def _per_axis(parameters: dict, name: str, plain: int, rank: int) -> list[int]:
    """A parameter for each spatial axis."""
    given = parameters.get(name, [plain])
    return [given[n % len(given)] for n in range(rank)]


def _fit(value: Value, parameters: dict) -> dict:
    """The geometry of a pool, made to fit what it pools."""
    rank = len(value.spatial)
    before, after = (_per_axis(parameters, side, 0, rank) for side in ("before", "after"))
    kernel = _per_axis(parameters, "kernel", 2, rank)
    dilation = _per_axis(parameters, "dilation", 1, rank)
    for n, axis in enumerate(value.spatial):
        if value.shape[axis] + before[n] + after[n] < 1:
            before[n] = after[n] = 0
        room = value.shape[axis] + before[n] + after[n]
        if (kernel[n] - 1) * dilation[n] + 1 > room:
            dilation[n], kernel[n] = 1, min(kernel[n], room)
    return {
        "pool_size": kernel,
        "strides": _per_axis(parameters, "strides", 2, rank),
        "dilation": dilation,
        "padding": before + after,
        "ceil_mode": parameters.get("ceil_mode", False),
        "layout": value.layout,
    }


def _check(call: relay.Call, value: Value) -> relay.Call:
    if min(value.to(call).shape) < 1:
        raise ValueError("a pool leaves nothing")
    return call


def _build_max_pool(maker: Maker, value: Value, parameters: dict) -> Value:
    if not value.is_poolable:
        return _build_max(maker, value, {})
    pool = getattr(relay.nn, f"max_pool{_POOLS[len(value.spatial)]}")
    geometry = _fit(value, parameters)
    return value.to(maker.mark_pool(_check(pool(value.expr, **geometry), value)))


def _build_average_pool(maker: Maker, value: Value, parameters: dict) -> Value:
    if not value.is_poolable:
        return value
    geometry = _fit(value, parameters)
    pool = getattr(relay.nn, f"avg_pool{_POOLS[len(value.spatial)]}")
    return value.to(_check(pool(value.expr, **geometry), value))


def _build_adaptive(what: str, maker: Maker, value: Value, parameters: dict) -> Value:
    if not value.is_poolable:
        return _build_max(maker, value, {}) if what == "max" else value
    rank = len(value.spatial)
    wanted = _per_axis(parameters, "output", 1, rank)
    output = [min(n, value.shape[axis]) for n, axis in zip(wanted, value.spatial)]
    pool = getattr(relay.nn, f"adaptive_{what}_pool{_POOLS[rank]}")
    call = pool(value.expr, tuple(output), value.layout)
    return value.to(maker.mark_pool(call) if what == "max" else call)


def _build_global(what: str, maker: Maker, value: Value, parameters: dict) -> Value:
    if len(value.spatial) != 2 or not value.is_poolable:
        return _build_adaptive(what, maker, value, {})
    call = getattr(relay.nn, f"global_{what}_pool2d")(value.expr, value.layout)
    return value.to(maker.mark_pool(call) if what == "max" else call)


def _build_max(maker: Maker, value: Value, parameters: dict) -> Value:
    """A maximum over axes: the spatial ones unless others are given."""
    rank = len(value.axes)
    if rank == 0:
        return value
    given = parameters.get("axes")
    axes = sorted({axis % rank for axis in given} if given else value.spatial) or [rank - 1]
    rest = [axis for axis in range(rank) if axis not in axes]
    form = parameters.get("form", "list")
    is_all = form == "none" or not rest
    reduced = list(range(rank)) if is_all else axes
    axis, exclude = reduced, False
    if form == "exclude" and not is_all:
        axis, exclude = rest, True
    if form == "negative" and not is_all:
        axis = [each - rank for each in reduced]
    if form == "int":
        reduced = reduced[-1:]
        axis = reduced[0]
    keepdims = parameters.get("keepdims", False)
    call = relay.max(value.expr, None if is_all and form == "none" else axis, keepdims, exclude)
    letters = [a for n, a in enumerate(value.axes) if keepdims or n not in reduced]
    return value.to(maker.mark_pool(call), "".join(letters))


def _draw_geometry(random: Random, dtype: str) -> dict:
    kernel = [random.choice((1, 2, 2, 3, 3)) for _ in range(_RANKS)]
    drawn = {"kernel": kernel, "strides": [random.choice((1, 2, 2, 2, 3)) for _ in range(_RANKS)]}
    if random.random() < 0.2:
        drawn["dilation"] = [random.choice((1, 1, 2)) for _ in range(_RANKS)]
    if random.random() < 0.35:
        drawn |= draw_padding(random, kernel)
    if random.random() < 0.25:
        drawn["ceil_mode"] = True
    return drawn


def draw_padding(random: Random, kernel: list[int]) -> dict:
    """A pool's own padding: mostly so that each window sees something, seldom a crop."""
    lowest = -1 if random.random() < 0.1 else 0
    more = 1 if random.random() < 0.1 else 0
    return {
        side: [random.randint(lowest, max(0, k - 1) + more) for k in kernel]
        for side in ("before", "after")
    }


def _draw_output(random: Random, dtype: str) -> dict:
    return {"output": [random.randint(1, 3) for _ in range(_RANKS)]}


def _draw_axes(random: Random, dtype: str) -> dict:
    form = random.choice(("list", "list", "exclude", "negative", "int", "none"))
    drawn = {"form": form, "keepdims": random.random() < 0.5}
    if random.random() < 0.5:
        drawn["axes"] = [random.randint(0, 4) for _ in range(random.randint(1, 3))]
    return drawn


POOLS: dict[str, Kind] = {
    "max_pool": Kind(_build_max_pool, _draw_geometry, lambda d: True, weight=24),
    "global_max_pool": Kind(partial(_build_global, "max"), takes=lambda d: True, weight=2),
    "adaptive_max_pool": Kind(partial(_build_adaptive, "max"), _draw_output, lambda d: True),
    "max": Kind(_build_max, _draw_axes, is_number, weight=4),
}
AVERAGES: dict[str, Kind] = {
    "avg_pool": Kind(_build_average_pool, _draw_geometry, is_float, weight=4),
    "global_avg_pool": Kind(partial(_build_global, "avg"), weight=2),
    "adaptive_avg_pool": Kind(partial(_build_adaptive, "avg"), _draw_output),
}


# --- explicit paddings ---------------------------------------------------------------------------

PAD_VALUES = ("lowest", "-inf", "highest", "inf")


def make_pad_value(given, dtype: str) -> relay.Expr:
    """A number, the lowest or the highest finite one of a dtype, or an infinity."""
    if given not in PAD_VALUES or not is_float(dtype):
        given = {"lowest": -1e30, "-inf": -1e30, "highest": 1e30, "inf": 1e30}.get(given, given)
        return make_scalar(given, dtype)
    if given in ("lowest", "highest"):
        return make_scalar(-1e400 if given == "lowest" else 1e400, dtype)
    number = -np.inf if given == "-inf" else np.inf
    if dtype == "bfloat16":
        return relay.const(number, "float32").astype(dtype)
    return relay.const(np.asarray(number, dtype), dtype)


def _build_pad(maker: Maker, value: Value, parameters: dict) -> Value:
    mode = parameters.get("mode", "constant")
    widths = [[0, 0] for _ in value.axes]
    given = parameters.get("widths", [[1, 1]])
    for n, axis in enumerate(value.spatial):
        widths[axis] = _fit_width(given[n % len(given)], value.shape[axis], mode)
    if "channels" in parameters:
        axis = value.channel
        widths[axis] = _fit_width(parameters["channels"], value.shape[axis], mode)
    pad = relay.nn.pad(value.expr, widths, make_pad_value(parameters.get("value", 0), value.dtype))
    if mode != "constant":
        pad = relay.nn.pad(value.expr, widths, pad_mode=mode)
    return value.to(pad)


def _fit_width(width: list[int], extent: int, mode: str) -> list[int]:
    """Widths that leave something of an axis, and of which a reflection is defined.

    Where values are repeated TVM reads beyond the tensor's end for a crop on one side.
    """
    most = extent - 1 if mode == "reflect" else 3
    before, after = (min(each, most) for each in width)
    if mode != "constant":
        return [max(before, 0), max(after, 0)]
    before = max(before, 1 - extent)
    return [before, max(after, 1 - extent - min(before, 0))]


def _draw_pad(random: Random, dtype: str) -> dict:
    lowest, highest = random.choice((0, -1, -3)), random.choice((1, 1, 2, 3))
    widths = [[random.randint(lowest, highest) for _ in range(2)] for _ in range(_RANKS)]
    mode = random.choices(PAD_MODES, (8, 1, 1))[0]
    drawn: dict = {"widths": widths}
    if mode != "constant":
        drawn["mode"] = mode
    else:
        kinds = ("lowest", "-inf", "lowest", "-inf", 0.0, 0.0, "highest", "inf")
        drawn["value"] = random.choice((*kinds, draw_number(random, dtype)))
    if random.random() < 0.05:
        drawn["channels"] = [random.randint(-1, 1), random.randint(0, 1)]
    return drawn


PADS: dict[str, Kind] = {"nn.pad": Kind(_build_pad, _draw_pad, is_number)}
