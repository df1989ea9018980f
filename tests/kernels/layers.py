"""Layers for the fused operator's tests: a convolution under a pool, stock TVM's and NumPy's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import tvm
from hypothesis import strategies as st
from tvm import autotvm, relay, te
from tvm.autotvm.task.space import ConfigEntity, OtherOptionEntity, SplitEntity

from tvm_reorder.core.cpu_model import default_blocks
from tvm_reorder.core.tiles import FusedGeometry, Tile
from tvm_reorder.core.workload import Convolution
from tvm_reorder.relay.op.conv2d_max_pool2d.attributes import FusedAttributes
from tvm_reorder.relay.op.conv2d_max_pool2d.template import blocked_geometry, tile_numbers
from tvm_reorder.relay.op.conv2d_max_pool2d.tuned import fused_workload, plain_workload

from ..relay.networks import TARGET, constant, module

LANES = {"skylake-avx512": 16, "core-avx2": 8}.get(TARGET.rpartition("=")[2], 4)
LOWEST = np.finfo("float32").min


@dataclass(frozen=True)
class Layer:
    """Shapes in NCHW and OIHW, and the operator's attributes."""

    data: tuple[int, int, int, int]
    kernel: tuple[int, int, int, int]
    attributes: FusedAttributes

    @property
    def blocks(self) -> tuple[int, int]:
        """TVM's default channel blocks of data and result."""
        conv = Convolution(*self.data, self.kernel[0], self.kernel[2:])
        out_block, in_block = default_blocks(conv, LANES)
        return in_block, out_block

    def geometry(self, in_block: int, out_block: int) -> FusedGeometry:
        """The geometry in channel blocks."""
        return blocked_geometry(self.data, self.kernel, self.attributes, in_block, out_block)

    def convolution(self, weight: np.ndarray) -> relay.Call:
        """TVM's convolution of the input ``x``."""
        a = self.attributes
        return relay.nn.conv2d(
            relay.var("x", shape=self.data),
            constant(weight),
            strides=a.strides,
            padding=a.padding,
            dilation=a.dilation,
            channels=a.channels,
            kernel_size=a.kernel_size,
        )

    def pool(self, value: relay.Expr) -> relay.Call:
        """TVM's pool of a value."""
        a = self.attributes
        return relay.nn.max_pool2d(
            value, a.pool_size, a.pool_strides, a.pool_dilation, a.pool_padding, "NCHW", "",
            a.ceil_mode,
        )  # fmt: skip

    def stock(self, weight: np.ndarray) -> tvm.IRModule:
        """TVM's convolution and pool."""
        return module(self.pool(self.convolution(weight)))


def make_layer(data, channels, kernel, conv=(), pool=((2, 2), (2, 2)), padding=(0,) * 4, **options):
    """A layer by its shapes; `conv` is strides, padding and dilation, `pool` size and strides."""
    strides, conv_padding, dilation = (*conv, *((1, 1), (0,) * 4, (1, 1))[len(conv) :])
    pool_dilation, ceil_mode = options.get("pool_dilation", (1, 1)), options.get("ceil", False)
    attributes = FusedAttributes(
        strides, conv_padding, dilation, channels, kernel, *pool, pool_dilation, padding, ceil_mode
    )
    return Layer(data, (channels, data[1], *kernel), attributes)


def _pair(values):
    return st.tuples(values, values)


@st.composite
def pool_axes(draw, size: int) -> tuple[int, int, int, int, int]:
    """Size, stride, dilation and padding of a window over `size` values."""
    if draw(st.booleans()):  # neither shared nor padded: pooled in registers
        kernel = draw(st.integers(1, min(size, 4)))
        return kernel, kernel + draw(st.integers(0, 1)), 1, 0, 0
    kernel = draw(st.integers(1, 5))
    dilation = draw(st.integers(1, 2))
    span = (kernel - 1) * dilation + 1
    widest = draw(st.sampled_from([span // 2, span // 2, 2]))  # 2: some see padding only
    before, after = (draw(st.integers(0, widest)) for _ in range(2))
    return kernel, draw(st.integers(1, 3)), dilation, before, after + max(0, span - size)


@st.composite
def layers(draw) -> Layer:
    """Any kernel, stride, padding and dilation; any window that has at least one position."""
    kernel = draw(_pair(st.sampled_from([3, 2, 1])))  # hypothesis likes the first
    strides, dilation = (draw(_pair(st.integers(1, 2))) for _ in range(2))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    sizes, pools = [], []
    for axis in (0, 1):
        span, pads = (kernel[axis] - 1) * dilation[axis] + 1, padding[axis] + padding[axis + 2]
        sizes.append(max(1, span - pads) + draw(st.integers(0, 12)))
        pools.append(draw(pool_axes((sizes[-1] + pads - span) // strides[axis] + 1)))
    size, stride, far, before, after = zip(*pools)
    batch, channels = draw(st.integers(1, 2)), st.sampled_from([16, 3, 7, 8, 10, 13, 20, 32, 1])
    return make_layer(
        (batch, draw(channels), *sizes), draw(channels), kernel, (strides, padding, dilation),
        (size, stride), before + after, pool_dilation=far, ceil=draw(st.booleans()),
    )  # fmt: skip


def draw_values(layer: Layer, seed: int, infinite: bool) -> tuple[np.ndarray, np.ndarray]:
    """Data and weights of which no NaN arises.

    Infinities have one sign within a picture, and the weights of a filter have one sign too, so
    that no sum sees infinities of both signs; results do.
    """
    rng = np.random.default_rng(seed)
    data, weight = rng.normal(size=layer.data), rng.normal(size=layer.kernel)
    tiny = np.finfo("float32").smallest_subnormal
    special = np.array([0.0, -0.0, tiny, -tiny, 1e3 * tiny, np.finfo("float32").tiny])
    data = np.where(rng.random(layer.data) < 0.2, rng.choice(special, size=layer.data), data)
    if infinite:
        signs = rng.choice([-1.0, 1.0], size=(layer.data[0], 1, 1, 1))
        often = rng.choice([0.02, 0.2, 0.97])
        data = np.where(rng.random(layer.data) < often, signs * np.inf, data)
        weight = (abs(weight) + 0.1) * rng.choice([-1.0, 1.0], size=(layer.kernel[0], 1, 1, 1))
    return data.astype("float32"), weight.astype("float32")


def reference(layer: Layer, data: np.ndarray, weight: np.ndarray):
    """The pooled convolution in float64, and how far a float32 computation may be off.

    A sum of n products, in any order, with or without contraction, is off by less than
    n * eps * (sum of the products' magnitudes), and by the smallest subnormal for each product that
    underflows (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1, where eps / 2
    is the unit roundoff: the other half covers the float64 sums).  A maximum is off by no more
    than the furthest of its values.
    """
    sums, magnitudes = _convolve(layer, data, weight), _convolve(layer, abs(data), abs(weight))
    info, terms = np.finfo("float32"), prod(layer.kernel[1:])
    bounds = terms * (info.eps * magnitudes + info.smallest_subnormal)
    bounds = np.where(np.isfinite(sums), bounds, 0.0)
    return _pool(layer, sums, np.float64(LOWEST)), _pool(layer, bounds, 0.0)


def _convolve(layer, data, weight) -> np.ndarray:
    a = layer.attributes
    top, left, bottom, right = a.padding
    padded = np.pad(data.astype("float64"), ((0, 0), (0, 0), (top, bottom), (left, right)))
    return sum(
        np.einsum("nchw,oc->nohw", window, weight[:, :, i, j].astype("float64"))
        for i, j, window in _windows(padded, a.kernel_size, a.strides, a.dilation)
    )


def _pool(layer, values, lowest) -> np.ndarray:
    """Padded generously: ceil_mode looks further out than the padding says."""
    a = layer.attributes
    top, left, bottom, right = (
        pad + (stride if a.ceil_mode and side >= 2 else 0)
        for side, (pad, stride) in enumerate(zip(a.pool_padding, a.pool_strides * 2))
    )
    edges = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(values, edges, constant_values=lowest)
    windows = list(_windows(padded, a.pool_size, a.pool_strides, a.pool_dilation))
    shape = [_pooled_extent(layer, axis, values.shape[axis + 2]) for axis in (0, 1)]
    result = np.full((*values.shape[:2], *shape), lowest)
    for _, _, window in windows:
        result = np.maximum(result, window[:, :, : shape[0], : shape[1]])
    return result


def _pooled_extent(layer, axis: int, size: int) -> int:
    a = layer.attributes
    span = (a.pool_size[axis] - 1) * a.pool_dilation[axis] + 1
    steps = (size + a.pool_padding[axis] + a.pool_padding[axis + 2] - span) / a.pool_strides[axis]
    return int(np.ceil(steps) if a.ceil_mode else np.floor(steps)) + 1


def _windows(padded, size, strides, dilation):
    """What each place of a window sees, over all windows."""
    spans = [(s - 1) * d + 1 for s, d in zip(size, dilation)]
    counts = [(n - span) // s + 1 for n, span, s in zip(padded.shape[2:], spans, strides)]
    for i, j in product(range(size[0]), range(size[1])):
        rows, cols = (
            slice(at * d, at * d + (count - 1) * s + 1, s)
            for at, d, count, s in zip((i, j), dilation, counts, strides)
        )
        yield i, j, padded[:, :, rows, cols]


def make_log(layer: Layer, in_block: int, out_block: int, unroll_kw: int, tile: Tile | None = None):
    """A tuning log of the plain convolution, and of the fused operator if there is a tile."""
    tensors = [te.placeholder(shape) for shape in (layer.data, layer.kernel)]
    blocks = {
        "tile_ic": SplitEntity([layer.data[1] // in_block, in_block]),
        "tile_oc": SplitEntity([layer.kernel[0] // out_block, out_block]),
        "unroll_kw": OtherOptionEntity(unroll_kw),
    }
    width = layer.geometry(in_block, out_block).convolution.outputs[1]
    columns = {"tile_ow": SplitEntity([width, 1]), "tile_oh": OtherOptionEntity(1)}
    log = [_record(plain_workload(*tensors, layer.attributes), blocks | columns)]
    if tile is not None:
        knobs = blocks | {"tile": SplitEntity(tile_numbers(tile))}
        log.append(_record(fused_workload(*tensors, layer.attributes), knobs))
    return log


def _record(workload, knobs):
    target = tvm.target.Target(TARGET)
    task = autotvm.task.Task(workload[0], workload[1:])
    config = ConfigEntity(0, None, knobs, [])
    return autotvm.MeasureInput(target, task, config), autotvm.MeasureResult([1e-3], 0, 0.1, 0)
