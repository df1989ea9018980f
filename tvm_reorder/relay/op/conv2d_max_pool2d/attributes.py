"""The operator's name, its attributes, and what they mean as core facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import tvm

from ....core.tiles import FusedGeometry
from ....core.window import PoolWindow, WindowAxis, place_window
from ....core.workload import Convolution

NAME = "contrib.conv2d_max_pool2d"


@dataclass(frozen=True)
class FusedAttributes:
    """Attributes of the operator, as Python values.

    Parameters
    ----------
    strides, dilation, kernel_size : tuple of int
        Of the convolution: height, width.
    padding : tuple of int
        Of the convolution: top, left, bottom, right.
    channels : int
        Filters.
    pool_size, pool_strides, pool_dilation : tuple of int
        Of the pool: height, width.
    pool_padding : tuple of int
        Of the pool: top, left, bottom, right.
    ceil_mode : bool
        Round the pool's output size up.
    data_layout, kernel_layout, out_layout : str
        ``NCHW``, ``OIHW``, ``NCHW``, or blocked: ``NCHW16c``, ``OIHW16i16o``, ``NCHW16c``.
    out_dtype : str
        Dtype of the result.
    """

    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    channels: int
    kernel_size: tuple[int, int]
    pool_size: tuple[int, int]
    pool_strides: tuple[int, int]
    pool_dilation: tuple[int, int]
    pool_padding: tuple[int, int, int, int]
    ceil_mode: bool
    data_layout: str = "NCHW"
    kernel_layout: str = "OIHW"
    out_layout: str = "NCHW"
    out_dtype: str = "float32"

    @staticmethod
    def read(attrs: tvm.ir.Attrs) -> FusedAttributes:
        """The attributes of a call."""
        values = {name: _plain(attrs[name]) for name in FusedAttributes.__dataclass_fields__}
        values["ceil_mode"] = bool(values["ceil_mode"])
        return FusedAttributes(**values)

    @staticmethod
    def from_arguments(kernel: tuple[int, ...], options: Sequence) -> FusedAttributes:
        """The inverse of `as_arguments`, for a kernel of a shape in OIHW or OIHW[i]i[o]o."""
        names = (
            *("strides", "padding", "dilation"),
            *("pool_size", "pool_strides", "pool_dilation", "pool_padding"),
            *("ceil_mode", "data_layout", "out_layout", "out_dtype"),
        )
        values = {name: _plain(value) for name, value in zip(names, options, strict=True)}
        values["ceil_mode"] = bool(values["ceil_mode"])
        channels = kernel[0] * (kernel[5] if len(kernel) == 6 else 1)
        return FusedAttributes(channels=channels, kernel_size=tuple(kernel[2:4]), **values)

    def as_attrs(self) -> tvm.ir.Attrs:
        """The attributes as TVM's ``DictAttrs``."""
        return tvm.ir.make_node("DictAttrs", **{k: _wrapped(v) for k, v in asdict(self).items()})

    def as_arguments(self) -> list:
        """What the AutoTVM template takes after data and kernel."""
        return [
            self.strides,
            self.padding,
            self.dilation,
            self.pool_size,
            self.pool_strides,
            self.pool_dilation,
            self.pool_padding,
            int(self.ceil_mode),
            self.data_layout,
            self.out_layout,
            self.out_dtype,
        ]


def make_geometry(
    data: tuple[int, ...], kernel: tuple[int, ...], attributes: FusedAttributes
) -> FusedGeometry:
    """The geometry of a call.

    Parameters
    ----------
    data : tuple of int
        (N, C, H, W), or (N, C/c, H, W, c).
    kernel : tuple of int
        (O, I, kh, kw), or (O/o, I/i, kh, kw, i, o).
    attributes : FusedAttributes
        The attributes.

    Raises
    ------
    ValueError
        If a window does not fit.
    """
    in_block = data[4] if len(data) == 5 else 1
    out_block = kernel[5] if len(kernel) == 6 else 1
    convolution = Convolution(
        batch=data[0],
        in_channels=data[1] * in_block,
        height=data[2],
        width=data[3],
        channels=kernel[0] * out_block,
        kernel=tuple(kernel[2:4]),
        strides=attributes.strides,
        padding=attributes.padding,
        dilation=attributes.dilation,
        dtype=attributes.out_dtype,
    )
    outputs = convolution.outputs
    if min(outputs) < 1:
        raise ValueError(f"the convolution's output is {outputs} but must have at least one value")
    axes = tuple(_pool_axis(attributes, axis, size) for axis, size in enumerate(outputs))
    if min(axis.output for axis in axes) < 1:
        pooled = tuple(axis.output for axis in axes)
        raise ValueError(f"the pool's output is {pooled} but must have at least one value")
    return FusedGeometry(convolution, PoolWindow(axes), in_block, out_block)


def _pool_axis(attributes: FusedAttributes, axis: int, size: int) -> WindowAxis:
    own = attributes.pool_padding[axis], attributes.pool_padding[axis + 2]
    kernel, stride = attributes.pool_size[axis], attributes.pool_strides[axis]
    dilation = attributes.pool_dilation[axis]
    return place_window(size, own, kernel, stride, dilation, attributes.ceil_mode)


def _plain(value):
    if isinstance(value, (str, tvm.runtime.String)):
        return str(value)
    if hasattr(value, "__len__"):
        return tuple(int(item) for item in value)
    return int(value)


def _wrapped(value):
    return list(value) if isinstance(value, tuple) else value
