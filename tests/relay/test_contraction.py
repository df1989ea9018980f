"""One rounding or two: random products and sums between any producer and any pool, and the code.

Values are drawn so that a fused multiply-add and a product and a sum of their own differ in
every fourth element or so.
"""

import numpy as np
import tvm
from tvm import relay
from tvm.target import Target

import tvm_reorder
from tvm_reorder.certify.targets import CertificateError, require_runs_here

from .networks import build, constant, execute, module

CLASSES = {
    "sse2": "llvm",
    "avx2": "llvm -mcpu=core-avx2",
    "avx512": "llvm -mcpu=skylake-avx512",
}
CHANNELS, SIZE = 8, 8


def runs_here(target: str) -> bool:
    try:
        require_runs_here(Target(target))
    except CertificateError:
        return False
    return True


# --- producers ------------------------------------------------------------------------------------


def per_channel(values, axis: int, rank: int, dtype: str = "float32"):
    shape = [1] * rank
    shape[axis] = -1
    return constant(np.reshape(values, shape), dtype)


def shape_of(value):
    typed = relay.transform.InferType()(tvm.IRModule.from_expr(value))["main"].ret_type
    return [int(extent) for extent in typed.shape]


def image_of(layout: str, channels: int = CHANNELS, dtype: str = "float32"):
    extents = {axis: SIZE if axis in "DHW" else 1 for axis in layout}
    shape = [channels if axis == "C" else extents[axis] for axis in layout]
    return relay.var("x", shape=shape, dtype=dtype)


def convolve(x, layout="NCHW", kernel=3, groups=1, dilation=1, seed=0):
    """A convolution in any number of dimensions that keeps its input's shape."""
    spatial = [axis for axis in layout if axis in "DHW"]
    channels = CHANNELS
    shape = {"O": channels, "I": channels // groups, **dict.fromkeys(spatial, kernel)}
    is_first = layout[1] == "C"
    order = "OI" + "".join(spatial) if is_first else "".join(spatial) + "IO"
    if not is_first and groups == channels:
        order, shape["O"], shape["I"] = "".join(spatial) + "OI", channels, 1
    weight = np.random.default_rng(seed).normal(size=[shape[axis] for axis in order])
    operator = {1: relay.nn.conv1d, 2: relay.nn.conv2d, 3: relay.nn.conv3d}[len(spatial)]
    rank = len(spatial)
    return operator(
        x,
        constant(weight),
        channels=channels,
        kernel_size=(kernel,) * rank,
        padding=(kernel // 2 * dilation,) * rank,
        dilation=(dilation,) * rank,
        groups=groups,
        data_layout=layout,
        kernel_layout=order,
    )


def transpose(x, groups=1):
    weight = np.random.default_rng(3).normal(size=(CHANNELS, CHANNELS // groups, 3, 3))
    options = {"kernel_size": (3, 3), "padding": (1, 1), "channels": CHANNELS, "groups": groups}
    return relay.nn.conv2d_transpose(x, constant(weight), **options)


def gate(x):
    return x * relay.sigmoid(relay.mean(x, [2, 3], keepdims=True))


def normalise(x):
    mean = relay.mean(x, [2, 3], keepdims=True)
    spread = relay.variance(x, [2, 3], keepdims=True)
    return (x - mean) * relay.rsqrt(spread + relay.const(1e-5))


def two(x):
    return [convolve(x, seed=seed) for seed in (1, 2)]


# name -> layout, what computes the chain's input, what the table calls it
PRODUCERS = {
    "conv": ("NCHW", convolve, ("nn.conv2d", "NCHW", "plain")),
    "conv 1x1": ("NCHW", lambda x: convolve(x, kernel=1), ("nn.conv2d", "NCHW", "plain")),
    "dilated": ("NCHW", lambda x: convolve(x, dilation=2), ("nn.conv2d", "NCHW", "plain")),
    "NHWC": ("NHWC", lambda x: convolve(x, "NHWC"), ("nn.conv2d", "NHWC", "plain")),
    "depthwise": ("NCHW", lambda x: convolve(x, groups=8), ("nn.conv2d", "NCHW", "depthwise")),
    "grouped": ("NCHW", lambda x: convolve(x, groups=2), ("nn.conv2d", "NCHW", "grouped")),
    "conv1d": ("NCW", lambda x: convolve(x, "NCW"), ("nn.conv1d", "NCW", "plain")),
    "conv1d NWC": ("NWC", lambda x: convolve(x, "NWC"), ("nn.conv1d", "NWC", "plain")),
    "conv3d": ("NCDHW", lambda x: convolve(x, "NCDHW"), ("nn.conv3d", "NCDHW", "plain")),
    "conv3d NDHWC": ("NDHWC", lambda x: convolve(x, "NDHWC"), ("nn.conv3d", "NDHWC", "plain")),
    "transposed": ("NCHW", transpose, ("nn.conv2d_transpose", "NCHW", "plain")),
    "input": ("NCHW", lambda x: x, "Var"),
    "pool": ("NCHW", lambda x: relay.nn.max_pool2d(x, (3, 3), padding=(1, 1)), "nn.max_pool2d"),
    "sum of inputs": ("NCHW", lambda x: x + relay.var("y", shape=shape_of(x)), "elementwise"),
    "gated": ("NCHW", gate, "elementwise"),
    "gated convolution": ("NCHW", lambda x: gate(convolve(x)), "elementwise"),
    "instance norm": ("NCHW", normalise, "elementwise"),
    "dilated depthwise": ("NCHW", lambda x: convolve(x, groups=8, dilation=2), None),
    "depthwise NHWC": ("NHWC", lambda x: convolve(x, "NHWC", groups=8), None),
    "grouped NHWC": ("NHWC", lambda x: convolve(x, "NHWC", groups=2), None),
    "transposed grouped": ("NCHW", lambda x: transpose(x, 8), None),
    "concatenation": ("NCHW", lambda x: relay.concatenate(two(x), 1), None),
    "concatenated inputs": ("NCHW", lambda x: relay.concatenate([x, relay.tanh(x)], 1), None),
    "residual": ("NCHW", lambda x: relay.add(*two(x)), None),
    "a product": ("NCHW", lambda x: relay.multiply(*two(x)), None),
    "average": ("NCHW", lambda x: relay.nn.avg_pool2d(x, (3, 3), padding=(1, 1)), None),
    "slice": (
        "NCHW",
        lambda x: relay.strided_slice(x * constant(1.7), [0] * 4, [1, 8, 6, 8]),
        None,
    ),
    "padded": ("NCHW", lambda x: relay.nn.pad(x * constant(1.7), ((0, 0),) * 3 + ((1, 1),)), None),
    "upsampled": ("NCHW", lambda x: relay.nn.upsampling(x * constant(1.7), 2, 2), None),
}


# --- pairs ----------------------------------------------------------------------------------------


class Draw:
    """Operands for a value of some layout."""

    def __init__(self, rng, value, layout):
        self.rng, self.shape, self.axis = rng, shape_of(value), layout.index("C")

    def scale(self, signed=False):
        sign = self.rng.choice([-1, 1]) if signed else 1
        return self._operand(sign * self.rng.uniform(0.5, 2, self.shape[self.axis]))

    def shift(self):
        return self._operand(self.rng.normal(size=self.shape[self.axis]))

    def number(self, low=0.5, high=2.0):
        return relay.const(np.float32(self.rng.uniform(low, high)))

    def power_of_two(self):
        return relay.const(np.float32(2.0 ** self.rng.integers(-8, 8)))

    def _operand(self, values):
        if self.rng.random() < 0.3:
            return relay.const(np.float32(values[0]))
        return per_channel(values, self.axis, len(self.shape))


STEPS = {
    "nothing": lambda x, d: x,
    "tanh": lambda x, d: relay.tanh(x),
    "relu": lambda x, d: relay.nn.relu(x),
    "sigmoid": lambda x, d: relay.sigmoid(x),
    "scale": lambda x, d: x * d.scale(),
    "signed scale": lambda x, d: d.scale(True) * x,
    "shift": lambda x, d: x + d.shift(),
    "unshift": lambda x, d: x - d.shift(),
    "from a number": lambda x, d: d.number() - x,
    "division": lambda x, d: x / d.number(),
    "square": lambda x, d: relay.power(relay.nn.relu(x), relay.const(2.0)),
    "negative": lambda x, d: relay.negative(x),
    "copy": lambda x, d: relay.copy(x),
    "times -1": lambda x, d: x * relay.const(-1.0),
    "plus 0": lambda x, d: x + relay.const(0.0),
    "power of two": lambda x, d: x * d.power_of_two(),
    "prelu": lambda x, d: relay.nn.prelu(
        x, constant(d.rng.uniform(0.1, 0.9, d.shape[d.axis])), axis=d.axis
    ),
    "leaky": lambda x, d: relay.nn.leaky_relu(x, 0.3),
    "elu": lambda x, d: (
        relay.const(-0.7) * relay.nn.relu(relay.const(1.0) - relay.exp(x)) + relay.nn.relu(x)
    ),
    "hard sigmoid": lambda x, d: relay.clip(x * d.number(0.1, 0.3) + d.number(), 0, 1),
    "there and back": lambda x, d: (lambda b: (x + b) - b)(d.shift()),
    "double": lambda x, d: x.astype("float64").astype("float32"),
}
PRODUCTS = ["scale", "signed scale", "division", "square", "power of two", "prelu"]
PASSES = ["nothing", "nothing", "negative", "copy", "times -1", "plus 0"]
SUMS = ["shift", "unshift", "from a number"]
POOLS = {
    "pool": lambda x, layout: relay.nn.max_pool2d(x, (2, 2), (2, 2), layout=layout),
    "overlapping": lambda x, layout: relay.nn.max_pool2d(
        x, (3, 3), (2, 2), padding=(1, 1), layout=layout
    ),
    "global": lambda x, layout: relay.nn.global_max_pool2d(x, layout=layout),
    "adaptive": lambda x, layout: relay.nn.adaptive_max_pool2d(x, (2, 2), layout=layout),
    "max": lambda x, layout: relay.max(x, [2, 3] if layout == "NCHW" else [1, 2], keepdims=True),
}
BEHIND_THE_POOL = ["nothing", "relu", "shift", "unshift", "scale", "scale and shift", "residual"]


def pool_any(x, layout, rng):
    if layout in ("NCHW", "NHWC"):
        return POOLS[rng.choice(list(POOLS))](x, layout)
    rank = len(layout) - 2
    operator = {1: relay.nn.max_pool1d, 3: relay.nn.max_pool3d}[rank]
    return operator(x, (2,) * rank, (2,) * rank, layout=layout)


def draw_network(name: str, seed: int):
    """Producer, steps in which products and sums abound, pool, and what stands behind it."""
    rng = np.random.default_rng([seed, sorted(PRODUCERS).index(name)])
    layout, produce, _ = PRODUCERS[name]
    x = image_of(layout)
    value = produce(x)
    draw = Draw(rng, value, layout)
    names = [rng.choice(list(STEPS)) for _ in range(rng.integers(0, 3))]
    names += [rng.choice(kind) for kind in (PRODUCTS, PASSES, SUMS)[: rng.integers(1, 4)]]
    names += [rng.choice(list(STEPS)) for _ in range(rng.integers(0, 2))]
    for step in names:
        value = STEPS[step](value, draw)
    shared = value if rng.random() < 0.1 else None
    pooled = pool_any(value, layout, rng)
    behind = rng.choice(BEHIND_THE_POOL)
    for step in {"scale and shift": ["scale", "shift"]}.get(behind, [behind]):
        if step == "residual":
            pooled = pooled + relay.var("r", shape=shape_of(pooled))
        else:
            pooled = STEPS[step](pooled, draw)
    outputs = [pooled] if shared is None else [pooled, shared]
    inputs = {}
    mod = module(relay.Tuple(outputs))
    for variable in mod["main"].params:
        shape = [int(extent) for extent in variable.checked_type.shape]
        inputs[variable.name_hint] = rng.normal(size=shape).astype("float32")
    return mod, inputs, f"{name}: {', '.join(names)} | {behind}"


def compare(mod, inputs, target, opt_level, **options):
    """Whether stock and exchanged results are equal, and the site."""
    config = {"decision": "exchange", "licence": "ulp:any", "opt_level": 0}
    stock = build(mod, opt_level=opt_level, target=target)
    with tvm_reorder.enabled(**{**config, **options}) as report:
        ours = build(mod, opt_level=opt_level, target=target)
    assert not report.errors
    results = zip(execute(stock, inputs), execute(ours, inputs))
    return all(np.array_equal(a, b, equal_nan=True) for a, b in results), report
