"""The ONNX importer's PRelu: reshape to one axis, prelu, reshape back; read as one prelu.

The slopes have the size of the data by then, reshape(broadcast_to_like(slopes, x), [-1]), also when
TVM has folded the helpers: one for each value, of which a window's must be the same.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from tvm import relay

from ..core.chain import Link
from ..core.refusal import Refusal, unknown_sign, varies
from .facts import read_constant, read_dtype, read_shape
from .moves import is_flat_prelu
from .nan import do_keep_nan
from .operands import finite_or, shrink
from .prelu import build_prelu, make_leaky
from .sites import op_name
from .steps import Rebuild, Step, find_sharing

_SUBJECT = "the slope of nn.prelu"
_SPREADING = ("broadcast_to_like", "broadcast_to")


def read_flat_prelu(graph, root, scene, shared) -> Step | Refusal | None:
    """reshape(prelu(reshape(x, [-1]), slopes, axis=0), shape of x) as one step; None for others."""
    if not is_flat_prelu(root):
        return None
    prelu = root.args[0]
    flat, source, dtype = prelu.args[0], prelu.args[0].args[0], read_dtype(prelu)
    values, helpers = _read_slopes(prelu.args[1], read_shape(source.checked_type))
    if values is None:
        return unknown_sign(_SUBJECT)
    slopes = finite_or(values, _SUBJECT) or shrink(values, scene.pool)
    if slopes is None or isinstance(slopes, Refusal):
        return slopes or varies(_SUBJECT)
    for call in (prelu, flat):
        shared = shared or find_sharing(graph, call, 1)
    described = make_leaky("nn.prelu", slopes, scene.pool)
    link = Link(described, dtype, 1, shared, keeps_nan=do_keep_nan([prelu], scene))
    build = partial(build_prelu, slopes=slopes, pool=scene.pool, dtype=dtype)
    # The slopes are built anew, so helpers that somebody else uses too just stay with him.
    region = frozenset([root, prelu, flat, *(h for h in helpers if graph.users(h) == 1)])
    path = (0, 0, 0)
    return Step(link, root, source, path, region, rebuilds={root: Rebuild(path, build)})


def _read_slopes(slopes, shape) -> tuple[np.ndarray | None, list[relay.Call]]:
    """Slopes in the data's shape, and the calls that spread them.

    They are spread over the shape that PRelu saw.  The data may have another one: TVM makes one
    reshape of the importer's and one in front of it.
    """
    helpers = []
    for names in (("reshape",), _SPREADING):
        if op_name(slopes) in names:
            helpers.append(slopes)
            slopes = slopes.args[0]
    values = read_constant(slopes)
    if values is None:
        return None, helpers
    for helper in helpers:
        if op_name(helper) in _SPREADING:
            spread_over = read_shape(helper.checked_type)
            if None in spread_over:
                return None, helpers
            values = np.broadcast_to(values, spread_over)
    return values.reshape(shape), helpers
