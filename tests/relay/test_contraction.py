"""One rounding or two: random products and sums between any producer and any pool, and the code.

Values are drawn so that a fused multiply-add and a product and a sum of their own differ in
every fourth element or so.
"""

import re

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.target import Target

import tvm_reorder
from tvm_reorder import Reason, Status
from tvm_reorder.certify.targets import CertificateError, may_contract, require_runs_here
from tvm_reorder.relay.kernels import _INLINING_POOLS, _INLINING_PRODUCERS

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


def number(value):
    return relay.const(np.float32(value))


def image_of(layout: str, channels: int = CHANNELS, dtype: str = "float32"):
    extents = {axis: SIZE if axis in "DHW" else 1 for axis in layout}
    shape = [channels if axis == "C" else extents[axis] for axis in layout]
    return relay.var("x", shape=shape, dtype=dtype)


def convolve(x, layout="NCHW", kernel=1, groups=1, dilation=1, seed=0):
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


def scale_by_input(x):
    return relay.nn.relu(convolve(x)) * relay.var("s", shape=(CHANNELS, 1, 1))


def cut(x):
    return relay.strided_slice(x, [0, 0, 1, 0], list(shape_of(x)))


def turn(x, last):
    """Channels last, or first again (3)."""
    return relay.transpose(x, [0, 2, 3, 1] if last == 1 else [0, 3, 1, 2])


def flatten(x):
    rows, columns = shape_of(x)[2:]
    return relay.reshape(x, (1, CHANNELS, rows // 2, columns * 2))


def lay_out(x, layout):
    """From a layout to the other one."""
    return relay.layout_transform(x, layout, "NHWC" if layout == "NCHW" else "NCHW")


# name -> layout, what computes the chain's input, what the table calls it
PRODUCERS = {
    "conv": ("NCHW", convolve, ("nn.conv2d", "NCHW", "plain")),
    "conv 3x3": ("NCHW", lambda x: convolve(x, kernel=3), ("nn.conv2d", "NCHW", "plain")),
    "dilated": ("NCHW", lambda x: convolve(x, "NCHW", 3, 1, 2), ("nn.conv2d", "NCHW", "plain")),
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
    "branches": ("NCHW", lambda x: two(x), None),
    "branches of inputs": ("NCHW", lambda x: [x, relay.nn.max_pool2d(x)], None),
    "sum of inputs": ("NCHW", lambda x: x + relay.var("y", shape=shape_of(x)), "elementwise"),
    "gated": ("NCHW", gate, "elementwise"),
    "gated convolution": ("NCHW", lambda x: gate(convolve(x)), "elementwise"),
    "instance norm": ("NCHW", normalise, "elementwise"),
    "scaled conv": ("NCHW", scale_by_input, ("nn.conv2d", "NCHW", "plain")),
    "sliced conv": ("NCHW", lambda x: cut(convolve(x)), "elementwise"),
    "cut in front": ("NCHW", lambda x: cut(gate(convolve(x))), "elementwise"),
    "turned conv": ("NCHW", lambda x: turn(convolve(turn(x, 1), "NHWC"), 3), "elementwise"),
    "reshaped conv": ("NCHW", lambda x: flatten(convolve(x)), "elementwise"),
    "laid out conv": (
        "NHWC",
        lambda x: lay_out(convolve(lay_out(x, "NHWC")), "NCHW"),
        "elementwise",
    ),
    "dilated depthwise": ("NCHW", lambda x: convolve(x, groups=8, dilation=2), None),
    "depthwise NHWC": ("NHWC", lambda x: convolve(x, "NHWC", groups=8), None),
    "grouped NHWC": ("NHWC", lambda x: convolve(x, "NHWC", groups=2), None),
    "transposed grouped": ("NCHW", lambda x: transpose(x, 8), None),
    "concatenation": ("NCHW", lambda x: relay.concatenate(two(x), 1), None),
    "concatenated inputs": ("NCHW", lambda x: relay.concatenate([x, relay.tanh(x)], 1), None),
    "residual": ("NCHW", lambda x: relay.add(*two(x)), None),
    "a product": ("NCHW", lambda x: relay.multiply(*two(x)), None),
    "average": ("NCHW", lambda x: relay.nn.avg_pool2d(x, (3, 3), padding=(1, 1)), None),
    "slice": ("NCHW", lambda x: relay.strided_slice(x * number(1.7), [0] * 4, [1, 8, 6, 8]), None),
    "padded": ("NCHW", lambda x: relay.nn.pad(x * number(1.7), ((0, 0),) * 3 + ((1, 1),)), None),
}


# --- pairs ----------------------------------------------------------------------------------------


class Draw:
    """Operands for a value of some layout."""

    def __init__(self, rng, value, layout, numbers=False):
        self.rng, self.shape, self.axis = rng, shape_of(value), layout.index("C")
        self.numbers = 1.0 if numbers else 0.3

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
        if self.rng.random() < self.numbers:
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
    names = [rng.choice(list(STEPS)) for _ in range(rng.integers(0, 3))]
    names += [rng.choice(kind) for kind in (PRODUCTS, PASSES, SUMS)[: rng.integers(1, 4)]]
    names += [rng.choice(list(STEPS)) for _ in range(rng.integers(0, 2))]
    made, tops = produce(image_of(layout)), []
    for base in made if isinstance(made, list) else [made]:
        # Branches of a concatenation have to end in the same steps, numbers included.
        own = np.random.default_rng(seed) if isinstance(made, list) else rng
        draw, top = Draw(own, base, layout, isinstance(made, list)), base
        for step in names:
            top = STEPS[step](top, draw)
        tops.append(top)
    value = relay.concatenate(tops, 1) if len(tops) > 1 else tops[0]
    draw = Draw(rng, value, layout)
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


RUNS = {name: target for name, target in CLASSES.items() if runs_here(target)}
BEST = list(RUNS)[-1]  # with FMA
SEEDS = [pytest.param(seed, marks=pytest.mark.full if seed else ()) for seed in range(12)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", PRODUCERS)
def test_random_products_and_sums(name, seed):
    mod, inputs, text = draw_network(name, seed)
    opt_level = int(np.random.default_rng([seed, len(name)]).integers(0, 5))
    same, report = compare(mod, inputs, RUNS[BEST], opt_level)
    assert same, f"{text}: {report}"


@pytest.mark.full
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", PRODUCERS)
def test_random_products_and_sums_without_fma(name, seed):
    mod, inputs, text = draw_network(name, 100 + seed)
    same, report = compare(mod, inputs, CLASSES["sse2"], seed + 1)
    assert same, f"{text}: {report}"


# --- the compiled code ----------------------------------------------------------------------------

FMA_CLASSES = ["avx2", "avx512"]
_PRODUCT, _FMA = re.compile(r"\bv?mul[ps]s\b"), re.compile(r"\bvfn?m(?:add|sub)\w*[ps]s\b")


def scaled_and_shifted(value, layout):
    """A product and a sum that FoldScaleAxis leaves where they are."""
    draw = Draw(np.random.default_rng(1), value, layout)
    draw.numbers = 0
    return relay.nn.relu(value) * draw.scale() + draw.shift()


def count_instructions(value, target, opt_level=3):
    """Products and fused multiply-adds in the code of an expression."""
    with tvm.transform.PassContext(opt_level=opt_level, disabled_pass=["FoldScaleAxis"]):
        text = relay.build(module(value), target).get_lib().get_source("asm")
    return len(_PRODUCT.findall(text)), len(_FMA.findall(text))


@pytest.mark.parametrize("instructions", FMA_CLASSES)
@pytest.mark.parametrize("name", [name for name, row in PRODUCERS.items() if row[2]])
@pytest.mark.parametrize("opt_level", [pytest.param(1, marks=pytest.mark.full), 3])
def test_kernels_that_count_as_known_round_once(name, instructions, opt_level):
    layout, produce, _ = PRODUCERS[name]
    produced = produce(image_of(layout))
    own = count_instructions(relay.nn.relu(produced), CLASSES[instructions], opt_level)
    value = scaled_and_shifted(produced, layout)
    products, fused = count_instructions(value, CLASSES[instructions], opt_level)
    assert fused > own[1] and products <= own[0]


@pytest.mark.parametrize("instructions", FMA_CLASSES)
@pytest.mark.parametrize("layout", ["NCW", "NCHW", "NHWC", "NCDHW"])
@pytest.mark.parametrize("kind", ["window", "adaptive"])
def test_so_do_the_pools(kind, layout, instructions):
    rank, x = len(layout) - 2, image_of(layout)
    if kind == "window":
        pool = {1: relay.nn.max_pool1d, 2: relay.nn.max_pool2d, 3: relay.nn.max_pool3d}[rank]
        pooled = pool(x, (2,) * rank, (2,) * rank, layout=layout)
    else:
        pool = getattr(relay.nn, f"adaptive_max_pool{rank}d")
        pooled = pool(x, (2,) * rank, layout=layout)
    products, fused = count_instructions(scaled_and_shifted(pooled, layout), CLASSES[instructions])
    assert fused and not products


@pytest.mark.parametrize("instructions", FMA_CLASSES)
def test_so_does_the_fused_operator(instructions):
    chain = scaled_and_shifted(convolve(image_of("NCHW"), kernel=3), "NCHW")
    mod = module(relay.nn.max_pool2d(chain, (2, 2), (2, 2)))
    with tvm_reorder.enabled(decision="fuse") as report:
        with tvm.transform.PassContext(opt_level=3, disabled_pass=["FoldScaleAxis"]):
            library = relay.build(mod, CLASSES[instructions])
    assert report.sites[0].status is Status.FUSED, report
    text = library.get_lib().get_source("asm")
    assert _FMA.search(text) and not _PRODUCT.search(text)


def test_every_row_of_the_table_is_built():
    built = {row[2] for row in PRODUCERS.values() if row[2]}
    rows = {(name, *kind) for name, kinds in _INLINING_PRODUCERS.items() for kind in kinds}
    assert rows <= built
    windows = {f"nn.max_pool{rank}d" for rank in (1, 2, 3)}
    adaptive = {f"nn.adaptive_max_pool{rank}d" for rank in (1, 2, 3)}
    alike = {"nn.global_max_pool2d", "contrib.conv2d_max_pool2d"}  # adaptive, and the one above
    assert windows | adaptive | alike == _INLINING_POOLS


@pytest.mark.parametrize("instructions", FMA_CLASSES)
def test_a_kernel_that_does_not_inline_rounds_twice(instructions):
    """Else the table could be longer, and this test says nothing."""
    value = scaled_and_shifted(convolve(image_of("NCHW"), groups=8, dilation=2), "NCHW")
    assert count_instructions(value, CLASSES[instructions])[0]


# --- sites ----------------------------------------------------------------------------------------


def site_of(value, layout="NCHW", target=CLASSES["avx512"], opt_level=3, **options):
    """The one site of a chain over a 2x2 pool, as a build for a target sees it."""
    pooled = relay.nn.max_pool2d(value, (2, 2), (2, 2), layout=layout)
    config = {"decision": "exchange", "write": False, "opt_level": 0, **options}
    with tvm.transform.PassContext(opt_level=opt_level), Target(target):
        _, report = tvm_reorder.reorder(module(pooled), **config)
    (site,) = report.sites
    return site


def normalised(value, layout="NCHW"):
    """tanh and what batch norm becomes behind it."""
    return scaled_and_shifted(relay.tanh(value), layout)


UNKNOWN = {
    "dilated depthwise": "a dilated depthwise nn.conv2d in NCHW",
    "depthwise NHWC": "a depthwise nn.conv2d in NHWC",
    "concatenation": "concatenate",
    "average": "nn.avg_pool2d",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_pair_stays_where_nobody_knows_the_kernel(name):
    layout, produce, _ = PRODUCERS[name]
    value = normalised(produce(image_of(layout)), layout)
    site = site_of(value, layout)
    assert site.status is Status.REFUSED and site.refusal.reason is Reason.CONTRACTION
    assert UNKNOWN[name] in site.explanation
    assert site_of(value, layout, licence="ulp:any").status is Status.REFUSED
    assert site_of(value, layout, target="llvm").chain[-1] == "add"  # nothing is contracted


@pytest.mark.parametrize("name", ["conv", "NHWC", "depthwise", "grouped", "transposed", "input"])
def test_the_common_case_moves(name):
    layout, produce, _ = PRODUCERS[name]
    site = site_of(normalised(produce(image_of(layout)), layout), layout)
    assert site.status is Status.EXCHANGEABLE
    assert site.chain[-2:] == ("multiply", "add")


HARMLESS = {
    "elu": STEPS["elu"],
    "powers of two": lambda x, d: relay.tanh(x) * number(0.25) + d.shift(),
    "nothing added": lambda x, d: relay.tanh(x) * d.scale() + number(0.0),
    "a sign": lambda x, d: relay.negative(relay.tanh(x)) * number(-1.0) + d.shift(),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_exact_either_way_moves_in_any_kernel(name):
    layout, produce, _ = PRODUCERS["dilated depthwise"]
    value = produce(image_of(layout))
    site = site_of(HARMLESS[name](value, Draw(np.random.default_rng(0), value, layout)))
    assert site.status is Status.EXCHANGEABLE, site.explanation


def test_what_joins_depends_on_its_surroundings_stays():
    """LLVM makes a product of a PRelu where it knows that its argument is no NaN."""
    x = image_of("NCHW", dtype="int8")
    slopes = constant(np.linspace(0.1, 0.9, CHANNELS))
    bent = relay.nn.prelu(x.astype("float32"), slopes)
    assert site_of(bent + number(0.3)).refusal.reason is Reason.CONTRACTION
    assert site_of(bent).status is Status.EXCHANGEABLE


FRAGILE = {
    "subtracted": lambda x, d: d.shift() - x * d.scale(),
    "less": lambda x, d: x * d.scale() - d.shift(),
    "negated": lambda x, d: relay.negative(x * d.scale()) + d.shift(),
    "of two sums": lambda x, d: (lambda p: relay.maximum(p + d.shift(), p + d.shift()))(
        x * d.scale()
    ),
    "a square": lambda x, d: relay.power(x, relay.const(2.0)) + d.shift(),
    "chosen": lambda x, d: relay.where(relay.greater(x, number(0.0)), x * d.scale(), x) + d.shift(),
}


@pytest.mark.parametrize("place", ["moved", "kept", "behind"])
@pytest.mark.parametrize("name", FRAGILE)
def test_what_llvm_alone_joins_stays_in_its_kernel(name, place):
    """Between the two LLVM may put a shuffle, or a basic block, and then it rounds twice."""
    x = relay.nn.relu(image_of("NHWC"))
    draw = Draw(np.random.default_rng(0), x, "NHWC")
    pool = lambda x: relay.nn.max_pool2d(x, (2, 2), (2, 2), layout="NHWC")
    if place == "behind":
        value = FRAGILE[name](pool(relay.tanh(x)), draw)
    else:
        value = FRAGILE[name](x, draw)
        value = pool(relay.tanh(value) if place == "kept" else value)
    mod = module(value)
    with tvm.target.Target(CLASSES["avx2"]):
        _, report = tvm_reorder.reorder(mod, licence="ulp:any", decision="exchange")
    (site,) = report.sites
    assert site.refusal is not None and site.refusal.reason is Reason.CONTRACTION, site.explanation


def test_a_choice_behind_the_pool_passes_a_product_on():
    x = relay.tanh(image_of("NCHW")) * number(1.7)
    pooled = relay.nn.max_pool2d(x, (2, 2), (2, 2))
    condition = relay.greater(relay.var("c", shape=shape_of(pooled)), number(0.0))
    behind = relay.where(condition, pooled, number(0.0)) + number(0.3)
    with Target(CLASSES["avx2"]):
        (site,) = tvm_reorder.reorder(module(behind), decision="exchange")[1].sites
    assert site.refusal.reason is Reason.CONTRACTION and "behind the pool" in site.explanation


OWN = {
    "exp": (4, lambda x: relay.exp(x)),
    "fast_exp": (3, lambda x: relay.Call(tvm.ir.Op.get("fast_exp"), [x])),
    "floor_mod": (3, lambda x: relay.floor_mod(x, number(0.7))),
    "resize": (3, lambda x: relay.image.resize2d(x, (16, 16), layout="NHWC")),
}


@pytest.mark.parametrize("place", ["above", "behind"])
@pytest.mark.parametrize("name", OWN)
def test_an_operator_with_products_and_sums_inside_keeps_its_kernel(name, place):
    """Behind a pool nothing is interpolated in its kernel."""
    opt_level, operator = OWN[name]
    x = relay.nn.relu(image_of("NHWC"))
    pool = lambda x: relay.nn.max_pool2d(x, (2, 2), (2, 2), layout="NHWC")
    value = operator(pool(relay.ceil(x))) if place == "behind" else pool(relay.ceil(operator(x)))
    with tvm.transform.PassContext(opt_level=opt_level), Target(CLASSES["avx2"]):
        _, report = tvm_reorder.reorder(module(value), decision="exchange", write=False)
    (site,) = report.sites
    if (name, place) == ("resize", "behind"):
        assert site.status is Status.EXCHANGEABLE, site.explanation
    else:
        assert site.status is Status.REFUSED, site.explanation
        assert place == "above" or site.refusal.reason is Reason.CONTRACTION


@pytest.mark.parametrize("name", ["fast_tanh", "fast_erf"])
def test_the_other_polynomials_have_no_fragile_pair(name):
    value = relay.Call(tvm.ir.Op.get(name), [image_of("NHWC")])
    code = relay.build(module(value), CLASSES["avx2"]).get_lib().get_source("ll")
    assert "llvm.fmuladd" in code and not re.search(r"\bf(add|sub)\b", code)


WRITTEN = {
    "scale, shift": lambda x, d: x * d.scale() + d.shift(),
    "shift, scale": lambda x, d: d.shift() + d.scale() * x,
    "divided": lambda x, d: x / d.number() + d.shift(),
    "bias": lambda x, d: relay.nn.bias_add(
        x * d.scale(), constant(np.linspace(-1, 1, d.shape[d.axis])), axis=d.axis
    ),
    "turned": lambda x, d: relay.reverse(x * d.scale(), axis=1) + d.shift(),
}
_FMULADD = re.compile(r"call [^\n]*@llvm\.fmuladd|call [^\n]*@llvm\.fma\.")


@pytest.mark.parametrize("name", WRITTEN)
def test_what_tvm_joins_is_one_operation_before_llvm_sees_it(name):
    x = relay.nn.relu(image_of("NHWC"))
    value = WRITTEN[name](x, Draw(np.random.default_rng(0), x, "NHWC"))
    code = relay.build(module(value), CLASSES["avx2"]).get_lib().get_source("ll")
    assert _FMULADD.search(code) and not re.search(r"\bfmul\b", code)


CANCELLED = {
    "(x + c) - c": lambda x: (x + number(0.3)) - number(0.3),
    "(c + x) - c": lambda x: (number(0.3) + x) - number(0.3),
    "c - (x + c)": lambda x: number(0.3) - (x + number(0.3)),
    "twice": lambda x: number(0.7) - (number(0.7) + ((x + number(0.3)) - number(0.3))),
}


@pytest.mark.parametrize("case", CANCELLED)
@pytest.mark.parametrize("is_moved", [True, False], ids=["above the pool", "behind it"])
def test_a_product_and_a_sum_meet_once_what_is_between_them_is_cancelled(case, is_moved):
    scaled = relay.tanh(convolve(image_of("NCHW"))) * number(1.7)
    pool = lambda x: relay.nn.max_pool2d(x, (2, 2), (2, 2))
    pooled = pool(CANCELLED[case](scaled)) if is_moved else CANCELLED[case](pool(scaled))
    mod = module(pooled + constant(np.linspace(-1, 1, CHANNELS).reshape(-1, 1, 1)))
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=(1, CHANNELS, SIZE, SIZE)).astype("float32")}
    same, report = compare(mod, inputs, RUNS[BEST], 3)
    (site,) = report.sites
    assert same and (site.status is Status.REFUSED or "multiply" not in site.chain)


def test_a_sum_and_a_difference_of_the_same():
    """TVM makes x of (x + c) - c in one kernel, on every target."""
    shifted = relay.tanh(convolve(image_of("NCHW"))) + number(0.3)
    pooled = relay.nn.max_pool2d(shifted, (2, 2), (2, 2))
    for behind in (pooled - number(0.3), number(0.3) - pooled):
        mod = module(behind)
        rng = np.random.default_rng(0)
        inputs = {"x": rng.normal(size=(1, CHANNELS, SIZE, SIZE)).astype("float32")}
        same, report = compare(mod, inputs, CLASSES["sse2"], 3)
        assert same and report.sites[0].refusal.reason is Reason.CONTRACTION
    mod = module(pooled - number(0.2))
    assert compare(mod, inputs, CLASSES["sse2"], 3)[1].sites[0].status is Status.EXCHANGED


@pytest.mark.parametrize(
    "target, expected",
    [
        ("llvm", False),
        ("llvm -mcpu=ivybridge", False),
        ("llvm -mcpu=haswell", True),
        ("llvm -mcpu=haswell -mattr=-fma", False),
        ("llvm -mattr=+fma", True),
        ("llvm -mcpu=bdver1", True),  # FMA4
        ("llvm -mcpu=skylake-avx512", True),
        ("llvm -mtriple=aarch64-linux-gnu", True),
        ("c", True),
    ],
)
def test_which_targets_contract(target, expected):
    assert may_contract(Target(target), "float32") is expected
    is_foreign = not target.startswith("llvm") or "aarch64" in target
    assert may_contract(Target(target), "float16") is is_foreign


@pytest.mark.parametrize("tuner", ["auto_scheduler", "meta_schedule"])
def test_schedules_that_are_searched_for_are_not_known(tuner):
    value = normalised(convolve(image_of("NCHW")))
    pooled = module(relay.nn.max_pool2d(value, (2, 2), (2, 2)))
    with tvm.transform.PassContext(opt_level=3, config={f"relay.backend.use_{tuner}": True}):
        with Target(CLASSES["avx512"]):
            _, report = tvm_reorder.reorder(pooled, decision="exchange", write=False)
    assert report.sites[0].refusal.reason is Reason.CONTRACTION
    assert "schedule by" in report.sites[0].explanation


def test_a_librarys_schedule_is_not_known():
    value = normalised(convolve(image_of("NCHW")))
    site = site_of(value, target=CLASSES["avx512"] + " -libs=dnnl")
    assert site.refusal.reason is Reason.CONTRACTION


@pytest.mark.parametrize("opt_level", [1, 3])
def test_a_sum_that_repeats_its_operand_stays_with_a_product(opt_level):
    """FuseOps puts no operator behind a pool that gives more values than it takes."""
    x = relay.var("x", shape=(1, 1, SIZE, SIZE))
    repeated = x * number(1.7) + constant(np.linspace(-1, 1, 5).reshape(1, -1, 1, 1))
    mod = module(relay.nn.max_pool2d(relay.nn.relu(repeated), (2, 2), (2, 2)))
    inputs = {"x": np.random.default_rng(0).normal(size=(1, 1, SIZE, SIZE)).astype("float32")}
    same, report = compare(mod, inputs, RUNS[BEST], opt_level)
    (site,) = report.sites
    assert same and site.chain == ("nn.relu",), report


CHOSEN = {
    "slopes": lambda x: relay.nn.leaky_relu(x, 0.1) + relay.nn.leaky_relu(x, 0.37),
    "one comparison": lambda x: (
        lambda p: relay.nn.relu(p) + relay.where(relay.greater(p, number(0.0)), x, p)
    )(x * number(1.7)),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_what_is_chosen_by_one_comparison_may_be_added_before(name):
    parts = [relay.var(name, shape=(1, 4, SIZE, SIZE)) for name in "xz"]
    rng = np.random.default_rng(0)
    inputs = {n: (rng.normal(size=(1, 4, SIZE, SIZE)) - 2).astype("float32") for n in "xz"}
    mod = module(relay.nn.max_pool2d(CHOSEN[name](relay.concatenate(parts, 1)), (2, 2), (2, 2)))
    same, report = compare(mod, inputs, RUNS[BEST], 3)
    (site,) = report.sites
    assert same and site.status is Status.REFUSED, report


def test_two_pools_of_the_same_become_one_outside_a_build():
    x = relay.var("x", shape=(1, CHANNELS, SIZE, SIZE))
    pool = lambda x: relay.nn.max_pool2d(x, (2, 2), (2, 2))
    shift = constant(np.linspace(-1, 1, CHANNELS).reshape(-1, 1, 1))
    mod = module(pool(x + shift) - pool(x))
    inputs = {
        "x": np.random.default_rng(0).normal(size=(1, CHANNELS, SIZE, SIZE)).astype("float32")
    }
    reordered, report = tvm_reorder.reorder(mod, decision="exchange", target="llvm")
    (before,), (after,) = (execute(build(each), inputs) for each in (mod, reordered))
    assert np.array_equal(before, after) and not report.exchanged, report
    with tvm_reorder.enabled(decision="exchange") as report:  # here none follows that does so
        (inside,) = execute(build(mod), inputs)
    assert np.array_equal(before, inside) and report.exchanged, report


SHARED = {
    "a product with 0": lambda x, c: (relay.sin(relay.maximum(x, c)) + relay.maximum(x, c)) * c,
    "a sum": lambda x, c: (relay.sin(relay.minimum(x, c)) + c) - number(float(c.data.numpy())),
    "above": lambda x, c: relay.sin(x / c) * c,
}


@pytest.mark.parametrize(
    "name, value", [("a product with 0", 0.0), ("a sum", 1000.3), ("above", 3.3)]
)
def test_a_scalar_of_two_kernels_is_no_literal(name, value):
    """In one kernel TVM computes with it as it compiles."""
    x = relay.var("x", shape=(1, CHANNELS, SIZE, SIZE))
    mod = module(relay.nn.max_pool2d(SHARED[name](x, number(value)), (2, 2), (2, 2)))
    values = np.random.default_rng(0).normal(size=(1, CHANNELS, SIZE, SIZE)).astype("float32")
    values[0, :, ::2, ::2] = np.inf if value == 0 else 1.0
    same, report = compare(mod, {"x": values}, RUNS[BEST], 3)
    assert same and report.sites[0].status is Status.REFUSED, report


# --- what the steps, and what stands behind the pool, take besides --------------------------------


def vectors(count: int, *names: str):
    """Inputs with a number for each channel, and what to give for them."""
    rng = np.random.default_rng(2)
    values = {name: rng.normal(size=(count, 1, 1)).astype("float32") for name in names}
    return [relay.var(name, shape=(count, 1, 1)) for name in names], values


def dilated(data, channels: int):
    """A convolution of TOPI's generic schedule, which stores each product."""
    weight = constant(np.random.default_rng(3).normal(size=(channels, 1, 3, 3)) * 0.3)
    options = {"channels": channels, "groups": channels, "dilation": (2, 2), "padding": (2, 2)}
    return relay.nn.conv2d(data, weight, kernel_size=(3, 3), **options)


def assert_same(mod, inputs):
    """The report of a build that compares equal."""
    rng = np.random.default_rng(0)
    shapes = {p.name_hint: [int(e) for e in p.type_annotation.shape] for p in mod["main"].params}
    drawn = {n: rng.normal(size=shape).astype("float32") for n, shape in shapes.items()}
    same, report = compare(mod, {**drawn, **inputs}, RUNS[BEST], 3)
    assert same, report
    return report


@pytest.mark.parametrize("activation", [relay.tanh, relay.abs])
def test_a_pair_in_what_a_step_takes_besides(activation):
    """It goes from the producer's kernel, which stores the product, into the pool's."""
    channels = 300
    (v, s, t), values = vectors(channels, *"vst")
    data = dilated(relay.var("x", shape=(1, channels, 8, 8)), channels)
    mod = module(relay.nn.max_pool2d(activation(data + (v * s + t)), (2, 2), (2, 2)))
    assert assert_same(mod, values).sites[0].refusal.reason is Reason.CONTRACTION
    plain = module(relay.nn.max_pool2d(activation(data + t), (2, 2), (2, 2)))
    assert assert_same(plain, {"t": values["t"]}).sites[0].status is Status.EXCHANGED


def test_a_convolution_that_a_step_takes_besides_may_take_the_step_along():
    channels = 300
    beside = dilated(relay.var("z", shape=(1, channels, 1, 1)), channels)
    data = relay.var("x", shape=(1, channels, 6, 6))
    scale, shift = (
        constant(np.linspace(*ends, channels).reshape(-1, 1, 1)) for ends in ((0.3, 2), (-1, 1))
    )
    mod = module(relay.nn.global_max_pool2d(relay.tanh(beside + data) * scale + shift))
    assert assert_same(mod, {}).sites[0].status is Status.REFUSED
    mod = module(relay.nn.global_max_pool2d(relay.tanh(beside + data)))
    assert assert_same(mod, {}).sites[0].status is Status.EXCHANGED


@pytest.mark.parametrize("count", [100, 252, 253])
@pytest.mark.parametrize("place", ["above", "behind"])
def test_a_kernel_that_may_be_full(place, count):
    """The operator that is one too many begins another kernel, between a product and a sum."""
    rng = np.random.default_rng(1)
    factor, addend = (constant(rng.normal(size=(CHANNELS, 1, 1))) for _ in range(2))

    def many(value):
        for _ in range(count):
            value = relay.abs(value)
        return value * factor + addend

    def pooled(value):
        return relay.nn.max_pool2d(value, (2, 2), (2, 2))

    x = image_of("NCHW")
    body = pooled(relay.nn.relu(many(x))) if place == "above" else many(pooled(relay.nn.relu(x)))
    (site,) = assert_same(module(body), {}).sites
    assert (site.status is Status.EXCHANGED) == (count == 100), site.explanation


def test_a_scalar_that_a_composite_takes_twice():
    x, three = image_of("NCHW"), number(3)
    pooled = relay.nn.max_pool2d(relay.maximum(x / three, relay.tanh(x) / three), (2, 2), (2, 2))
    assert assert_same(module(pooled), {}).sites[0].refusal.reason is Reason.SHARED


def test_a_scalar_whose_reciprocal_is_exact_may_be_either():
    """As in CELU, which takes its alpha twice."""
    x, quarter = image_of("NCHW"), number(0.25)
    pooled = relay.nn.max_pool2d(
        relay.maximum(x / quarter, relay.tanh(x) / quarter), (2, 2), (2, 2)
    )
    assert assert_same(module(pooled), {}).sites[0].status is Status.EXCHANGED


@pytest.mark.parametrize("place", ["above", "behind"])
def test_a_scalar_of_what_a_step_takes_besides(place):
    three, x = number(3), image_of("NCHW")
    (v,), values = vectors(CHANNELS, "v")
    below = relay.nn.relu(x / three) + relay.var("y", shape=(1, CHANNELS, SIZE, SIZE))
    data = below if place == "above" else x
    pooled = relay.nn.max_pool2d(relay.tanh(data + relay.nn.relu(v / three)), (2, 2), (2, 2))
    body = pooled if place == "above" else relay.tanh(pooled) / three
    (site,) = assert_same(module(body), values).sites
    assert site.chain == ("tanh",) and site.refusal.reason is Reason.SHARED


@pytest.mark.parametrize("operator", ["divide", "floor_divide", "trunc_divide", "floor_mod", "mod"])
def test_a_scalar_that_another_operator_divides_by(operator):
    factor = number(41)
    (v,), values = vectors(8, "v")
    values = {"v": (np.arange(1, 9, dtype="float32") * 41).reshape(8, 1, 1)}
    divided = relay.Call(relay.op.get(operator), [v, factor])
    reduced = relay.max(relay.nn.relu(image_of("NCHW") * factor), axis=[2, 3], keepdims=True)
    assert_same(module(relay.maximum(reduced, divided)), values)
