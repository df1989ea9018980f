"""Convolutions, dense layers and their like: what a chain of activations usually stands on.

The weights are drawn from a seed of the step's own when it is built.  The extents of the window
stay as they are unless the step strides, so that producers may stand on branches that are joined.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
from tvm import relay

from ..value import Value
from .kind import Kind, Maker

_CONVOLUTIONS = {
    1: (relay.nn.conv1d, relay.nn.conv1d_transpose),
    2: (relay.nn.conv2d, relay.nn.conv2d_transpose),
    3: (relay.nn.conv3d, relay.nn.conv3d_transpose),
}
# layout of the data -> that of the weights, of those of a convolution of single channels, and of
# those of a transposed convolution; None where TVM has no schedule.
_KERNELS = {
    "NCW": ("OIW", "OIW", "IOW"),
    "NWC": ("WIO", None, None),
    "NCHW": ("OIHW", "OIHW", "IOHW"),
    "NHWC": ("HWIO", "HWOI", "IOHW"),
    "NCDHW": ("OIDHW", "OIDHW", "IODHW"),
    "NDHWC": ("DHWIO", None, None),
}
_NARROW = ("int8", "uint8")
_DTYPES = ("float32", "float16", "float64", *_NARROW)


def _draw_weights(parameters: dict, shape, dtype: str) -> relay.Expr:
    """Whole numbers, so that sums round little and values tie, or any."""
    random = np.random.default_rng(parameters.get("seed", 0))
    if dtype in _NARROW:
        return relay.const(random.integers(-5, 6, shape).astype("int8"), "int8")
    numbers = random.integers(-3, 4, shape)
    if parameters.get("weights", "whole") == "normal":
        numbers = random.standard_normal(shape)
    return relay.const(numbers.astype(dtype), dtype)


def _build_convolution(maker: Maker, value: Value, parameters: dict) -> Value:
    """A convolution, of all channels, of groups of them or of single ones, or a transposed one."""
    rank, axes = len(value.spatial), value.axes
    if axes not in _KERNELS:
        return _build_dense(maker, value, parameters)
    channels = value.shape[value.channel]
    filters = parameters.get("filters", channels)
    is_transposed = parameters.get("transposed", False)
    groups = {"depth": channels, "two": 2}.get(parameters.get("groups"), 1)
    if groups == channels:
        filters = channels
    plain, depthwise, transposed = _KERNELS[axes]
    layout = transposed if is_transposed else depthwise if 1 < groups == channels else plain
    if layout is None or channels % groups or filters % groups:
        return _build_convolution(maker, value, {**parameters, "transposed": False, "groups": ""})
    size, dilation = parameters.get("kernel", 1), parameters.get("dilation", 1)
    stride = parameters.get("stride", 1)
    reads, gives = channels // groups, filters
    if is_transposed:
        reads, gives, dilation = channels, filters // groups, 1
    if layout == "HWOI":  # a row of filters for each channel
        reads, gives = filters // channels, channels
    extents = {"O": gives, "I": reads, **dict.fromkeys("DHW", size)}
    shape = [extents[letter] for letter in layout]
    reach = (size - 1) * dilation
    padding = [reach // 2] * rank + [reach - reach // 2] * rank
    if is_transposed and rank == 3:
        padding = [0] * (2 * rank)
    attributes = {} if is_transposed else {"dilation": (dilation,) * rank}
    dtype = value.dtype
    if dtype in _NARROW:
        attributes["out_dtype"] = "int32"
    operator = _CONVOLUTIONS[rank][is_transposed]
    call = operator(
        value.expr,
        _draw_weights(parameters, shape, dtype),
        channels=filters,
        kernel_size=(size,) * rank,
        strides=(stride,) * rank,
        padding=tuple(padding),
        groups=groups,
        data_layout=axes,
        kernel_layout=layout,
        **attributes,
    )
    return value.to(call)


def _build_blocked(maker: Maker, value: Value, parameters: dict) -> Value:
    """A convolution on channels in blocks of 4, as TVM itself writes them later."""
    if value.axes != "NCHW" or value.shape[1] != 4 or value.dtype != "float32":
        return _build_convolution(maker, value, parameters)
    is_depthwise = parameters.get("groups") == "depth"
    size = parameters.get("kernel", 1)
    conv = relay.nn.contrib_conv2d_nchwc
    layout, groups, reads = "OIHW4i4o", 1, 4
    if is_depthwise:
        conv, layout, groups, reads = relay.nn.contrib_depthwise_conv2d_nchwc, "OIHW1i4o", 4, 1
    call = conv(
        relay.layout_transform(value.expr, "NCHW", "NCHW4c"),
        _draw_weights(parameters, (1, 1, size, size, reads, 4), value.dtype),
        channels=4,
        kernel_size=(size, size),
        padding=((size - 1) // 2, (size - 1) // 2, size // 2, size // 2),
        groups=groups,
        data_layout="NCHW4c",
        kernel_layout=layout,
        out_layout="NCHW4c",
    )
    return value.to(call, "NCHWc")


def _build_dense(maker: Maker, value: Value, parameters: dict) -> Value:
    """A dense layer over all that belongs to one of the batch, of as many units."""
    if not value.axes:
        return value
    shape, dtype = value.shape, value.dtype
    size = int(np.prod(shape[1:]))
    weights = _draw_weights(parameters, (size, size), dtype)
    flat = relay.reshape(value.expr, (shape[0], size))
    wide = {"out_dtype": "int32"} if dtype in _NARROW else {}
    return value.to(relay.reshape(relay.nn.dense(flat, weights, units=size, **wide), shape))


def _build_dense_pack(maker: Maker, value: Value, parameters: dict) -> Value:
    """A dense layer with its units in blocks of 8, which TVM builds for SSE2 alone."""
    size = int(np.prod(value.shape[1:]))
    if not value.axes or size % 8:
        return _build_dense(maker, value, parameters)
    weights = _draw_weights(parameters, (size // 8, size, 8), value.dtype)
    flat = relay.reshape(value.expr, (value.shape[0], size))
    packed = relay.nn.contrib_dense_pack(flat, weights, "NC8n")
    return value.to(relay.reshape(packed, value.shape))


def _build_batch_matmul(maker: Maker, value: Value, parameters: dict) -> Value:
    """A product with a matrix for each of the batch."""
    if len(value.axes) < 2:
        return _build_dense(maker, value, parameters)
    shape, dtype = value.shape, value.dtype
    columns = shape[-1]
    rows = int(np.prod(shape[1:-1]))
    weights = _draw_weights(parameters, (shape[0], columns, columns), dtype)
    matrices = relay.reshape(value.expr, (shape[0], rows, columns))
    wide = {"out_dtype": "int32"} if dtype in _NARROW else {}
    return value.to(relay.reshape(relay.nn.batch_matmul(matrices, weights, **wide), shape))


def _build_qnn(maker: Maker, value: Value, parameters: dict) -> Value:
    """A quantised convolution of kernels of 1."""
    if value.axes not in ("NCHW", "NHWC"):
        return _build_convolution(maker, value, parameters)
    channels = value.shape[value.channel]
    layout = "OIHW" if value.axes == "NCHW" else "HWIO"
    shape = [channels if letter in "OI" else 1 for letter in layout]
    call = relay.qnn.op.conv2d(
        value.expr,
        _draw_weights(parameters, shape, "int8"),
        relay.const(parameters.get("zero", 0), "int32"),
        relay.const(parameters.get("zero_weights", 0), "int32"),
        relay.const(0.1, "float32"),
        relay.const(0.2, "float32"),
        kernel_size=(1, 1),
        channels=channels,
        data_layout=value.axes,
        kernel_layout=layout,
    )
    return value.to(call)


def _draw_seed(random: Random) -> dict:
    drawn = {"seed": random.randint(0, 99)}
    return drawn | ({"weights": "normal"} if random.random() < 0.4 else {})


def _draw_convolution(random: Random, dtype: str) -> dict:
    drawn = {**_draw_seed(random), "kernel": random.choice((1, 1, 2, 3))}
    if random.random() < 0.2:
        drawn["transposed"] = True
        drawn["stride"] = random.choice((1, 2))
    elif random.random() < 0.4:
        drawn["groups"] = random.choice(("depth", "depth", "two"))
    if random.random() < 0.3:
        drawn["dilation"], drawn["kernel"] = 2, random.choice((2, 3))
    if random.random() < 0.1:
        drawn["filters"] = 8
    return drawn


def _draw_blocked(random: Random, dtype: str) -> dict:
    depth = {"groups": "depth"} if random.random() < 0.5 else {}
    return {**_draw_seed(random), "kernel": random.choice((1, 3)), **depth}


def _draw_qnn(random: Random, dtype: str) -> dict:
    return {
        **_draw_seed(random),
        "zero": random.choice((0, 3)),
        "zero_weights": random.choice((0, 0, 2)),
    }


def _widen(parameters: dict, dtype: str) -> str:
    return "int32" if dtype in _NARROW else dtype


def _among(*dtypes: str) -> Callable[[str], bool]:
    return lambda dtype: dtype in dtypes


_takes = _among(*_DTYPES)
PRODUCING: dict[str, Kind] = {
    "convolution": Kind(_build_convolution, _draw_convolution, _takes, _widen, weight=16),
    "blocked_convolution": Kind(_build_blocked, _draw_blocked, _among("float32"), weight=1),
    "dense": Kind(_build_dense, lambda r, d: _draw_seed(r), _takes, _widen, weight=3),
    "batch_matmul": Kind(
        _build_batch_matmul, lambda r, d: _draw_seed(r), _among("float32", "int8"), _widen, weight=2
    ),
    "dense_pack": Kind(_build_dense_pack, lambda r, d: _draw_seed(r), _among("float32"), weight=1),
    "qnn.conv2d": Kind(_build_qnn, _draw_qnn, _among("int8", "uint8"), _widen, weight=16),
}
