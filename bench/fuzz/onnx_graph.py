"""A recipe's ONNX model as Relay."""

from __future__ import annotations

import onnx
from tvm import relay

from tvm_reorder.relay.floor_division import mend_floor_division

from .graph import Graph
from .onnx_pools import decode


def import_graph(recipe: dict, name: str) -> Graph:
    """The graph of a model; its inputs and nodes get names that tell whose they are.

    Raises
    ------
    ValueError
        If it has extents that are not known.
    """
    model = _rename(decode(recipe["onnx"]), name)
    with mend_floor_division():
        mod, _ = relay.frontend.from_onnx(model, freeze_params=True)
    function = relay.transform.InferType()(mod)["main"]
    body = function.body
    outputs = list(body.fields) if isinstance(body, relay.Tuple) else [body]
    inputs = {}
    for variable in relay.analysis.free_vars(body):
        kind = variable.checked_type
        if relay.ty.is_dynamic(kind):
            raise ValueError(f"{variable.name_hint} has extents that are not known")
        shape = tuple(int(extent) for extent in kind.shape)
        inputs[variable.name_hint] = (shape, str(kind.dtype))
    if any(relay.ty.is_dynamic(output.checked_type) for output in outputs):
        raise ValueError("a result has extents that are not known")
    return Graph(name, outputs, inputs)


def _rename(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    names = {each.name: f"{name}_{n}" for n, each in enumerate(model.graph.input)}
    for each in model.graph.input:
        each.name = names[each.name]
    for number, node in enumerate(model.graph.node):
        node.name = f"{name}/{number}"
        for place, source in enumerate(node.input):
            node.input[place] = names.get(source, source)
    return model
