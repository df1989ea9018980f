"""Networks beyond monotone activations and 2-D float32.

Valleys, scales of both signs, other ranks, a global maximum, integers, half precision.

Each is two convolutions with a pool behind the first; the second makes use of what was pooled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tvm
from tvm import relay

_SEED = 0
_CONVOLUTIONS = {1: relay.nn.conv1d, 2: relay.nn.conv2d, 3: relay.nn.conv3d}
_POOLS = {1: relay.nn.max_pool1d, 2: relay.nn.max_pool2d, 3: relay.nn.max_pool3d}


class WorldNetwork(NamedTuple):
    """A network ready to build.

    Parameters
    ----------
    mod : tvm.IRModule
        Typed Relay with its weights.
    shape : tuple of int
        Of its input ``x``.
    dtype : str
        Of its input.
    licence : str
        What the exchange needs: as computed, a valley may stray by units in the last place.
    """

    mod: tvm.IRModule
    shape: tuple[int, ...]
    dtype: str = "float32"
    licence: str = "equal"

    def draw(self) -> dict[str, np.ndarray]:
        """Standard normal inputs, or all values of an integer dtype."""
        rng = np.random.default_rng(_SEED)
        if self.dtype == "float32":
            return {"x": rng.standard_normal(self.shape, dtype="float32")}
        info = np.iinfo(self.dtype)
        return {"x": rng.integers(info.min, info.max + 1, self.shape).astype(self.dtype)}


def make_plain(
    rank: int, size: int, channels: int, activation: Callable, batch: int
) -> WorldNetwork:
    """conv -> bias -> activation -> max pool 2 -> conv, over `rank` spatial axes of `size`."""
    rng = np.random.default_rng(_SEED)
    shape = (batch, 3) + (size,) * rank
    x = relay.var("x", shape=shape)
    active = activation(_convolve(x, 3, channels, rank, rng))
    pooled = _POOLS[rank](active, pool_size=(2,) * rank, strides=(2,) * rank)
    return WorldNetwork(_module(_convolve(pooled, channels, channels, rank, rng)), shape)


def make_valley(activation: Callable, licence: str, batch: int) -> WorldNetwork:
    """The plain 2-D network with an activation that falls, then rises."""
    return make_plain(2, 112, 64, activation, batch)._replace(licence=licence)


def silu(x: relay.Expr) -> relay.Expr:
    """x sigmoid(x), as PyTorch's importer writes it."""
    return x * relay.sigmoid(x)


def gelu(x: relay.Expr) -> relay.Expr:
    """x (1 + erf(x / sqrt 2)) / 2, as the ONNX importer writes it."""
    half, one, root = (relay.const(np.float32(value)) for value in (0.5, 1.0, 2.0**0.5))
    return half * x * (one + relay.erf(x / root))


def mish(x: relay.Expr) -> relay.Expr:
    """x tanh(log(1 + exp(x)))."""
    return x * relay.tanh(relay.log(relay.const(np.float32(1)) + relay.exp(x)))


def prelu_of_both_signs(x: relay.Expr) -> relay.Expr:
    """Slopes drawn around 0.1, as a network may learn them."""
    rng = np.random.default_rng(_SEED + 1)
    return relay.nn.prelu(x, relay.const(rng.normal(0.1, 0.2, 64).astype("float32")))


def batch_norm_behind_relu(x: relay.Expr) -> relay.Expr:
    """relu(x) s + t, with a scale s of either sign for each channel."""
    rng = np.random.default_rng(_SEED + 1)
    scale, offset = rng.normal(size=(2, 64, 1, 1)).astype("float32")
    return relay.nn.relu(x) * relay.const(scale) + relay.const(offset)


def tanh_of_batch_norm(x: relay.Expr) -> relay.Expr:
    """tanh(relu(x) s + t)."""
    return relay.tanh(batch_norm_behind_relu(x))


def make_global(size: int, channels: int, batch: int) -> WorldNetwork:
    """conv -> bias -> sigmoid -> max over height and width -> dense."""
    rng = np.random.default_rng(_SEED)
    shape = (batch, 3, size, size)
    active = relay.sigmoid(_convolve(relay.var("x", shape=shape), 3, channels, 2, rng))
    weight = rng.normal(size=(10, channels)).astype("float32")
    return WorldNetwork(
        _module(relay.nn.dense(relay.max(active, [2, 3]), relay.const(weight))), shape
    )


def make_quantised(size: int, channels: int, batch: int) -> WorldNetwork:
    """qnn.conv2d -> bias -> requantize -> max pool -> the same again, with scales per channel."""
    rng = np.random.default_rng(_SEED)
    shape = (batch, 3, size, size)
    x = relay.var("x", shape=shape, dtype="uint8")
    active = _convolve_quantised(x, 3, channels, rng, zero=-128)
    pooled = relay.nn.max_pool2d(active, pool_size=(2, 2), strides=(2, 2))
    return WorldNetwork(
        _module(_convolve_quantised(pooled, channels, channels, rng, zero=5)), shape, "uint8"
    )


def make_mixed(
    dtype: str, activation: Callable, size: int, channels: int, batch: int
) -> WorldNetwork:
    """The plain 2-D network after ``ToMixedPrecision``, its result as float32."""
    network = make_plain(2, size, channels, activation, batch)
    mod = relay.transform.InferType()(relay.transform.ToMixedPrecision(dtype)(network.mod))
    return network._replace(mod=_module(mod["main"].body.astype("float32")))


def _convolve(data, in_channels: int, channels: int, rank: int, rng) -> relay.Expr:
    weight = rng.normal(size=(channels, in_channels) + (3,) * rank) / (in_channels * 3**rank) ** 0.5
    data = _CONVOLUTIONS[rank](
        data,
        relay.const(weight.astype("float32")),
        kernel_size=(3,) * rank,
        channels=channels,
        padding=(1,) * rank,
    )
    return relay.nn.bias_add(data, relay.const(rng.normal(size=channels).astype("float32")))


def _convolve_quantised(data, in_channels: int, channels: int, rng, zero: int) -> relay.Expr:
    def number(value, dtype="float32"):
        return relay.const(np.asarray(value, dtype))

    weight = rng.integers(-127, 128, (channels, in_channels, 3, 3)).astype("int8")
    scales = rng.uniform(0.005, 0.02, channels)
    input_zero = 128 if in_channels == 3 else -128
    data = relay.qnn.conv2d(
        data,
        relay.const(weight),
        number(input_zero, "int32"),
        number(0, "int32"),
        number(0.02),
        number(scales),
        kernel_size=(3, 3),
        channels=channels,
        padding=(1, 1),
    )
    bias = rng.integers(-2000, 2000, channels)
    data = relay.nn.bias_add(data, number(bias, "int32"))
    return relay.qnn.requantize(
        data,
        number(scales * 0.02),
        number(0, "int32"),
        number(0.05 * in_channels**0.5),
        number(zero, "int32"),
        axis=1,
        out_dtype="int8",
    )


def _module(body: relay.Expr) -> tvm.IRModule:
    mod = tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body))
    return relay.transform.InferType()(mod)


NETWORKS: dict[str, Callable[[int], WorldNetwork]] = {
    "silu": lambda batch: make_valley(silu, "ulp:2", batch),
    "gelu": lambda batch: make_valley(gelu, "ulp:any", batch),
    "mish": lambda batch: make_valley(mish, "ulp:any", batch),
    "prelu_both_signs": lambda batch: make_valley(prelu_of_both_signs, "equal", batch),
    "scales_both_signs": lambda batch: make_valley(batch_norm_behind_relu, "equal", batch),
    "tanh_scales_both_signs": lambda batch: make_valley(tanh_of_batch_norm, "equal", batch),
    "line_sigmoid": lambda batch: make_plain(1, 4096, 64, relay.sigmoid, batch),
    "volume_tanh": lambda batch: make_plain(3, 32, 16, relay.tanh, batch),
    "global_max_sigmoid": lambda batch: make_global(112, 64, batch),
    "quantised": lambda batch: make_quantised(112, 64, batch),
    "float16_sigmoid": lambda batch: make_mixed("float16", relay.sigmoid, 56, 32, batch),
    "bfloat16_relu": lambda batch: make_mixed("bfloat16", relay.nn.relu, 56, 32, batch),
    "bfloat16_exp": lambda batch: make_mixed("bfloat16", relay.exp, 56, 32, batch),
}
