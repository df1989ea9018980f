"""The ONNX importer's PRelu: reshape to one axis, prelu, reshape back; read as one prelu."""

from __future__ import annotations

import numpy as np
from tvm import relay

from ..core.chain import Link
from ..core.refusal import Refusal, non_finite, unknown_sign, varies
from .facts import read_constant, read_dtype, read_shape
from .nan import do_keep_nan
from .operands import shrink
from .operators import make_leaky
from .sites import op_name
from .steps import Step, find_sharing


def _read_flat_slopes(slopes, shape) -> tuple[np.ndarray | None, list[relay.Call]]:
    """Slopes of full size, and the calls that spread them: reshape(broadcast_to_like(s, x), -1)."""
    helpers = []
    for name in ("reshape", "broadcast_to_like"):
        if op_name(slopes) == name:
            helpers.append(slopes)
            slopes = slopes.args[0]
    values = read_constant(slopes)
    if values is None or None in shape:
        return None, helpers
    if any(op_name(helper) == "broadcast_to_like" for helper in helpers):
        return np.broadcast_to(values, shape), helpers
    return values.reshape(shape), helpers


def is_flat_prelu(root: relay.Expr) -> bool:
    """True for reshape(prelu(reshape(x)))."""
    if op_name(root) != "reshape" or op_name(root.args[0]) != "nn.prelu":
        return False
    return op_name(root.args[0].args[0]) == "reshape"


def read_flat_prelu(graph, root, scene, shared) -> Step | Refusal | None:
    """reshape(prelu(reshape(x, -1), slopes, axis=0), shape of x) as one prelu per channel."""
    if not is_flat_prelu(root):
        return None
    prelu = root.args[0]
    flat, source = prelu.args[0], prelu.args[0].args[0]
    shape = read_shape(source.checked_type)
    if shape != read_shape(root.checked_type) or len(read_shape(flat.checked_type)) != 1:
        return None
    slopes, helpers = _read_flat_slopes(prelu.args[1], shape)
    if slopes is None:
        return unknown_sign("the slope of nn.prelu")
    if not np.isfinite(slopes.astype(np.float64)).all():
        return non_finite("the slope of nn.prelu")
    channels = shrink(slopes, scene.pool)
    axis = scene.pool.channel_axis
    if axis < 0 or channels is None or channels.size != shape[axis]:
        return varies("the slope of nn.prelu")
    described = make_leaky("nn.prelu", channels, scene.pool)
    region = [root, prelu, flat, *helpers]
    for call in region[1:]:
        shared = shared or find_sharing(graph, call, 1)
    per_channel = relay.nn.prelu(source, relay.const(channels.ravel(), read_dtype(prelu)), axis)
    rebuilt = relay.Call(per_channel.op, per_channel.args, per_channel.attrs, [], prelu.span)
    link = Link(described, read_dtype(root), 1, shared, keeps_nan=do_keep_nan([prelu], scene))
    return Step(link, root, source, (0, 0, 0), frozenset(region), {}, rebuilt)
