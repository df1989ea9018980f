"""Quantised networks around one pool: what importers and TVM's own quantisers write."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relay

from .networks import constant, max_pool, module

WITHOUT_SSE41 = "llvm -mcpu=x86-64"  # requantize in integers; with SSE 4.1 it is in float32
CHANNEL_SCALES = (0.01, 0.02, 0.003, 0.5)


@dataclass(frozen=True)
class Quantisation:
    """Parameters of a quantised convolution, its requantize and its pool."""

    input_dtype: str = "uint8"
    dtype: str = "int8"
    input_zero: int = 3
    kernel_zero: int | tuple[int, ...] = 0
    zero: int = -5
    per_channel: bool = False
    rounding: str = "UPWARD"
    scale: float = 0.05
    clips: bool = True
    pool: int = 2


def quantised_net(q: Quantisation = Quantisation()) -> tvm.IRModule:
    """qnn.conv2d -> bias -> qnn.requantize -> clip -> max pool."""
    x = relay.var("x", shape=(1, 3, 8, 8), dtype=q.input_dtype)
    weight = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3))
    scales = np.asarray(CHANNEL_SCALES if q.per_channel else CHANNEL_SCALES[1], "float32")
    data = relay.qnn.conv2d(
        x,
        constant(weight, "int8"),
        constant(q.input_zero, "int32"),
        constant(q.kernel_zero, "int32"),
        constant(0.1),
        constant(scales),
        kernel_size=(3, 3),
        channels=4,
        padding=(1, 1),
    )
    data = relay.nn.bias_add(data, constant([100, -200, 3000, 4], "int32"))
    data = relay.qnn.requantize(
        data,
        constant(scales * np.float32(0.1)),
        constant(0, "int32"),
        constant(q.scale),
        constant(q.zero, "int32"),
        out_dtype=q.dtype,
        axis=1,
        rounding=q.rounding,
    )
    data = relay.clip(data, max(q.zero, -100), 100) if q.clips else data
    stride = min(q.pool, 2)
    return module(max_pool(data, q.pool, stride, padding=(q.pool // 3,) * 2))


def fake_quantised_net(activation=relay.nn.relu, quantises_first: bool = False) -> tvm.IRModule:
    """A network of quantize and dequantize pairs around float operators."""

    def spread(value, scale, zero):
        return relay.qnn.dequantize(value, constant(scale), constant(zero, "int32"))

    def narrow(value, scale, zero):
        return relay.qnn.quantize(value, constant(scale), constant(zero, "int32"), out_dtype="int8")

    rng = np.random.default_rng(1)
    x = relay.var("x", shape=(1, 3, 8, 8))
    weight = constant(rng.integers(-127, 128, (4, 3, 3, 3)), "int8")
    data = relay.nn.conv2d(
        spread(narrow(x, 0.05, 3), 0.05, 3),
        spread(weight, 0.02, 0),
        kernel_size=(3, 3),
        channels=4,
        padding=(1, 1),
    )
    bias = spread(constant([100, -200, 30, 4], "int32"), 0.001, 0)
    data = activation(relay.nn.bias_add(data, bias))
    if quantises_first:
        data = spread(narrow(data, 0.04, -7), 0.04, -7)
    return module(narrow(max_pool(data), 0.04, -7))


def globally_quantised_net(skips_first: bool = False) -> tvm.IRModule:
    """What TVM's own ``relay.quantize`` makes of a float network with a pool in it."""
    rng = np.random.default_rng(2)

    def convolve(data, channels):
        weight = constant(rng.normal(size=(16, channels, 3, 3)))
        data = relay.nn.conv2d(data, weight, kernel_size=(3, 3), channels=16, padding=(1, 1))
        return relay.nn.relu(relay.nn.bias_add(data, constant(rng.normal(size=16))))

    x = relay.var("x", shape=(1, 3, 8, 8))
    pooled = max_pool(convolve(convolve(x, 3), 16))
    skipped = [0] if skips_first else []
    # weight_scale "max": the default one needs a function that numpy no longer has.
    with relay.quantize.qconfig(
        calibrate_mode="global_scale",
        global_scale=8.0,
        weight_scale="max",
        skip_conv_layers=skipped,
    ):
        return relay.quantize.quantize(module(convolve(pooled, 16)))
