"""Small ONNX graphs around a pool: the shapes in which users met trouble, written by hand."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}
SAME = {"pads": [1, 1, 1, 1]}
INT32, FLOAT16 = TensorProto.INT32, TensorProto.FLOAT16


def make_graph(*nodes: tuple, size: int = 8, batch: int | str = 1, **arrays) -> GraphProto:
    """A graph on the input ``x`` (3 channels) whose last node makes the only output, ``y``.

    Parameters
    ----------
    nodes : tuple
        Operator, inputs and outputs (each parted by spaces), attributes; the key ``name`` of the
        attributes is the node's name, its first output by default.
    size, batch : int
        Of the input.
    arrays
        Weights by name; ``w``, 3 to 4 channels, and its bias ``b`` are always there.
    """
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((4, 3, 3, 3)).astype("float32"),
        "v": random.standard_normal((4, 4, 3, 3)).astype("float32"),
        "b": random.standard_normal(4).astype("float32"),
        **{name: np.asarray(value) for name, value in arrays.items()},
    }
    made = [_make_node(*node) for node in nodes]
    used = {name for node in made for name in node.input}
    tensor = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    return helper.make_graph(
        made,
        "network",
        [tensor("x", [batch, 3, size, size])],
        [tensor(made[-1].output[0], None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items() if name in used],
    )


def _make_node(operator: str, inputs: str, outputs: str, attributes: dict = {}):  # noqa: B006
    options = {"name": outputs.split()[0], **attributes}
    return helper.make_node(operator, inputs.split(), outputs.split(), **options)


def _float(*values) -> np.ndarray:
    return np.asarray(values, "float32")


CONV = ("Conv", "x w b", "c", SAME)
FOUR = _float(0.5, 1, 2, 0.25)


def behind_convolution(*nodes: tuple, **options) -> GraphProto:
    """The nodes between a convolution's result ``c`` and a pool of ``a``."""
    return make_graph(CONV, *nodes, ("MaxPool", "a", "y", POOL), **options)


GRAPHS = {
    "relu": behind_convolution(("Relu", "c", "a")),
    "sigmoid": behind_convolution(("Sigmoid", "c", "a")),
    "softmax": behind_convolution(("Softmax", "c", "a", {"axis": 1})),
    "log": behind_convolution(("Log", "c", "a")),
    "silu": behind_convolution(("Sigmoid", "c", "s"), ("Mul", "c s", "a")),
    "max of x and -x": behind_convolution(("Neg", "c", "n"), ("Max", "c n", "a")),
    "clip and cast": make_graph(
        CONV,
        ("Tanh", "c", "t"),
        ("Clip", "t low high", "l"),
        ("Cast", "l", "i", {"to": FLOAT16}),
        ("MaxPool", "i", "p", POOL),
        ("Cast", "p", "y", {"to": TensorProto.FLOAT}),
        low=np.float32(-0.5),
        high=np.float32(0.5),
    ),
    "concatenation and reshape": make_graph(
        ("Conv", "x w", "c", SAME),
        ("Conv", "x u", "d", SAME),
        ("Reshape", "c flat", "q"),
        ("Reshape", "d flat", "r"),
        ("Relu", "q", "e"),
        ("Relu", "r", "f"),
        ("Concat", "e f", "k", {"axis": 2}),
        ("Reshape", "k tall", "n"),
        ("MaxPool", "n", "p", POOL),
        ("Sigmoid", "p", "y"),
        u=np.ones((4, 3, 3, 3), "float32"),
        flat=[1, 4, 64],
        tall=[1, 4, 16, 8],
    ),
    "crop before a pool that pads": make_graph(
        CONV,
        ("Relu", "c", "r"),
        ("Pad", "r crop low", "a"),
        ("MaxPool", "a", "y", {"kernel_shape": [3, 3], "strides": [2, 2], **SAME}),
        crop=[0, 0, -1, -1, 0, 0, -1, -1],
        low=np.float32(-np.inf),
    ),
    "dilated depthwise and batch norm": make_graph(
        ("Conv", "x w b", "c", SAME),
        ("Conv", "c deep", "d", {"group": 4, "dilations": [2, 2], "pads": [2] * 4}),
        ("Tanh", "d", "t"),
        ("BatchNormalization", "t scale b mean scale", "a"),
        ("MaxPool", "a", "y", POOL),
        deep=np.ones((4, 1, 3, 3), "float32"),
        scale=FOUR,
        mean=FOUR,
    ),
    "batch norm": behind_convolution(
        ("BatchNormalization", "c scale b mean scale", "n"),
        ("Relu", "n", "a"),
        scale=FOUR,
        mean=FOUR,
    ),
    "elu between transposes": make_graph(
        CONV,
        ("Transpose", "c", "t", {"perm": [0, 2, 3, 1]}),
        ("Add", "t b", "s"),
        ("Elu", "s", "e"),
        ("Transpose", "e", "a", {"perm": [0, 3, 1, 2]}),
        ("MaxPool", "a", "y", POOL),
    ),
    "instance norm": behind_convolution(
        ("InstanceNormalization", "c scale b", "n"), ("Sigmoid", "n", "a"), scale=FOUR
    ),
    "squeeze and excite": behind_convolution(
        ("GlobalAveragePool", "c", "g"),
        ("Conv", "g k", "h"),
        ("Sigmoid", "h", "s"),
        ("Mul", "c s", "m"),
        ("Sigmoid", "m", "a"),
        k=np.full((4, 4, 1, 1), 0.1, "float32"),
    ),
    "names like markup": make_graph(
        CONV,
        ("Relu", "c", "r"),
        ("MaxPool", "r", "p", {**POOL, "name": "backbone[conv4]/pool"}),
        ("Conv", "p v b", "d", SAME),
        ("Relu", "d", "s"),
        ("MaxPool", "s", "y", {**POOL, "name": "head[/b]pool"}),
    ),
    "prelu, batch 2": behind_convolution(
        ("PRelu", "c slope", "a"), batch=2, slope=FOUR.reshape(4, 1, 1)
    ),
    "quantised convolution": make_graph(
        ("QuantizeLinear", "x s z", "q"),
        ("QLinearConv", "q s z k ks kz os z", "c", SAME),
        ("DequantizeLinear", "c os z", "d"),
        ("Sigmoid", "d", "a"),
        ("MaxPool", "a", "y", POOL),
        s=np.float32(0.05),
        z=np.uint8(128),
        k=np.random.default_rng(1).integers(-90, 90, (16, 3, 3, 3)).astype("int8"),
        ks=np.float32(0.02),
        kz=np.int8(0),
        os=np.float32(0.1),
        size=64,  # enough values for the exchange to pay
    ),
    "residual addition": make_graph(
        CONV,
        ("Conv", "c v b", "d", SAME),
        ("Add", "c d", "s"),
        ("Relu", "s", "a"),
        ("MaxPool", "a", "y", POOL),
    ),
    "pool of a pool": make_graph(
        CONV, ("Relu", "c", "r"), ("MaxPool", "r", "p", POOL), ("MaxPool", "p", "y", POOL)
    ),
    "average pool": make_graph(CONV, ("Relu", "c", "a"), ("AveragePool", "a", "y", POOL)),
    "twins": make_graph(
        CONV,
        ("Relu", "c", "r"),
        ("MaxPool", "r", "p", {**POOL, "name": "left"}),
        ("MaxPool", "r", "q", {**POOL, "name": "right"}),
        ("Add", "p q", "y"),
    ),
    "parallel convolutions": make_graph(
        ("Conv", "x w", "c", SAME),
        ("Conv", "x u", "d", SAME),
        ("Conv", "x t", "e", SAME),
        ("Relu", "c", "c1"),
        ("Tanh", "d", "d1"),
        ("Sigmoid", "e", "e1"),
        ("MaxPool", "c1", "c2", {**POOL, "name": "one"}),
        ("MaxPool", "d1", "d2", {**POOL, "name": "two"}),
        ("MaxPool", "e1", "e2", {**POOL, "name": "three"}),
        ("Concat", "e2 c2 d2", "y", {"axis": 1}),
        u=np.ones((4, 3, 3, 3), "float32"),
        t=np.full((4, 3, 3, 3), 0.5, "float32"),
    ),
}
