"""Max pools put into ONNX models: a model without one tells nothing of the pass.

What is done
    One or two tensors are chosen, mostly results of what the pass may read.  Each goes through a
    MaxPool of random geometry, every second one through an activation first, and what stood behind
    it, as long as that is an operator of one value, stands behind the pool too.  The pools'
    ends become the results; of what was a result before, some stays.  The rest falls away.
"""

from __future__ import annotations

import base64
import zlib
from itertools import count
from math import prod
from pathlib import Path
from random import Random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tvm_reorder.cli.errors import UsageError, first_line

from .recipe import VALUES, draw_how

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}
_POOLED = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8}
_POOLED |= {TensorProto.UINT8}
_CASTABLE = {TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}
_ONE_VALUE = frozenset(
    ["Relu", "LeakyRelu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Ceil", "Floor", "Round", "Clip"]
    + ["Sqrt", "Log", "Sin", "Cos", "Atan", "Erf", "Softplus", "Elu", "Cast", "Reciprocal"]
)
_READ = _ONE_VALUE | {"Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Pad", "Where", "Concat"}
_READ |= {"Transpose", "Reshape", "Slice", "Expand", "Squeeze", "Unsqueeze", "Conv", "Gemm"}
_PUT_IN: dict[str, dict] = {  # of any opset, with plain attributes
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Floor", "Erf"), {}),
    "LeakyRelu": {"alpha": 0.1},
    "Elu": {"alpha": 1.3},
    "HardSigmoid": {"alpha": 0.25},
    "Softplus": {},
    "Softsign": {},
    "ThresholdedRelu": {"alpha": 1.5},
}
_RANKS = range(3, 6)
_MOST_BEHIND = 3


def draw_model_recipe(path: Path, seed: int, index: int) -> dict:
    """A file's model with pools, as a recipe: graph `index` of a seed.

    Raises
    ------
    UsageError
        If the file is no ONNX model.
    """
    try:
        model = onnx.shape_inference.infer_shapes(onnx.load(path))
    except Exception as error:  # protobuf's own, a missing file, an inconsistent model
        raise UsageError(f"{path} is no ONNX model: {first_line(error)}") from error
    random = Random(f"model {seed} {index}")
    changed = insert_pools(model, random)
    return {
        "seed": seed,
        "index": index,
        "file": path.name,
        **draw_how(seed, index, has_producer=False),
        "onnx": encode(changed),
        "values": ["normal", *random.sample(VALUES[1:], 2)],
    }


def encode(model: onnx.ModelProto) -> str:
    """A model as text."""
    return base64.b64encode(zlib.compress(model.SerializeToString())).decode()


def decode(text: str) -> onnx.ModelProto:
    """The model of `encode`."""
    return onnx.load_model_from_string(zlib.decompress(base64.b64decode(text)))


def insert_pools(model: onnx.ModelProto, random: Random) -> onnx.ModelProto:
    """The model with one or two pools; as it is if none of its tensors can be pooled."""
    tensors = _find_tensors(model)
    if not tensors:
        return model
    names = random.choices(list(tensors), _weigh(model, tensors), k=random.choice((1, 1, 2)))
    pooler = _Pooler(model, random)
    ends = [pooler.pool(name, *tensors[name]) for name in dict.fromkeys(names)]
    if random.random() < 0.15:
        ends.append(random.choice(list(tensors)))
    return _keep_only(model, list(dict.fromkeys(ends)), pooler.nodes, pooler.initializers)


def _weigh(model: onnx.ModelProto, tensors: dict) -> list[int]:
    """More for the later ones, which have more above them, and for what the pass may read."""
    operators = {name: node.op_type for node in model.graph.node for name in node.output}
    pairs = ((n, 6 if operators[name] in _READ else 1) for n, name in enumerate(tensors, 1))
    return [n * weight for n, weight in pairs]


def _find_tensors(model: onnx.ModelProto) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Dtype and shape of what can be pooled and depends on an input."""
    graph = model.graph
    known = {each.name: each.type.tensor_type for each in (*graph.value_info, *graph.output)}
    constants = {each.name for each in graph.initializer}
    varying = {each.name for each in graph.input} - constants
    found = {}
    for node in graph.node:
        if node.op_type == "Shape" or not varying.intersection(node.input):
            continue
        varying.update(node.output)
        for name in node.output:
            shape = _read_shape(known.get(name))
            if shape and known[name].elem_type in _POOLED | _CASTABLE and prod(shape) > 1:
                found[name] = (known[name].elem_type, shape)
    return found


def _read_shape(kind) -> tuple[int, ...] | None:
    if kind is None or not kind.HasField("shape"):
        return None
    shape = tuple(int(dim.dim_value) for dim in kind.shape.dim)
    return shape if all(shape) else None


class _Pooler:
    """Makes the new nodes."""

    def __init__(self, model: onnx.ModelProto, random: Random):
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._random = random
        self._graph = model.graph
        self._names = (f"pooled{n}" for n in count())

    def pool(self, name: str, dtype: int, shape: tuple[int, ...]) -> str:
        """The end of what stands behind a tensor's pool."""
        value = name
        if dtype in _CASTABLE:
            value = self._add("Cast", [value], to=TensorProto.FLOAT)
        if len(shape) not in _RANKS or self._random.random() < 0.15:
            shape = self._choose_shape(shape)
            wanted = next(self._names)
            numbers = numpy_helper.from_array(np.array(shape, np.int64), wanted)
            self.initializers.append(numbers)
            value = self._add("Reshape", [value, wanted])
        if dtype in _FLOATS and self._random.random() < 0.5:
            operator = self._random.choice(sorted(_PUT_IN))
            value = self._add(operator, [value], **_PUT_IN[operator])
        value = self._add("MaxPool", [value], **self._draw_geometry(shape[2:]))
        if dtype in _CASTABLE:
            return value
        return self._follow(name, value)

    def _follow(self, name: str, value: str) -> str:
        """What stands behind the tensor in the model, behind its pool."""
        for _ in range(_MOST_BEHIND):
            followers = [node for node in self._graph.node if name in node.input]
            followers = [node for node in followers if node.op_type in _ONE_VALUE]
            if not followers or self._random.random() < 0.3:
                return value
            node = onnx.NodeProto()
            node.CopyFrom(followers[0])
            name = node.output[0]
            node.input[0], node.output[0] = value, next(self._names)
            self.nodes.append(node)
            value = node.output[0]
        return value

    def _choose_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same elements on three to five axes."""
        extents = [extent for extent in shape if extent > 1]
        rank = self._random.choice((3, 4, 4, 5))
        while len(extents) > rank:
            last = extents.pop()
            extents[-1] *= last
        while len(extents) < rank:
            extents.insert(self._random.randint(0, len(extents)), 1)
        return tuple(extents)

    def _draw_geometry(self, extents: tuple[int, ...]) -> dict:
        random, rank = self._random, len(extents)
        kernel = [min(n, random.choice((1, 2, 2, 3))) for n in extents]
        drawn = {
            "kernel_shape": kernel,
            "strides": [random.choice((1, 2, 2, 2, 3)) for _ in kernel],
        }
        if random.random() < 0.3:
            drawn["pads"] = [random.randint(0, k - 1) for k in kernel * 2]
        elif random.random() < 0.15:
            drawn["auto_pad"] = random.choice(("SAME_UPPER", "SAME_LOWER", "VALID"))
        if random.random() < 0.2 and "auto_pad" not in drawn:
            drawn["ceil_mode"] = 1
        if random.random() < 0.1 and all((k - 1) * 2 < n for k, n in zip(kernel, extents)):
            drawn["dilations"] = [2] * rank
        return drawn

    def _add(self, operator: str, inputs: list[str], **attributes) -> str:
        output = next(self._names)
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output


def _keep_only(
    model: onnx.ModelProto, ends: list[str], nodes: list, initializers: list
) -> onnx.ModelProto:
    """The model with these results and nothing that they do not need."""
    graph = model.graph
    ordered = [*graph.node, *nodes]
    wanted, kept = set(ends), []
    for node in reversed(ordered):
        if wanted.intersection(node.output):
            kept.insert(0, node)
            wanted.update(node.input)
    known = {each.name: each for each in (*graph.value_info, *graph.output)}
    outputs = [known.get(name) or onnx.ValueInfoProto(name=name) for name in ends]
    changed = helper.make_model(
        helper.make_graph(
            kept,
            "pooled",
            [each for each in graph.input if each.name in wanted],
            outputs,
            [each for each in (*graph.initializer, *initializers) if each.name in wanted],
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    return onnx.shape_inference.infer_shapes(changed)


def drop_node(text: str) -> list[str]:
    """The models that remain, as text, if one node that keeps shape and dtype is left out."""
    model = decode(text)
    kinds = {
        each.name: each.type.SerializeToString()
        for each in (*model.graph.value_info, *model.graph.input, *model.graph.output)
    }
    smaller = []
    for number, node in enumerate(model.graph.node):
        output = node.output[0]
        same = [name for name in node.input if kinds.get(name) == kinds.get(output, "")]
        if same and output not in {each.name for each in model.graph.output}:
            smaller.append(encode(_bypass(model, number, same[0])))
    return smaller


def _bypass(model: onnx.ModelProto, number: int, source: str) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    output = changed.graph.node[number].output[0]
    del changed.graph.node[number]
    for node in changed.graph.node:
        for place, name in enumerate(node.input):
            if name == output:
                node.input[place] = source
    ends = [each.name for each in changed.graph.output]
    return _keep_only(changed, ends, [], [])
