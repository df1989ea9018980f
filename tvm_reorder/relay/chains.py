"""The steps between a pool and the convolution, read from the pool upwards.

A step is one operator, or a *composite*: a small region of operators with one entry and one exit,
such as what importers emit for ELU.  The direction of a composite follows from its parts where two
branches that move the same way are added or compared; where it does not (x * sigmoid(x)), a
pattern names it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from tvm import relay
from tvm.ir import Op

from ..core.checks import Chain, Link
from ..core.monotone import Direction, MonotoneMap, compose, join_directions
from ..core.refusal import Reason, Refusal
from .activations import COMPOSITES
from .facts import read_constant, read_dtype, read_integer_bound, read_shape
from .nan import do_keep_nan
from .operators import (
    TWO_ARGUMENTS,
    Scene,
    is_full_size,
    make_leaky,
    non_finite,
    read_operator,
    shrink,
    unknown_sign,
    varies,
)
from .patterns import ADDITIONS, AVERAGE_POOLS, MAX_POOLS, PRODUCERS, composite_patterns
from .sites import FunctionGraph, op_name

_CHAIN_ENDS = PRODUCERS.union(MAX_POOLS, AVERAGE_POOLS, ["concatenate"])
_LARGEST_COMPOSITE = 16
_PASS_PRODUCTS = frozenset(["negative", "copy", "cast"])  # an FMA takes either sign
_ELEMENTWISE, _BROADCAST = 0, 1  # TOpPattern, include/tvm/relay/op_attr_types.h


@dataclass(frozen=True)
class Step:
    """One step of a chain on typed Relay.

    Parameters
    ----------
    link : Link
        The step as facts.
    root, source : relay.Expr
        The value the step yields and the value it takes.
    path : tuple of int
        Argument positions that lead from `root` to `source`.
    region : frozenset of relay.Expr
        The calls the step is made of.
    replace : dict
        Operands to be exchanged for smaller ones behind the pool.
    rebuilt_as : relay.Call or None
        A call to use instead of the region, its first argument being the data.
    """

    link: Link
    root: relay.Expr
    source: relay.Expr
    path: tuple[int, ...]
    region: frozenset[relay.Expr]
    replace: dict[relay.Expr, relay.Expr] = field(default_factory=dict)
    rebuilt_as: relay.Call | None = None


def read_steps(
    graph: FunctionGraph, top: relay.Expr, scene: Scene
) -> tuple[list[Step], relay.Expr, Refusal | None]:
    """Steps from `top` upwards.

    Returns
    -------
    steps : list of Step
        From the pool upwards.
    base : relay.Expr
        The first value that no step computes.
    stop : Refusal or None
        Why `base` is no step; None if a convolution or dense layer computes it.
    """
    steps, base, wanted = [], top, 1
    while True:
        step = _read_step(graph, base, scene, wanted)
        if not isinstance(step, Step):
            return steps, base, step
        steps.append(step)
        base = step.source
        wanted = count_uses(base, step.region)


def read_chain(
    graph: FunctionGraph, pool: relay.Call, top: relay.Expr, scene: Scene
) -> tuple[Chain, list[Step]]:
    """The chain above a pool, from `top` upwards, as facts, with the steps it was read from."""
    steps, base, stop = read_steps(graph, top, scene)
    steps = _mark_splits(steps)
    producer = find_missing_producer(graph, base, scene)
    if not steps and stop is None:
        stop = Refusal(Reason.NO_ACTIVATION, "what the pool reads", op_name(base), "an activation")
    dtypes = (scene.pool.dtype, *(read_dtype(step.source) or "" for step in steps))
    chain = Chain(
        window=scene.pool.window,
        planes=scene.pool.planes,
        links=tuple(step.link for step in steps),
        base_dtypes=dtypes,
        input_range=read_integer_bound(base) if dtypes[-1].startswith(("int", "uint")) else None,
        stop=stop,
        producer=(stop or producer) if producer else None,
        meets_addition=_is_product(top) and graph.feeds_addition(pool),
    )
    return chain, steps


def find_missing_producer(graph: FunctionGraph, base: relay.Expr, scene: Scene) -> Refusal | None:
    """None if convolutions or dense layers compute `base`, through any known steps."""
    if op_name(base) in PRODUCERS:
        return None
    if op_name(base) == "concatenate" and isinstance(base.args[0], relay.Tuple):
        for branch in base.args[0].fields:
            _, below, _ = read_steps(graph, branch, scene.over(branch))
            missing = find_missing_producer(graph, below, scene.over(branch))
            if missing:
                return missing
        return None
    return Refusal(
        Reason.PRODUCER,
        "what computes the chain's input",
        op_name(base),
        "a convolution or dense layer (or set any_producer)",
    )


def _read_step(
    graph: FunctionGraph, root: relay.Expr, scene: Scene, wanted: int
) -> Step | Refusal | None:
    """The step that yields `root`, why there is none, or None at the chain's natural end.

    `wanted` is how often the step below, or the pool, uses the value; any more use is sharing.
    """
    if not isinstance(root, relay.Call) or not isinstance(root.op, Op):
        return None
    shared = _shared(graph, root, wanted)
    if root.op.name == "reshape":
        return _read_flat_prelu(graph, root, scene, shared) or _read_single(root, scene, shared)
    if root.op.name in TWO_ARGUMENTS and len(_branches(root, scene)) == 2:
        return _read_composite(graph, root, scene, shared)
    return _read_single(root, scene, shared)


def _read_single(root, scene, shared) -> Step | Refusal | None:
    reading = read_operator(root, scene)
    if isinstance(reading, Refusal):
        return None if op_name(root) in _CHAIN_ENDS else reading
    source = root.args[reading.data]
    if not _has_windows_of(source, scene):
        return varies(f"what {op_name(root)} broadcasts")
    keeps_nan = do_keep_nan([root], scene)
    is_split = _is_split_addition(root, source)
    link = Link(reading.map, read_dtype(root), 1, shared, is_split, keeps_nan)
    replace = {root.args[position]: new for position, new in reading.replace.items()}
    return Step(link, root, source, (reading.data,), frozenset([root]), replace)


def _has_windows_of(source: relay.Expr, scene: Scene) -> bool:
    """True if the value has the pooled tensor's rank and its extents along the window."""
    shape, pooled = read_shape(source.checked_type), scene.pool.shape
    same_rank = len(shape) == len(pooled)
    return same_rank and all(shape[axis] == pooled[axis] for axis in scene.pool.window_axes)


def _is_split_addition(call: relay.Call, source: relay.Expr) -> bool:
    """True if the call adds to a float product that would stay behind.

    LLVM contracts a product and a sum in one kernel to a fused multiply-add, which rounds once.
    """
    return (
        op_name(call) in ADDITIONS
        and _is_product(source)
        and any(argument.same_as(source) for argument in call.args)
    )


def _is_product(expr: relay.Expr) -> bool:
    """True for a float product, seen through what LLVM sees through.

    TVM multiplies by 1/c to divide by a number c.
    """
    while _passes_products(expr):
        expr = expr.args[0]
    if not (read_dtype(expr) or "").startswith(("float", "bfloat")):
        return False
    if op_name(expr) == "divide":
        return all(extent == 1 for extent in read_shape(expr.args[1].checked_type))
    return op_name(expr) == "multiply"


def _passes_products(expr: relay.Expr) -> bool:
    """True for steps that LLVM drops, or makes a sign of, between a product and a sum."""
    if op_name(expr) == "nn.leaky_relu":
        return abs(float(expr.attrs.alpha)) == 1
    return op_name(expr) in _PASS_PRODUCTS


def _mark_splits(steps: list[Step]) -> list[Step]:
    """Steps that stand between a product and a sum split the two as the sum itself does."""
    marked, is_added = [], False
    for step in steps:
        passes = _passes_products(step.root)
        is_added = op_name(step.root) in ADDITIONS or (is_added and passes)
        if is_added and passes and _is_product(step.source):
            step = dataclasses.replace(
                step, link=dataclasses.replace(step.link, is_split_addition=True)
            )
        marked.append(step)
    return marked


def _is_elementwise(op: Op) -> bool:
    pattern = op.get_attr("TOpPattern")
    return pattern is not None and int(pattern) in (_ELEMENTWISE, _BROADCAST)


def _shared(graph: FunctionGraph, value: relay.Expr, wanted: int) -> Refusal | None:
    """Set if the value is used more often than the `wanted` uses that go past the pool."""
    name, users = op_name(value), graph.users(value)
    if graph.is_output(value):
        return Refusal(
            Reason.FUNCTION_OUTPUT,
            f"the value of {name}",
            "a function output",
            "used on the way to the pool alone",
        )
    if users > wanted:
        required = f"used {wanted} times" if wanted > 1 else "used once"
        return Refusal(Reason.SHARED, f"the value of {name}", f"used {users} times", required)
    return None


def count_uses(value: relay.Expr, region) -> int:
    """How many arguments of a region's calls are the value."""
    return sum(argument.same_as(value) for call in region for argument in call.args)


# --- composites ---------------------------------------------------------------------------------


def _read_composite(graph, root, scene, shared) -> Step | Refusal:
    region, source = _find_region(graph, root, scene)
    if source is None:
        return varies(f"the other operand of {op_name(root)}")
    described, replace = _describe_region(region, root, source, scene)
    if isinstance(described, Refusal):
        return described
    for call in region[1:]:
        shared = shared or _shared(graph, call, count_uses(call, region))
    if not _has_windows_of(source, scene):
        return varies(f"what {op_name(root)} broadcasts")
    is_split = any(_is_split_addition(call, source) for call in region)
    keeps_nan = do_keep_nan(region, scene)
    link = Link(described, read_dtype(root), len(region), shared, is_split, keeps_nan)
    return Step(link, root, source, _path(root, source, region), frozenset(region), replace)


def _find_region(graph, root, scene) -> tuple[list[relay.Call], relay.Expr | None]:
    """The calls between `root` and the nearest value that all of them are computed from.

    Taking the latest frontier value first guarantees that a frontier of one value dominates.
    """
    region, frontier = [], {root}
    while len(region) < _LARGEST_COMPOSITE:
        latest = max(frontier, key=graph.index)
        if not isinstance(latest, relay.Call) or not isinstance(latest.op, Op):
            break
        if not _is_elementwise(latest.op):
            break
        branches = _branches(latest, scene)
        if not branches:
            break  # a constant that nobody has folded yet
        frontier.remove(latest)
        region.append(latest)
        frontier.update(branches)
        if len(frontier) == 1:
            return region, next(iter(frontier))
    return region, None


def _branches(call: relay.Call, scene: Scene) -> list[relay.Expr]:
    return [
        argument
        for argument in call.args
        if not isinstance(argument, relay.Constant) and is_full_size(argument, scene.pool)
    ]


def _describe_region(region, root, source, scene):
    """Map of a region and the operands to replace; the parts first, then the patterns' names."""
    maps = {source: MonotoneMap("x", (Direction.RISING,), 0, lambda x: x)}
    replace = {}
    for call in reversed(region):
        branches = _branches(call, scene)
        if len(branches) == 2:
            maps[call] = _join(op_name(call), *(maps[branch] for branch in branches))
            continue
        reading = read_operator(call, scene)
        if isinstance(reading, Refusal):
            return reading, replace
        maps[call] = compose(reading.map, maps[call.args[reading.data]])
        replace.update({call.args[p]: new for p, new in reading.replace.items()})
    described = maps[root]
    for name, pattern in composite_patterns():
        if pattern.match(root):
            dtype = read_dtype(source)
            described = COMPOSITES[name].as_map(name, dtype, scene.target, scene.fast_math)
            if name == "softsign" and not _adds_one(region):
                described = MonotoneMap(name, (Direction.RISING,), None)
            return described, replace
    name = "composite of " + ", ".join(op_name(call) for call in reversed(region))
    return (
        MonotoneMap(name, described.directions, described.worst_ulp, described.evaluate),
        replace,
    )


def _adds_one(region) -> bool:
    addends = [a for call in region if op_name(call) == "add" for a in call.args]
    constants = [read_constant(a) for a in addends if isinstance(a, relay.Constant)]
    return len(constants) == 1 and bool(np.all(constants[0] == 1))


_JOINS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
_FLIPPED = {Direction.RISING: Direction.FALLING, Direction.FALLING: Direction.RISING}


def _join(name: str, left: MonotoneMap, right: MonotoneMap) -> MonotoneMap:
    """The map of a two-argument operator whose operands both vary with x."""
    function = _JOINS.get(name)
    if name == "multiply" and left is right:
        return compose(MonotoneMap("square", (Direction.VALLEY,), 0, np.square), left)
    pairs = [(a, b) for a in set(left.directions) for b in set(right.directions)]
    if name == "subtract":
        pairs = [(a, _FLIPPED.get(b, b)) for a, b in pairs]
    joins = name in ("add", "subtract", "maximum", "minimum")
    distinct = {join_directions(a, b) if joins else Direction.OTHER for a, b in pairs}
    direction = distinct.pop() if len(distinct) == 1 else Direction.OTHER
    evaluate = None
    if function and left.evaluate and right.evaluate:
        evaluate = lambda x: function(left.evaluate(x), right.evaluate(x))  # noqa: E731
    exact = left.worst_ulp == right.worst_ulp == 0
    return MonotoneMap(name, (direction,), 0 if exact else None, evaluate)


def _path(root, source, region) -> tuple[int, ...]:
    """Argument positions from `root` to `source` inside the region."""
    inside = set(region)
    trails = {root: ()}
    for call in region:  # users come before what they use
        for position, argument in enumerate(call.args):
            if argument in inside or argument.same_as(source):
                trails.setdefault(argument, trails[call] + (position,))
    return trails[source]


# --- the ONNX importer's PRelu: reshape to one axis, prelu, reshape back ------------------------


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


def _read_flat_prelu(graph, root, scene, shared) -> Step | Refusal | None:
    """reshape(prelu(reshape(x, -1), slopes, axis=0), shape of x) as one prelu per channel."""
    prelu = root.args[0]
    if op_name(prelu) != "nn.prelu" or op_name(prelu.args[0]) != "reshape":
        return None
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
    if channels is None or channels.size != shape[axis]:
        return varies("the slope of nn.prelu")
    described = make_leaky("nn.prelu", channels, scene.pool)
    region = [root, prelu, flat, *helpers]
    for call in region[1:]:
        shared = shared or _shared(graph, call, 1)
    per_channel = relay.nn.prelu(source, relay.const(channels.ravel(), read_dtype(prelu)), axis)
    rebuilt = relay.Call(per_channel.op, per_channel.args, per_channel.attrs, [], prelu.span)
    link = Link(described, read_dtype(root), 1, shared, keeps_nan=do_keep_nan([prelu], scene))
    return Step(link, root, source, (0, 0, 0), frozenset(region), {}, rebuilt)
