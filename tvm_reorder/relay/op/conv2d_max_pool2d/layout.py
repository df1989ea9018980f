"""Layouts: the operator takes the blocked NCHWc layout of the convolutions around it."""

from __future__ import annotations

from dataclasses import replace

import tvm
from tvm import autotvm, relay, te
from tvm.relay.transform.infer_layout_utils import InferCorrectLayoutOutput
from tvm.topi.utils import get_const_tuple

from .attributes import NAME, FusedAttributes
from .relation import make_call
from .template import check_blocks, set_default_config
from .tuned import fused_workload, query


def infer_layout(attrs, new_in_layouts, old_in_layouts, old_in_types):
    """The layouts that the attributes name, whatever the neighbours have."""
    attributes = FusedAttributes.read(attrs)
    layouts = (attributes.data_layout, attributes.kernel_layout)
    return InferCorrectLayoutOutput(
        [tvm.tir.layout(name) for name in layouts], [tvm.tir.layout(attributes.out_layout)], attrs
    )


def alter_layout(attrs, inputs, tinfos, out_type) -> relay.Expr | None:
    """The call in the blocked layout that its configuration asks for; None if it is in one.

    As for TVM's own convolutions (``topi/x86/conv2d_alter_op.py``) the configuration is kept under
    the blocked workload too, where the schedule will look for it.
    """
    attributes = FusedAttributes.read(attrs)
    target = tvm.target.Target.current(allow_none=False)
    if attributes.data_layout != "NCHW" or "cpu" not in target.keys:
        return None
    data, kernel = tinfos
    context = autotvm.task.DispatchContext.current
    config = query(fused_workload(data, kernel, attributes))
    if config.is_fallback:
        set_default_config(config, data, kernel, attributes)
    check_blocks(config, int(data.shape[1]), int(kernel.shape[0]))
    in_block, out_block = config["tile_ic"].size[-1], config["tile_oc"].size[-1]
    blocked = replace(
        attributes,
        data_layout=f"NCHW{in_block}c",
        kernel_layout=f"OIHW{in_block}i{out_block}o",
        out_layout=f"NCHW{out_block}c",
    )
    batch, channels, height, width = get_const_tuple(data.shape)
    filters, _, kh, kw = get_const_tuple(kernel.shape)
    data_shape = (batch, channels // in_block, height, width, in_block)
    kernel_shape = (filters // out_block, channels // in_block, kh, kw, in_block, out_block)
    placeholders = [
        te.placeholder(shape, each.dtype)
        for shape, each in zip((data_shape, kernel_shape), (data, kernel))
    ]
    context.update(target, fused_workload(*placeholders, blocked), config)
    return make_call(*inputs, blocked)


def register() -> None:
    """Make the layouts known to Relay; once a process."""
    tvm.ir.register_op_attr(NAME, "FInferCorrectLayout", infer_layout)
    relay.op.op.register_alter_op_layout(NAME, alter_layout)
