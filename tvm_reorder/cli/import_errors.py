"""Which operator of a model an importer of TVM failed at.

The importers walk over a model's nodes and raise whatever the conversion of one raises; its name is
lost.  It stands in the traceback: in the local variables of the loop, which differ from importer to
importer.  An importer asks for types where it needs them, and the type checker refuses what was
converted long before: of that the Relay operator is known, and the node that its span names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FrameType

import tvm
from tvm import relay
from tvm.ir import Op

from ..relay.sites import read_operands


@dataclass(frozen=True)
class Node:
    """One operator of a model as its file has it.

    Parameters
    ----------
    operator : str
        What it does.
    name : str
        Empty where it has none.
    outputs : tuple of str
        Names of its outputs, as far as they are known.
    """

    operator: str
    name: str = ""
    outputs: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        names = ", ".join(map(repr, self.outputs))
        outputs = f" (output{'s' if len(self.outputs) > 1 else ''} {names})" if names else ""
        return f"the operator {self.operator}{name}{outputs}"


def find_nodes(error: BaseException) -> list[Node]:
    """The operators that an importer was converting when it failed, the innermost first.

    More than one if an operator holds a graph of its own; none if the error has another source.
    """
    found = [node for frame in _list_frames(error) if (node := _read_node(frame)) is not None]
    return found[::-1]


def find_refused(error: BaseException) -> Node | None:
    """The operator that the type checker refused when an importer asked it; None if it did not."""
    for frame in _list_frames(error):
        if frame.f_code.co_name == "infer_type" and isinstance(error, tvm.TVMError):
            return _find_untyped(frame.f_locals.get("node"))
    return None


def _find_untyped(expr: relay.Expr) -> Node | None:
    """The operator in an expression that has no type although all its arguments have one."""
    if not _is_untyped(expr):
        return None
    while (below := next(filter(_is_untyped, read_operands(expr)), None)) is not None:
        expr = below
    if not isinstance(expr, relay.Call) or not isinstance(expr.op, Op):
        return None
    source = "" if expr.span is None else str(expr.span.source_name.name)
    return Node(expr.op.name, source)


def _is_untyped(expr: relay.Expr) -> bool:
    is_computed = isinstance(expr, (relay.Call, relay.Tuple, relay.TupleGetItem))
    return is_computed and not _has_type(expr)


def _has_type(expr: relay.Expr) -> bool:
    try:
        relay.transform.InferType()(tvm.IRModule.from_expr(expr))
    except tvm.TVMError:
        return False
    return True


def _list_frames(error: BaseException) -> Iterator[FrameType]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _read_node(frame: FrameType) -> Node | None:
    code = frame.f_code
    read = _READERS.get(code.co_name)
    if read is None or "frontend" not in code.co_filename:
        return None
    try:
        return read(frame.f_locals, frame.f_globals)
    except (LookupError, AttributeError, TypeError):
        return None  # another version of the importer, or an error before the first node


def _read_onnx(found: dict, _) -> Node:
    node = found["node"]
    return Node(node.op_type, node.name, tuple(node.output))


def _read_unknown_onnx(found: dict, _) -> Node:
    unknown = found["unsupported_ops"]
    return _read_onnx({"node": _first(n for n in found["graph"].node if n.op_type in unknown)}, _)


def _read_tflite(found: dict, module: dict) -> Node:
    name = module["get_tensor_name"]
    outputs = (name(found["self"].subgraph, each.tensor_idx) for each in found["output_tensors"])
    return Node(found["op_code_str"], "", tuple(outputs))


def _read_unknown_tflite(found: dict, module: dict) -> Node:
    converter, graph = found["self"], found["self"].subgraph
    operators = map(graph.Operators, range(graph.OperatorsLength()))
    refused = {*found["unsupported_ops_set"], *found["dynamic_range_ops_set"]}
    operator = _first(op for op in operators if converter.get_op_code_str(op) in refused)
    outputs = converter.get_output_tensors(operator)
    code = converter.get_op_code_str(operator)
    return _read_tflite({**found, "op_code_str": code, "output_tensors": outputs}, module)


def _read_pytorch(found: dict, _) -> Node:
    return Node(found["operator"], found["node_name"])


def _read_keras(found: dict, _) -> Node:
    return Node(found["op_name"], found["keras_layer"].name)


def _read_tensorflow(found: dict, _) -> Node:
    return Node(found["node"].op, found["node"].name)


def _read_paddle(found: dict, _) -> Node:
    operator = found["op"]
    return Node(operator.type, "", tuple(operator.output_arg_names))


def _first(nodes: Iterable):
    for node in nodes:
        return node
    raise LookupError


# By the importer's function that has the node among its variables.
_READERS: dict[str, Callable[[dict, dict], Node]] = {
    "_construct_nodes": _read_onnx,
    "_check_for_unsupported_ops": _read_unknown_onnx,
    "convert_op_to_relay": _read_tflite,
    "check_unsupported_ops": _read_unknown_tflite,
    "convert_operators": _read_pytorch,
    "keras_op_to_relay": _read_keras,
    "_backtrack_construct": _read_tensorflow,
    "ops_to_relay": _read_paddle,
}
