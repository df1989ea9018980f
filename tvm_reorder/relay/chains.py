"""The steps between a pool and the convolution, read from the pool upwards.

A step is one operator, or a *composite*: a small region of operators with one entry and one exit,
such as what importers emit for ELU.  The direction of a composite follows from its parts where two
branches that move the same way are added or compared; where it does not (x * sigmoid(x)), a
pattern names it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod

import numpy as np
from tvm import relay
from tvm.ir import Op, Span

from ..core.checks import Chain, Link
from ..core.monotone import (
    Direction,
    MonotoneMap,
    compose,
    guess_direction,
    join_directions,
)
from ..core.refusal import Reason, Refusal
from .facts import read_constant, read_dtype, read_shape
from .integer_bounds import read_integer_bound
from .moves import MOVES, as_uniform, is_move, read_moves
from .nan import do_keep_nan
from .operators import (
    TWO_ARGUMENTS,
    Scene,
    contraction,
    is_full_size,
    make_leaky,
    non_finite,
    read_operator,
    shrink,
    unknown_sign,
    varies,
)
from .patterns import ADDITIONS, AVERAGE_POOLS, MAX_POOLS, PRODUCERS, composite_patterns
from .quantised import build_signed_rounding, find_inseparable, read_signed_rounding
from .signs import count_filters
from .sites import FunctionGraph, op_name

_CHAIN_ENDS = PRODUCERS.union(MAX_POOLS, AVERAGE_POOLS, ["concatenate"])
_DEPEND_ON_SCALARS = frozenset(["divide", "power"])
_KEEPS_VALUES = MOVES.union(["strided_slice", "annotation.stop_fusion"])  # some of them, in order
_PER_CHANNEL = ADDITIONS.union(["multiply", "divide", "maximum", "minimum", "nn.prelu"])
_LARGEST_COMPOSITE = 16
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
    moves : tuple of relay.Call
        Operators from `root` upwards that only move values; the step itself stands above them.
    build : callable or None
        Makes the step anew from the data and a span, where neither of these can.
    """

    link: Link
    root: relay.Expr
    source: relay.Expr
    path: tuple[int, ...]
    region: frozenset[relay.Expr]
    replace: dict[relay.Expr, relay.Expr] = field(default_factory=dict)
    rebuilt_as: relay.Call | None = None
    moves: tuple[relay.Call, ...] = ()
    build: Callable[[relay.Expr, Span], relay.Expr] | None = None


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
        if is_move(base) and not _is_flat_prelu(base):
            scene = replace(scene, pool=as_uniform(scene.pool, read_moves(base)[1]))
            step = _read_moved_step(graph, base, scene, wanted, steps)
        else:
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
    is_moved = any(step.moves for step in steps)
    producer = find_missing_producer(graph, _skip_steps(base) if is_moved else base, scene)
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
        meets_addition=op_name(read_moves(top)[1]) == "multiply" and graph.feeds_addition(pool),
        filters=_count_filters(graph, base, steps, scene),
        pad_value=scene.pool.pad_value,
    )
    return chain, steps


def _skip_steps(value: relay.Expr) -> relay.Expr:
    """What steps that stay, above others that only move values, are computed from."""
    while op_name(value) in _PER_CHANNEL:
        is_constant = read_constant(value.args[0]) is not None
        value = value.args[1 if is_constant else 0]
    return value


def _count_filters(graph: FunctionGraph, base: relay.Expr, steps: list[Step], scene: Scene) -> int:
    if not steps or any(step.moves for step in steps):
        return 0
    return count_filters(graph, base, count_uses(base, steps[-1].region), scene.pool)


def find_missing_producer(graph: FunctionGraph, base: relay.Expr, scene: Scene) -> Refusal | None:
    """None if convolutions or dense layers compute `base`, through any known steps."""
    if op_name(base) in PRODUCERS:
        return None
    if op_name(base) in _KEEPS_VALUES or _is_correction(base):
        return find_missing_producer(graph, base.args[0], scene)
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


def _is_correction(base: relay.Expr) -> bool:
    """True if the value may be a quantised convolution less what its weights' zero point adds."""
    return op_name(base) == "subtract" and read_dtype(base) == "int32"


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
        return _read_flat_prelu(graph, root, scene, shared) or _read_single(
            graph, root, scene, shared
        )
    rounding = read_signed_rounding(root)
    if rounding is not None:
        return _read_rounding(graph, root, scene, shared, rounding)
    if root.op.name in TWO_ARGUMENTS and len(_branches(root, scene)) == 2:
        return _read_composite(graph, root, scene, shared)
    return _read_single(graph, root, scene, shared)


def _read_moved_step(graph, top, scene, wanted, nearer) -> Step | Refusal | None:
    """The step above some moves, if it treats all values alike; `nearer` are those below them."""
    moves, value = read_moves(top)
    step = _read_step(graph, value, scene, 1)
    if not isinstance(step, Step):
        return step
    if not is_uniform(step, len(read_shape(top.checked_type))):
        return varies(f"an operand of {step.link.map.name} above {op_name(top)}")
    below = op_name(nearer[-1].root) if nearer else ""
    if op_name(value) == "multiply" and below in ADDITIONS:
        return contraction(f"{below} below {op_name(top)}")
    shared = _shared(graph, top, wanted)
    for move in moves[1:]:
        shared = shared or _shared(graph, move, 1)
    link = replace(step.link, shared=shared or step.link.shared)
    return replace(
        step,
        link=link,
        root=top,
        path=(0,) * len(moves) + step.path,
        region=step.region.union(moves),
        moves=moves,
    )


def is_uniform(step: Step, rank: int = 0) -> bool:
    """True if the step treats all values alike: each of its operands is a single number.

    With a `rank` an operand must not have more axes than that, or it would add them.
    """
    operands = (
        step.replace.get(argument, argument)
        for call in step.region.difference(step.moves)
        for argument in call.args
        if argument not in step.region and not argument.same_as(step.source)
    )
    shapes = [_shape_of(operand) for operand in operands]
    is_plain = step.rebuilt_as is None and step.build is None
    return is_plain and all(prod(s) == 1 and len(s) <= (rank or len(s)) for s in shapes)


def _shape_of(operand: relay.Expr) -> tuple[int | None, ...]:
    """Shape of an operand; one that was shrunk is a constant without a type."""
    if isinstance(operand, relay.Constant):
        return tuple(operand.data.shape)
    return read_shape(operand.checked_type)


def _read_single(graph, root, scene, shared) -> Step | Refusal | None:
    reading = read_operator(root, scene)
    if isinstance(reading, Refusal):
        return None if op_name(root) in _CHAIN_ENDS else reading
    source = root.args[reading.data]
    if not _has_windows_of(source, scene):
        return varies(f"what {op_name(root)} broadcasts")
    shared = shared or _shared_scalar(graph, [root])
    split = _is_split_addition(root, source)
    described = scene.certified.describe(reading.map, root, source)
    keeps_nan, together = do_keep_nan([root], scene), find_inseparable(source)
    link = Link(described, read_dtype(root), 1, shared, split, together, keeps_nan)
    replace = {root.args[position]: new for position, new in reading.replace.items()}
    return Step(link, root, source, (reading.data,), frozenset([root]), replace)


def _read_rounding(graph, root, scene, shared, rounding) -> Step | Refusal:
    """x + (p if x >= 0 else n), its addends shrunk to the pooled tensor."""
    smaller = [shrink(values, scene.pool) for values in (rounding.upper, rounding.lower)]
    if any(values is None for values in smaller) or not _has_windows_of(rounding.source, scene):
        return varies("what is added to round")
    for call in rounding.region[1:3]:
        shared = shared or _shared(graph, call, 1)
    dtype, source = read_dtype(root), rounding.source
    link = Link(rounding.describe(*smaller), dtype, 3, shared, False, find_inseparable(source))
    build = partial(build_signed_rounding, constants=[relay.const(v, dtype) for v in smaller])
    return Step(link, root, source, (0,), frozenset(rounding.region), build=build)


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
        and op_name(read_moves(source)[1]) == "multiply"
        and read_dtype(source).startswith(("float", "bfloat"))
        and any(argument.same_as(source) for argument in call.args)
    )


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


def _shared_scalar(graph: FunctionGraph, region) -> Refusal | None:
    """Set if a scalar that the code of a step depends on is used elsewhere too.

    FuseOps writes a scalar into a kernel if no other kernel uses it.  TVM divides by such a number
    with a product, and LLVM squares for a power of 2; both round otherwise than with an operand.
    """
    for call in region:
        if op_name(call) not in _DEPEND_ON_SCALARS:
            continue
        for scalar in call.args:
            if isinstance(scalar, relay.Constant) and read_shape(scalar.checked_type) == ():
                refusal = _shared(graph, scalar, count_uses(scalar, region))
                if refusal:
                    return replace(refusal, subject=f"the scalar of {op_name(call)}")
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
    shared = shared or _shared_scalar(graph, region)
    if not _has_windows_of(source, scene):
        return varies(f"what {op_name(root)} broadcasts")
    is_split = any(_is_split_addition(call, source) for call in region)
    keeps_nan = do_keep_nan(region, scene)
    together = find_inseparable(source)
    link = Link(described, read_dtype(root), len(region), shared, is_split, together, keeps_nan)
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
    """Map of a region and the operands to replace: by its parts, its name, or a guess.

    A guess has to be certified; the named composites are guessed too, because a pattern takes any
    constant and not every constant makes a valley.
    """
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
    name = _name_region(region, root)
    directions, worst = described.directions, described.worst_ulp
    if Direction.OTHER in directions:
        directions, worst = (guess_direction(described.evaluate),), None
    described = MonotoneMap(name, directions, worst, described.evaluate)
    return scene.certified.describe(described, root, source), replace


def _name_region(region, root) -> str:
    for name, pattern in composite_patterns():
        if pattern.match(root):
            return name
    return "composite of " + ", ".join(op_name(call) for call in reversed(region))


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


def _is_flat_prelu(root: relay.Expr) -> bool:
    """True for reshape(prelu(reshape(x)))."""
    if op_name(root) != "reshape" or op_name(root.args[0]) != "nn.prelu":
        return False
    return op_name(root.args[0].args[0]) == "reshape"


def _read_flat_prelu(graph, root, scene, shared) -> Step | Refusal | None:
    """reshape(prelu(reshape(x, -1), slopes, axis=0), shape of x) as one prelu per channel."""
    if not _is_flat_prelu(root):
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
