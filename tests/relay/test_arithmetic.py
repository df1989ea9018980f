"""What the evaluators claim, held against the code that TVM compiles: every operator of the tables.

An enclosure (``core/enclosure.py``) of a value has to hold what TVM computes of it, a certain value
has to be that, an enclosure of an interval has to hold every result, and a map that counts as
exact has to move as it says.  Each function is compiled by itself, and between a product, a sum and
another product and sum in one kernel.
"""

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.target import Target

from tvm_reorder.certify.targets import require_runs_here
from tvm_reorder.core.certificates import CertificateError
from tvm_reorder.core.enclosure import enclose, is_integer
from tvm_reorder.core.intervals import apply_all
from tvm_reorder.core.monotone import Direction
from tvm_reorder.relay.activations import ACTIVATIONS
from tvm_reorder.relay.certified import CertificateSource
from tvm_reorder.relay.chains import read_steps
from tvm_reorder.relay.facts import read_pool
from tvm_reorder.relay.operators import _PARAMETERISED
from tvm_reorder.relay.scene import Scene
from tvm_reorder.relay.sites import FunctionGraph, op_name
from tvm_reorder.relay.two_arguments import TWO_ARGUMENTS

from .networks import execute, module

CHANNELS = 4
FLOATS = ("float32", "float16", "float64")
INTEGERS = ("int8", "uint8", "int16", "int32", "int64")
PRIMES = [3.0, 41.0, 97.0]


def runs_here(target: str) -> bool:
    try:
        require_runs_here(Target(target))
    except CertificateError:
        return False
    return True


TARGETS = [t for t in ("llvm", "llvm -mcpu=core-avx2", "llvm -mcpu=skylake-avx512") if runs_here(t)]


def draw_values(dtype: str) -> np.ndarray:
    """Values that break careless evaluators, in order."""
    if is_integer(dtype):
        info = np.iinfo(dtype)
        found = [info.min, info.min + 1, -41, -7, -1, 0, 1, 2, 7, 41, info.max - 1, info.max]
        return np.unique([v for v in found if info.min <= v <= info.max]).astype(dtype)
    info = np.finfo(dtype)
    small = [info.smallest_subnormal, info.tiny, info.eps, 1e-8, 1e-4, 1 / 3, 0.1, 0.5, 1.0]
    middle = [1 + info.eps, 1.5, 2.5, 3.7, 9.0, 17.3, 41.0, 82.0, 97.0, 123.0, 88.73, 205.0]
    large = [1000.0, 2047.5, 3001.0, 2.0**23 + 1, 1e10, float(info.max) / 2, float(info.max)]
    with np.errstate(all="ignore"):
        found = np.array([0.0, *small, *middle, *large, np.inf]).astype(dtype)
    return np.unique(np.concatenate([found, -found, np.zeros(1, dtype)]))


def make_constants(dtype: str):
    """A scalar, and a value for each channel."""

    def scalar(value):
        return relay.const(np.asarray(value, dtype), dtype)

    def channels(*values):
        return relay.const(np.reshape(np.array(values, dtype), (CHANNELS, 1, 1)), dtype)

    return scalar, channels


def unary(name: str):
    return lambda x: relay.Call(relay.op.get(name), [x])


_NOT_FOR_HALVES = {"asin", "acos", "acosh", "asinh", "atanh", "atan"}  # TVM has no code for them
_OF_INTEGERS = {"bitwise_not"}


def float_functions(dtype: str) -> dict:
    """Every operator of floats, with constants of every kind."""
    scalar, channels = make_constants(dtype)
    info = np.finfo(dtype)
    tiny, normal, top = float(info.smallest_subnormal) * 3, float(info.tiny) * 5, float(info.max)
    names = [n for n in ACTIVATIONS if n not in _OF_INTEGERS and not n.startswith("fast_")]
    if dtype == "float16":
        names = [n for n in names if n not in _NOT_FOR_HALVES]
    functions = {name: unary(name) for name in names}
    for c in (*PRIMES, 1 / 3, 0.1, tiny, normal, top, 0.5, 1.0, -1.0, -41.0, -1 / 3):
        if c != tiny:  # TVM cannot compile a reciprocal that overflows
            functions[f"divide by {c:g}"] = lambda x, c=c: x / scalar(c)
            functions[f"floor of divide by {c:g}"] = lambda x, c=c: relay.floor(x / scalar(c))
        functions[f"multiply by {c:g}"] = lambda x, c=c: x * scalar(c)
        functions[f"add {c:g}"] = lambda x, c=c: x + scalar(c)
    mixed = (41.0, -1 / 3, tiny, 1.0)
    functions |= {
        "multiply by 0": lambda x: x * scalar(0.0),
        "add -0": lambda x: x + scalar(-0.0),
        "multiply per channel": lambda x: x * channels(*mixed),
        "multiply by zeros": lambda x: x * channels(0, -0.0, 1, 2),
        "divide per channel": lambda x: x / channels(*mixed),
        "subtract": lambda x: x - scalar(0.1),
        "subtract from": lambda x: scalar(0.1) - x,
        "subtract per channel": lambda x: channels(*mixed) - x,
        "maximum": lambda x: relay.maximum(x, scalar(0.1)),
        "minimum per channel": lambda x: relay.minimum(channels(*mixed), x),
        "bias": lambda x: relay.nn.bias_add(x, relay.const(np.array(mixed, dtype), dtype)),
        "prelu": lambda x: relay.nn.prelu(x, relay.const(np.array(mixed, dtype), dtype)),
        "square": lambda x: x * x,
    }
    for alpha in (0.1, 1 / 3, -0.1, 0.0, 1.0, 1e-45, 41.0):
        functions[f"leaky {alpha:g}"] = lambda x, a=alpha: relay.nn.leaky_relu(x, a)
    for low, high in ((0, 6), (0.1, 1 / 3), (-0.1, 0.1), (6.0, 0.0), (-1e-45, 41)):
        functions[f"clip {low:g} {high:g}"] = lambda x, a=low, b=high: relay.clip(x, a, b)
    for exponent in (2.0, 3.0, 0.5, 1.0, 1 / 3, 4.0):
        functions[f"power {exponent:g}"] = lambda x, e=exponent: relay.power(x, scalar(e))
    for target in ("float16", "float32", "float64"):
        if (dtype, target) != ("float64", "float16"):  # refused: TVM does not round there
            functions[f"cast to {target}"] = lambda x, t=target: x.astype(t)
    for target in ("int8", "uint8", "int32"):
        bounds = (float(np.iinfo(target).min) / 2, float(np.iinfo(target).max) / 2)
        if dtype == "float16":
            bounds = tuple(np.clip(bounds, -60000, 60000))
        functions[f"cast to {target}"] = lambda x, t=target, b=bounds: relay.clip(x, *b).astype(t)
    return functions


def integer_functions(dtype: str) -> dict:
    """Every operator of integers."""
    scalar, channels = make_constants(dtype)
    signed = not dtype.startswith("u")
    names = ["nn.relu", "copy", "annotation.stop_fusion", "ceil", "floor", "round", "trunc", "abs"]
    functions = {name: unary(name) for name in (*names, *(["sign"] if signed else []))}
    functions |= {
        "bitwise_not": unary("bitwise_not"),
        "add": lambda x: x + scalar(1),
        "subtract": lambda x: x - scalar(1),
        "multiply": lambda x: x * scalar(3),
        "maximum": lambda x: relay.maximum(x, channels(0, 1, 5, 100)),
        "minimum": lambda x: relay.minimum(x, scalar(7)),
        "divide": lambda x: x / scalar(7),
        "divide per channel": lambda x: x / channels(1, 2, 3, 7),
        "clip": lambda x: relay.clip(x, 0.5 if not signed else -3.9, 6.7),
        "right_shift": lambda x: relay.right_shift(x, scalar(2)),
        "left_shift": lambda x: relay.left_shift(x, scalar(1)),
        "cast to float32": lambda x: x.astype("float32"),
        "cast to float16": lambda x: x.astype("float16"),
        "cast to float64": lambda x: x.astype("float64"),
        "cast to int8": lambda x: relay.clip(x, 0, 100).astype("int8"),
        "scaled float": lambda x: x.astype("float32") * relay.const(0.1) + relay.const(3.0),
    }
    if signed:
        functions |= {
            "negative": unary("negative"),
            "divide by -3": lambda x: x / scalar(-3),
            "multiply by -1": lambda x: x * scalar(-1),
            "subtract from": lambda x: scalar(5) - x,
            "leaky": lambda x: relay.nn.leaky_relu(x, 0.5),
            "leaky of -1.5": lambda x: relay.nn.leaky_relu(x, -1.5),
            "prelu": lambda x: relay.nn.prelu(x, relay.const(np.array([0, 1, 2, -1], dtype))),
        }
    if dtype == "int32":
        per_axis = [relay.const(np.array(v, "int32")) for v in _PER_AXIS]
        functions |= {
            f"fixed point {m} {s}": lambda x, m=m, s=s: relay.fixed_point_multiply(x, m, s)
            for m, s in ((1 << 30, 0), (1 << 30, -3), (1518500250, -2), (-1518500250, 0), (7, 2))
        }
        multiply = relay.op._make.fixed_point_multiply_per_axis
        functions["fixed point per axis"] = lambda x: multiply(x, *per_axis, False, True, [1])
    return functions


_PER_AXIS = ([1518500250, -1073741825, 3, 1 << 30], [0] * 4, [1, 2, 3, 4])


def functions_of(dtype: str) -> dict:
    return integer_functions(dtype) if is_integer(dtype) else float_functions(dtype)


def between_products(function, dtype: str):
    """The function in the middle of a longer kernel, where products and sums may be contracted."""
    scalar, _ = make_constants(dtype)

    def wrapped(x):
        inner = function(x * scalar(1 / 3) + scalar(0.1))
        third, tenth = (relay.const(np.asarray(v, "float32")) for v in (1 / 3, 0.1))
        outer = inner if is_float32(inner) else inner.astype("float32")
        return outer * third + tenth

    def is_float32(value):
        typed = relay.transform.InferTypeLocal(value)
        return str(typed.dtype) == "float32"

    return wrapped


def tensor(dtype: str) -> np.ndarray:
    values = draw_values(dtype)
    return np.broadcast_to(values, (1, CHANNELS, 1, values.size)).copy()


def read_maps(function, dtype: str, fast_math: bool = False):
    """The function as the pass reads it, from the pool upwards; None if it reads no such step."""
    x = relay.var("x", shape=tensor(dtype).shape, dtype=dtype)
    mod = module(relay.nn.max_pool2d(function(x), (1, 2), (1, 2)))
    graph = FunctionGraph(mod["main"])
    (pool,) = graph.max_pools
    facts = read_pool(pool, graph)
    scene = Scene(facts, "llvm x86-64", CertificateSource("cached", fast_math))
    steps, base, _ = read_steps(graph, facts.data_of(pool), scene)
    if not isinstance(base, relay.Var):
        return None
    return [step.link.map for step in steps]


def compute(functions: dict, dtype: str, target: str, opt_level: int) -> dict:
    """What TVM computes of the values, by name.

    Each function has an input of its own: TVM takes attributes for equal that differ by 1e-9, and
    would make one of leaky_relu with 0 and with 1e-45 on the same input.  What SimplifyExpr
    makes of a graph is another function.
    """
    values = tensor(dtype)
    inputs = [relay.var(f"x{n}", shape=values.shape, dtype=dtype) for n in range(len(functions))]
    mod = module(relay.Tuple([f(x) for f, x in zip(functions.values(), inputs)]))
    off = ["SimplifyExpr", "SimplifyExprPostAlterOp"]
    with tvm.transform.PassContext(opt_level=opt_level, disabled_pass=off):
        library = relay.build(mod, target)
    return dict(zip(functions, execute(library, {x.name_hint: values for x in inputs})))


def wraps(found, dtype: str) -> np.ndarray:
    """Where an integer leaves its dtype: TVM wraps there, and the pass refuses."""
    if not is_integer(dtype):
        return np.zeros(np.shape(found.low), bool)
    info = np.iinfo(dtype)
    return np.asarray((found.low < info.min) | (found.high > info.max), bool)


def holds(found, result: np.ndarray) -> np.ndarray:
    """Where an enclosure holds a result."""
    found = found.stored()
    is_nan = np.isnan(result) if result.dtype.kind == "f" else np.zeros(result.shape, bool)
    may_be_nan = np.broadcast_to(np.asarray(found.nan, bool), result.shape)
    values = result.astype(object if result.dtype.kind in "iu" else np.float64)
    inside = np.asarray((found.low <= values) & (values <= found.high), bool)
    return np.where(is_nan, may_be_nan, inside)


def assert_claims(name: str, maps, dtype: str, result: np.ndarray):
    values = tensor(dtype)
    start = enclose(values.astype(object), dtype)
    found = apply_all(maps, start)
    if found is None:
        return None
    out = str(result.dtype)
    lost = wraps(found, out)
    right = holds(found, result) | lost
    where = np.argwhere(~right)[:3]
    shown = [(values[tuple(w)], result[tuple(w)], np.ravel(found.low)[0]) for w in where]
    assert right.all(), (name, dtype, shown, found.stored())
    stored = found.stored()
    certain = np.broadcast_to(stored.is_certain & ~lost, result.shape)
    exact = np.asarray(stored.low == result.astype(object), bool)
    assert exact[certain].all(), name
    return certain


def assert_intervals(name: str, maps, dtype: str, result: np.ndarray):
    values = tensor(dtype)
    size = values.shape[-1]
    for low in range(0, size, 5):
        for high in range(low, size, 7):
            ends = (values[..., low : low + 1], values[..., high : high + 1])
            found = apply_all(maps, enclose(ends[0].astype(object), dtype, ends[1].astype(object)))
            if found is None:
                continue
            part = result[..., low : high + 1]
            lost = wraps(found, str(result.dtype))
            assert (holds(found, part) | lost).all(), (name, ends[0].ravel()[0], ends[1].ravel()[0])


def assert_directions(name: str, maps, result: np.ndarray, lost):
    """A map that is exact by proof or certificate moves as it says."""
    from tvm_reorder.core.monotone import compose

    total = maps[-1]
    for step in reversed(maps[:-1]):
        total = compose(step, total)
    if total.worst_ulp != 0:
        return
    directions = total.directions * (CHANNELS // len(total.directions))
    for channel, direction in enumerate(directions):
        line = result[0, channel, 0].astype(np.float64)
        line = line[~np.isnan(line) & ~lost[0, channel, 0]]
        assert moves(line, direction), (name, direction, line)


def moves(line: np.ndarray, direction: Direction) -> bool:
    steps = line[1:] >= line[:-1], line[1:] <= line[:-1]
    if direction is Direction.OTHER:
        return True
    if direction is Direction.VALLEY:
        turn = int(line.argmin())
        return bool(steps[1][:turn].all() and steps[0][turn:].all())
    wanted = {Direction.RISING: steps[:1], Direction.FALLING: steps[1:]}.get(direction, steps)
    return all(step.all() for step in wanted)


def check(functions: dict, dtype: str, target: str, opt_level: int, is_alone: bool = True):
    fast_math = opt_level >= 4
    results = compute(functions, dtype, target, opt_level)
    seen = 0
    for name, function in functions.items():
        maps = read_maps(function, dtype, fast_math)
        if maps is None:
            continue
        seen += 1
        result = results[name]
        certain = assert_claims(name, maps, dtype, result)
        assert_intervals(name, maps, dtype, result)
        if is_alone and certain is not None:
            found = apply_all(maps, enclose(tensor(dtype).astype(object), dtype))
            lost = np.broadcast_to(wraps(found, str(result.dtype)), result.shape)
            assert_directions(name, maps, result, lost)
    assert seen > len(functions) * 0.8


QUICK = [("float32", TARGETS[-1], 4), ("int32", "llvm", 3)]
EVERY = [(d, t, o) for d in FLOATS + INTEGERS for t in TARGETS for o in (1, 3, 4)]
CASES = [pytest.param(*c, marks=() if c in QUICK else pytest.mark.full) for c in EVERY]


@pytest.mark.parametrize("dtype, target, opt_level", CASES)
def test_every_function_by_itself(dtype, target, opt_level):
    check(functions_of(dtype), dtype, target, opt_level)


@pytest.mark.parametrize("dtype, target, opt_level", [c for c in CASES if "int" not in c.values[0]])
def test_every_function_in_a_longer_kernel(dtype, target, opt_level):
    functions = functions_of(dtype)
    longer = {name: between_products(function, dtype) for name, function in functions.items()}
    check(longer, dtype, target, opt_level, is_alone=False)


@pytest.mark.full
@pytest.mark.parametrize("dtype", FLOATS)
def test_fast_functions_as_they_are_written(dtype):
    names = [name for name in ACTIVATIONS if name.startswith("fast_")]
    check({name: unary(name) for name in names}, dtype, "llvm", 3)


def test_every_operator_of_the_tables_is_tried():
    tried = set()
    for dtype in FLOATS + INTEGERS:
        for function in functions_of(dtype).values():
            x = relay.var("x", shape=(1, CHANNELS, 1, 8), dtype=dtype)
            relay.analysis.post_order_visit(function(x), lambda e: tried.add(op_name(e)))
    tables = {*ACTIVATIONS, *_PARAMETERISED, *TWO_ARGUMENTS}
    assert tables - tried == {name for name in ACTIVATIONS if name.startswith("fast_")}
