"""Relay calls, attributes and types as core facts; the only file that knows attribute names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import repeat
from math import prod

import numpy as np
from tvm import IRModule, relay
from tvm.ir import TensorType
from tvm.tir import IntImm

from ..core.intervals import dtype_range, is_integer
from ..core.lowest import lowest_value
from ..core.refusal import Reason, Refusal, require
from ..core.window import AdaptiveAxis, PoolWindow, Widths, join_widths, place_window
from ..core.workload import Convolution
from .op.conv2d_max_pool2d import FusedAttributes
from .reductions import drops_axes, is_reduction, read_reduced_axes
from .sites import FunctionGraph, depends_on_input, op_name

_SPATIAL = "DHW"
_RESHAPES = frozenset(["expand_dims", "reshape", "squeeze"])  # cheaper here than compiling them
_FILLING = frozenset(["full", "ones", "zeros"])  # a shape filled with one number


@dataclass(frozen=True)
class PoolFacts:
    """One pool, read.

    Parameters
    ----------
    window : PoolWindow or Refusal
        Its geometry.
    window_axes : tuple of int
        Positions of the axes along which the windows lie, in the order of the pool's attributes.
    channel_axis : int
        Position of the (outer) channel axis; -1 if there is none, or more than one.
    shape : tuple of int or None
        Shape of the input; None for a dynamic extent.
    dtype : str
        Dtype of the input.
    pad : relay.Call or None
        An explicit ``nn.pad`` in front of the pool; `shape` is the shape before it.  If it pads as
        the pool itself would, `window` is that of both, over what a crop leaves.
    fills : bool
        True if it pads with values of its own instead, which are data to the pool.
    pad_value : float or None
        That value; None for an edge or a reflection, with which every step commutes.
    moves : tuple of relay.Call
        What stands between the pool and the value whose steps are being read, from the pool
        upwards, and only moves values; see ``moves.py``.
    below : PoolFacts or None
        The facts behind these moves, if there are any.
    """

    window: PoolWindow | Refusal
    window_axes: tuple[int, ...]
    channel_axis: int
    shape: tuple[int | None, ...]
    dtype: str
    pad: relay.Call | None = None
    fills: bool = False
    pad_value: float | None = None
    moves: tuple[relay.Call, ...] = ()
    below: PoolFacts | None = None

    def data_of(self, pool: relay.Call) -> relay.Expr:
        """What the pool, or its explicit padding, reads; also for a rewritten pool."""
        return pool.args[0] if self.pad is None else pool.args[0].args[0]

    @property
    def plane_shape(self) -> tuple[int, ...]:
        """The input's shape with 1 along the window axes and for open extents."""
        axes = enumerate(self.shape)
        return tuple(1 if i in self.window_axes else extent or 1 for i, extent in axes)

    @property
    def planes(self) -> int:
        """Batch times channels; dynamic extents count once."""
        return prod(self.plane_shape)

    @property
    def pooled_shape(self) -> tuple[int, ...]:
        """Shape of what the pool yields, its window axes kept."""
        shape = list(self.plane_shape)
        for axis, extent in zip(self.window_axes, self.window.outputs):
            shape[axis] = extent
        return tuple(shape)


def read_pool(pool: relay.Call, graph: FunctionGraph, as_lowest: bool = False) -> PoolFacts:
    """Facts of a pool call on typed IR.

    Parameters
    ----------
    pool : relay.Call
        The pool.
    graph : FunctionGraph
        The function.
    as_lowest : bool
        True to read an explicit padding as if it padded with the lowest value.
    """
    key = pool, as_lowest
    if key not in graph.pools_read:
        graph.pools_read[key] = _read_reduction(pool) if is_reduction(pool) else _read(*key, graph)
    return graph.pools_read[key]


def _read(pool: relay.Call, as_lowest: bool, graph: FunctionGraph) -> PoolFacts:
    layout = str(pool.attrs.layout)
    axes = re.findall("[A-Za-z]", re.sub("[0-9]", "", layout))
    window_axes = tuple(axes.index(axis) for axis in _SPATIAL if axis in axes)
    is_adaptive = "global" in op_name(pool) or "adaptive" in op_name(pool)
    padding = None if is_adaptive else read_padding(pool.args[0], window_axes, graph)
    pad = padding and padding.call
    fills = padding is not None and padding.fills and not as_lowest
    data_type = (pool if pad is None else pad).args[0].checked_type
    shape = read_shape(data_type)
    return PoolFacts(
        window=_read_window(pool, None if fills else pad, axes, window_axes, shape),
        window_axes=window_axes,
        channel_axis=axes.index("C") if "C" in axes else -1,
        shape=shape,
        dtype=str(data_type.dtype),
        pad=pad,
        fills=fills,
        pad_value=padding.value if fills else None,
    )


def _read_reduction(pool: relay.Call) -> PoolFacts:
    """Facts of a ``max`` over some axes."""
    shape, window_axes = read_shape(pool.args[0].checked_type), read_reduced_axes(pool)
    sizes = [shape[axis] for axis in window_axes]
    kept = [axis for axis in range(1, len(shape)) if axis not in window_axes]
    is_open = drops_axes(pool) and shape.count(None) > 1
    return PoolFacts(
        window=_refuse_dynamic(pool, shape if is_open else sizes)
        or _refuse_empty(pool, shape)
        or PoolWindow(tuple(AdaptiveAxis(size, 1) for size in sizes)),
        window_axes=window_axes,
        channel_axis=kept[0] if len(kept) == 1 else -1,
        shape=shape,
        dtype=read_dtype(pool),
    )


def read_shape(tensor_type: TensorType) -> tuple[int | None, ...]:
    """Shape of a tensor type, None where an extent is not static."""
    return tuple(int(d) if isinstance(d, (int, IntImm)) else None for d in tensor_type.shape)


def read_dtype(expr: relay.Expr) -> str | None:
    """Dtype of a typed tensor expression, None for a tuple or function."""
    checked = expr.checked_type
    return str(checked.dtype) if isinstance(checked, TensorType) else None


def is_float(expr: relay.Expr) -> bool:
    """True for a tensor of floats."""
    return (read_dtype(expr) or "").startswith(("float", "bfloat"))


def read_constant(expr: relay.Expr) -> np.ndarray | None:
    """Value of a constant, or of an expression made of constants only; else None."""
    if read_dtype(expr) == "bfloat16":
        return None  # numpy has none, and TVM would hand out the raw bits
    if isinstance(expr, relay.Constant):
        return expr.data.numpy()
    if op_name(expr) in _RESHAPES:  # CanonicalizeOps leaves biases as expand_dims of a constant
        values = read_constant(expr.args[0])
        return None if values is None else values.reshape(read_shape(expr.checked_type))
    if not isinstance(expr, relay.Call) or depends_on_input(expr):
        return None
    folded = relay.transform.FoldConstantExpr(expr, IRModule())
    return folded.data.numpy() if isinstance(folded, relay.Constant) else None


def is_constant(expr: relay.Expr) -> bool:
    """True for a constant, also one that is still to be given another shape or to fill one."""
    expr = _unshaped(expr)
    if op_name(expr) == "full":  # TVM never folds one
        expr = expr.args[0]
    return isinstance(expr, relay.Constant) or op_name(expr) in _FILLING


def is_literal(expr: relay.Expr) -> bool:
    """True for a constant that TVM writes into a kernel's code: one number, or filled with one.

    Any other is loaded, also one that has a single element.
    """
    expr = _unshaped(expr)
    return op_name(expr) in _FILLING or not read_shape(expr.checked_type)


def _unshaped(expr: relay.Expr) -> relay.Expr:
    while op_name(expr) in _RESHAPES:
        expr = expr.args[0]
    return expr


def read_filled(expr: relay.Expr) -> np.ndarray | None:
    """Value of a constant, as `read_constant` gives it, or of a filled shape."""
    if op_name(expr) not in _FILLING or not is_constant(expr):
        return read_constant(expr)
    value = read_constant(expr.args[0]) if op_name(expr) == "full" else op_name(expr) == "ones"
    shape, dtype = read_shape(expr.checked_type), read_dtype(expr)
    is_known = None not in shape and value is not None and dtype != "bfloat16"
    return np.full(shape, value, dtype) if is_known else None


def read_convolution(call: relay.Expr) -> Convolution | None:
    """Facts of a 2-D convolution in NCHW or NHWC; None for anything else or dynamic extents."""
    if op_name(call) != "nn.conv2d":
        return None
    attrs, layout = call.attrs, str(call.attrs.data_layout)
    layouts = {"NCHW": ("OIHW", (0, 1, 2, 3)), "NHWC": ("HWIO", (0, 3, 1, 2))}
    data, kernel = (read_shape(argument.checked_type) for argument in call.args)
    if layout not in layouts or str(attrs.kernel_layout) != layouts[layout][0]:
        return None
    if None in (*data, *kernel):
        return None
    batch, channels, height, width = (data[axis] for axis in layouts[layout][1])
    filters, rows, cols = (kernel[str(attrs.kernel_layout).index(axis)] for axis in "OHW")
    return Convolution(
        batch=batch,
        in_channels=channels,
        height=height,
        width=width,
        channels=filters,
        kernel=(rows, cols),
        strides=_pair(attrs.strides),
        padding=_sides(attrs.padding),
        dilation=_pair(attrs.dilation),
        groups=int(attrs.groups),
        dtype=read_dtype(call),
        layout=layout,
    )


def read_fused_attributes(conv: relay.Call, pool: relay.Call, facts: PoolFacts) -> FusedAttributes:
    """Attributes of the operator that computes a convolution and a max pool over it.

    The pool has a `read_joined_padding`.
    """
    filters, _, rows, cols = (int(extent) for extent in conv.args[1].checked_type.shape)
    return FusedAttributes(
        strides=_pair(conv.attrs.strides),
        padding=_sides(conv.attrs.padding),
        dilation=_pair(conv.attrs.dilation),
        channels=filters,
        kernel_size=(rows, cols),
        pool_size=_pair(pool.attrs.pool_size),
        pool_strides=_pair(pool.attrs.strides),
        pool_dilation=_pair(pool.attrs.dilation),
        pool_padding=read_joined_padding(pool, facts),
        ceil_mode=bool(pool.attrs.ceil_mode),
    )


def read_joined_padding(pool: relay.Call, facts: PoolFacts) -> tuple[int, ...] | None:
    """A pool's own padding and an explicit one in front of it as one: all before, then all after.

    None if that takes negative widths.
    """
    rank = len(facts.window_axes)
    own = _read_own_widths(pool, rank)
    explicit = _read_explicit_widths(facts.pad, facts.window_axes)
    joined = [join_widths(*widths) for widths in zip(explicit, own)]
    return None if None in joined else tuple(width for side in zip(*joined) for width in side)


def _read_own_widths(pool: relay.Call, rank: int) -> list[Widths]:
    """A pool's own padding: one number, one for each axis, or all before and then all after."""
    sides = _sides(pool.attrs.padding, rank)
    return list(zip(sides[:rank], sides[rank:]))


def _read_explicit_widths(pad: relay.Call | None, axes) -> list[Widths]:
    if pad is None:
        return [(0, 0)] * len(axes)
    return [tuple(int(width) for width in pad.attrs.pad_width[axis]) for axis in axes]


def _pair(values) -> tuple[int, int]:
    """An attribute for height and width, given once or twice."""
    first, *more = (int(value) for value in values)
    return (first, *more) if more else (first, first)


def _sides(values, rank: int = 2) -> tuple[int, ...]:
    """Padding as top, left, bottom, right (and alike), given once, for each axis, or for all."""
    numbers = tuple(int(value) for value in values)
    return numbers * (2 * rank // len(numbers))


@dataclass(frozen=True)
class Padding:
    """An explicit ``nn.pad`` of spatial axes, for the pool alone.

    Parameters
    ----------
    call : relay.Call
        The padding.
    fills : bool
        False if it pads with the lowest value, as the pool itself would.
    value : float or None
        What it pads with; None for an edge or a reflection, and for what only crops.
    """

    call: relay.Call
    fills: bool
    value: float | None = None


def read_padding(call, window_axes, graph: FunctionGraph) -> Padding | None:
    """The padding that a call is, None if it is none that can stay next to the pool."""
    if op_name(call) != "nn.pad" or graph.users(call) > 1 or graph.is_output(call):
        return None
    rank = len(call.attrs.pad_width)
    others = [axis for axis in range(rank) if axis not in window_axes]
    if any(any(widths) for widths in _read_explicit_widths(call, others)):
        return None
    mode = str(call.attrs.pad_mode)
    if mode == "reflect" and _reads_outside(call):
        return None
    if mode != "constant":
        return Padding(call, fills=True)
    number = _read_pad_value(call.args[1], read_dtype(call))
    if number is not None and number <= lowest_value(read_dtype(call)):
        return Padding(call, fills=False)
    if not any(width > 0 for pair in _read_explicit_widths(call, range(rank)) for width in pair):
        return Padding(call, fills=True)  # it crops, and writes nothing
    is_known = number is not None and np.isfinite(number)
    return Padding(call, True, number.item()) if is_known else None


def _reads_outside(reflection: relay.Call) -> bool:
    """True if TVM may reflect what is no value of the data: it turns around once only."""
    widths = _read_explicit_widths(reflection, range(len(reflection.attrs.pad_width)))
    extents = read_shape(reflection.args[0].checked_type)
    return any(max(pair) >= (extent or 1) for pair, extent in zip(widths, extents) if any(pair))


def _read_pad_value(expr: relay.Expr, dtype: str) -> np.generic | None:
    """The number that ``nn.pad`` writes into a tensor of a dtype, None if it is not known."""
    value = read_constant(expr)
    if value is None or value.size != 1 or not dtype.startswith(("float", "int", "uint")):
        return None
    number = value.item()
    if is_integer(dtype) and not _is_within(number, dtype_range(dtype)):
        return None  # what TVM's cast gives is undefined
    with np.errstate(over="ignore"):
        return np.asarray(value).astype(dtype).reshape(())[()]


def _is_within(number: float, limits: tuple[int, int]) -> bool:
    return limits[0] <= number <= limits[1]


def lowest_constant(dtype: str) -> relay.Expr:
    """Lowest finite value of a dtype as an expression: what TVM's max pools start from."""
    value = lowest_value(dtype)
    own = getattr(value, "dtype", None)
    if own is None or str(own) == dtype:
        return relay.const(value, dtype)
    return relay.const(value, str(own)).astype(dtype)  # bfloat16: numpy has none


def _read_window(pool, pad, axes, window_axes, shape) -> PoolWindow | Refusal:
    """The window over what `pad` leaves of a tensor of `shape`, or over what the pool reads."""
    refusal = _refuse_layout(pool, axes)
    if refusal:
        return refusal
    given = read_shape((pool if pad is None else pad).args[0].checked_type)
    sizes = [given[axis] for axis in window_axes]
    typed = [read_shape(pool.checked_type)[axis] for axis in window_axes]
    refusal = _refuse_dynamic(pool, sizes, typed) or _refuse_empty(pool, given)
    if refusal:
        return refusal
    placed = tuple(_place_windows(pool, pad, window_axes, sizes, typed))
    unpadded = tuple(shape[axis] for axis in window_axes)
    has_others = unpadded != tuple(axis.size for axis in placed)
    window = PoolWindow(placed, unpadded if has_others else None)
    return _refuse_empty(pool, window.outputs, "the output") or window


def _place_windows(pool, pad, window_axes, sizes, outputs):
    """The windows along each axis; `outputs` count for an adaptive pool."""
    if not hasattr(pool.attrs, "pool_size"):
        return map(AdaptiveAxis, sizes, outputs)
    rank, attrs = len(window_axes), pool.attrs
    lengths = (_per_axis(v, rank) for v in (attrs.pool_size, attrs.strides, attrs.dilation))
    own, explicit = _read_own_widths(pool, rank), _read_explicit_widths(pad, window_axes)
    rounds_up = repeat(bool(attrs.ceil_mode))
    return map(place_window, sizes, own, *lengths, rounds_up, explicit)


def _refuse_layout(pool: relay.Call, axes: list[str]) -> Refusal | None:
    layout = str(pool.attrs.layout)
    out_layout = str(getattr(pool.attrs, "out_layout", "") or layout)
    is_split = any(axis.upper() in _SPATIAL and axis.islower() for axis in axes)
    return require(
        out_layout == layout and not is_split,
        Reason.DYNAMIC_WINDOW,
        f"the window of {op_name(pool)}",
        f"over layout {layout} -> {out_layout}",
        "over whole spatial axes in one layout",
    )


def _refuse_dynamic(pool: relay.Call, sizes, outputs=()) -> Refusal | None:
    if None not in (*sizes, *outputs):
        return None
    text = " x ".join("?" if size is None else str(size) for size in sizes)
    subject = f"the window of {op_name(pool)}"
    return Refusal(Reason.DYNAMIC_WINDOW, subject, f"over {text}", "over static extents")


def _refuse_empty(pool: relay.Call, shape, what: str = "the input") -> Refusal | None:
    if all(extent is None or extent > 0 for extent in shape):
        return None
    text = " x ".join("?" if extent is None else str(max(extent, 0)) for extent in shape)
    subject = f"{what} of {op_name(pool)}"
    return Refusal(Reason.EMPTY_POOL, subject, f"empty ({text})", "of at least one value")


def _per_axis(values, rank: int) -> list[int]:
    """An attribute per spatial axis."""
    numbers = [int(value) for value in values] if hasattr(values, "__len__") else [int(values)]
    return numbers * rank if len(numbers) == 1 else numbers[:rank]
