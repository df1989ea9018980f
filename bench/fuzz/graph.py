"""A recipe as Relay, and its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np
import tvm
from tvm import relay

from .recipe import LAYOUTS, is_float
from .steps import CHANNELS, apply_step, constant, dtype_after

_POOLS = {1: relay.nn.max_pool1d, 2: relay.nn.max_pool2d, 3: relay.nn.max_pool3d}
_ADAPTIVE = {
    1: relay.nn.adaptive_max_pool1d,
    2: relay.nn.adaptive_max_pool2d,
    3: relay.nn.adaptive_max_pool3d,
}


@dataclass(frozen=True)
class Graph:
    """A recipe, built.

    Parameters
    ----------
    outputs : list of relay.Expr
        What it computes; the last one is what its last pool, and the steps behind it, give.
    inputs : dict
        Name to shape and dtype.
    pools : list of relay.Call
        Its max pools, in order of execution.
    """

    outputs: list[relay.Expr]
    inputs: dict[str, tuple[tuple[int, ...], str]]
    pools: list[relay.Call]


def make_graph(recipe: dict, prefix: str = "x") -> Graph:
    """The graph of a recipe; its inputs are called `prefix` and a number.

    Raises
    ------
    tvm.TVMError, ValueError
        If it makes no sense, as when a shrunk pool is larger than its input.
    """
    return _Maker(recipe, prefix).make()


def make_module(graphs: list[Graph]) -> tvm.IRModule:
    """All graphs side by side as one typed module."""
    body = relay.Tuple([output for graph in graphs for output in graph.outputs])
    mod = tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body))
    return relay.transform.InferType()(mod)


class _Maker:
    def __init__(self, recipe: dict, prefix: str):
        self.recipe = recipe
        self.layout = recipe["layout"]
        self.axis, self.window_axes = LAYOUTS[self.layout]
        self.rank = len(self.window_axes) + 2
        self.inputs: dict = {}
        self.outputs: list = []
        self.pools: list = []
        self._names = (f"{prefix}_{n}" for n in count())

    def make(self) -> Graph:
        dtype = self.recipe["dtype"]
        shape = [0] * self.rank
        shape[0], shape[self.axis] = 1, CHANNELS
        for axis, extent in zip(self.window_axes, self.recipe["size"]):
            shape[axis] = extent
        x = self._produce(self._input(tuple(shape), dtype))
        dtype = _type(x).dtype
        for stage in self.recipe["stages"]:
            x = self._stage(stage, x, dtype)
            dtype = _type(x).dtype
        self.outputs.append(self._steps(self.recipe["after"], x, dtype))
        return Graph(self.outputs, self.inputs, self.pools)

    def _input(self, shape, dtype) -> relay.Var:
        name = next(self._names)
        self.inputs[name] = (shape, dtype)
        return relay.var(name, shape=shape, dtype=dtype)

    def _produce(self, x):
        producer = self.recipe["producer"]
        if producer is None:
            return x
        size, dtype = producer["kernel"], self.recipe["dtype"]
        is_nchw = self.layout == "NCHW"
        shape = (CHANNELS, CHANNELS, size, size) if is_nchw else (size, size, CHANNELS, CHANNELS)
        draw = np.random.default_rng(producer["seed"])
        weight = draw.integers(-3, 4, shape)  # sums that round little, so that values tie
        return relay.nn.conv2d(
            x,
            relay.const(weight, dtype),
            channels=CHANNELS,
            kernel_size=(size, size),
            padding=(size // 2, size // 2),
            data_layout=self.layout,
            kernel_layout="OIHW" if is_nchw else "HWIO",
            out_dtype="int32" if dtype == "int8" else "",
        )

    def _steps(self, steps, x, dtype):
        for step in steps:
            if step[0] == "wide":
                shape = [int(extent) for extent in _type(x).shape]
                x = x + relay.const(np.full(shape, 1), dtype)
            else:
                channels = int(_type(x).shape[self.axis])
                x = apply_step(_widen(step, channels), x, dtype, self.axis, self.rank)
            dtype = dtype_after(step, dtype)
        return x

    def _stage(self, stage, x, dtype):
        join, steps = stage["join"], stage["steps"]
        active = self._steps(steps, x, dtype)
        if join == "residual":
            active = active + x
        if join == "concat":
            active = relay.concatenate([active, self._steps(stage["other"], x, dtype)], self.axis)
        if join == "concat_same":
            active = relay.concatenate([active, self._steps(steps, x, dtype)], self.axis)
        pooled = self._pool(stage["pool"], active)
        if join == "output":
            self.outputs.append(active)
        if join == "shared":
            self.outputs.append(relay.negative(active))
        if join == "two_pools":
            self.outputs.append(self._pool(stage["pool"], active))
        return pooled

    def _pool(self, pool, data):
        rank = len(self.window_axes)
        if pool["kind"] == "global":
            call = relay.nn.global_max_pool2d(data, self.layout)
        elif pool["kind"] == "adaptive":
            call = _ADAPTIVE[rank](data, tuple(pool["output"]), self.layout)
        else:
            data = self._pad(pool.get("pad"), data)
            call = _POOLS[rank](
                data,
                pool_size=tuple(pool["kernel"]),
                strides=tuple(pool["strides"]),
                dilation=tuple(pool["dilation"]),
                padding=tuple(pool["padding"]),
                ceil_mode=pool["ceil_mode"],
                layout=self.layout,
            )
        if min(map(int, _type(call).shape)) < 1:
            raise ValueError(f"pool {pool} leaves nothing of its input")
        self.pools.append(call)
        return call

    def _pad(self, pad, data):
        if pad is None:
            return data
        widths = [(0, 0)] * self.rank
        for axis, width in zip(self.window_axes, pad["widths"]):
            widths[axis] = tuple(width)
        return relay.nn.pad(data, widths, _pad_value(pad["value"], _type(data).dtype))


def _pad_value(value, dtype: str) -> relay.Expr:
    limits = np.finfo(dtype) if is_float(dtype) else np.iinfo(dtype)
    if value == "lowest" or (value == "-inf" and not is_float(dtype)):
        return relay.const(np.asarray(limits.min), dtype)
    if value == "-inf":
        return relay.const(np.asarray(-np.inf), dtype)
    return constant(max(value, limits.min) if is_float(dtype) else int(max(value, 0)), dtype)


def _widen(step: list, channels: int) -> list:
    """The step with its numbers repeated where a concatenation has doubled the channels."""
    name, *numbers = step
    if not numbers or not isinstance(numbers[0], list):
        return step
    values = numbers[0]
    return [name, values * (channels // len(values))]


def _type(expr: relay.Expr) -> tvm.ir.TensorType:
    return relay.transform.InferTypeLocal(expr)


def draw_inputs(recipe: dict, inputs: dict, kind: str) -> dict[str, np.ndarray]:
    """Values of one kind for a graph's inputs, from the recipe's own seed."""
    seed = [recipe["seed"], recipe["index"], sum(map(ord, kind))]
    random = np.random.default_rng(seed)
    may_be_nan = "nan" in recipe["licence"]
    return {name: _draw(random, *t, kind, may_be_nan) for name, t in inputs.items()}


def _draw(random, shape, dtype, kind, may_be_nan) -> np.ndarray:
    if not is_float(dtype):
        limits = np.iinfo(dtype)
        wide = random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        small = random.integers(0, 4, shape).astype(dtype)
        return small if kind == "ties" else wide
    limits = np.finfo(dtype)
    tiny = limits.smallest_subnormal
    if kind == "special":
        values = [np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, limits.max, limits.min, 1, -1, -88.0, 3]
        return random.choice(np.array(values + [np.nan] * 3 * may_be_nan, dtype), shape)
    values = random.standard_normal(shape) * 3
    if kind == "ties":
        values = np.round(values)
    if kind == "huge":
        values = np.sign(values) * np.float64(limits.max) ** random.uniform(0.5, 1, shape)
    if kind == "subnormal":
        values = np.round(values * 9) * np.float64(tiny)
    if kind == "lowest":
        values = np.where(random.random(shape) < 0.5, limits.min, np.round(values))
    return values.astype(dtype)
