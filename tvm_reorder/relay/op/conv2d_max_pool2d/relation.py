"""Registers the operator: arguments, type relation, fusion pattern."""

from __future__ import annotations

import tvm
from tvm import relay

from .attributes import NAME, FusedAttributes, make_geometry

_DESCRIPTION = "Convolution, then max pooling, in one kernel: max_pool2d(conv2d(data, weight))."


def relate(types: list, attrs: tvm.ir.Attrs) -> relay.TensorType:
    """The type of the result.

    Raises
    ------
    ValueError
        If the kernel does not fit the data.
    """
    data, kernel = types[:2]
    attributes = FusedAttributes.read(attrs)
    shapes = [tuple(int(extent) for extent in each.shape) for each in (data, kernel)]
    geometry = make_geometry(*shapes, attributes)
    taps = shapes[1][1] * (shapes[1][4] if len(shapes[1]) == 6 else 1)
    if taps != geometry.convolution.in_channels:
        raise ValueError(
            f"the kernel of {NAME} takes {taps} channels but must take the data's "
            f"{geometry.convolution.in_channels}"
        )
    height, width = geometry.pooled
    shape = [geometry.convolution.batch, geometry.out_chunks, height, width]
    blocked = [geometry.out_block] if len(shapes[1]) == 6 else []
    return relay.TensorType([*shape, *blocked], attributes.out_dtype)


def make_call(data: relay.Expr, weight: relay.Expr, attributes: FusedAttributes, span=None):
    """A call of the operator."""
    return relay.Call(relay.op.get(NAME), [data, weight], attributes.as_attrs(), [], span)


def register() -> None:
    """Make the operator known to Relay; once a process."""
    relay.op.op.register(NAME, _DESCRIPTION)
    op = relay.op.get(NAME)
    op.add_argument("data", "4D or 5D Tensor", "The picture.")
    op.add_argument("weight", "4D or 6D Tensor", "The filters.")
    op.set_num_inputs(2)
    op.set_support_level(10)
    op.set_attrs_type_key("DictAttrs")
    op.add_type_rel("Conv2DMaxPool2D", relate)
    relay.op.op.register_pattern(NAME, relay.op.OpPattern.OUT_ELEMWISE_FUSABLE)
    relay.op.op.register_stateful(NAME, False)
