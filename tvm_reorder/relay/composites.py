"""Composites: small regions of operators with one entry and one exit, read as one step.

The direction of a composite follows from its parts where two branches that move the same way are
added or compared, as in ELU.  Where it does not (x * sigmoid(x)) it is guessed, and a certificate
has to confirm the guess.
"""

from __future__ import annotations

import numpy as np
from tvm import relay
from tvm.ir import Op

from ..core.chain import Link
from ..core.monotone import Direction, MonotoneMap, compose, guess_direction, join_directions
from ..core.refusal import Reason, Refusal, varies
from .facts import is_constant, read_dtype
from .nan import do_keep_nan
from .operators import read_operator
from .patterns import FENCE, composite_patterns
from .quantised import find_inseparable
from .scene import Scene, is_full_size
from .sites import FunctionGraph, op_name
from .steps import (
    Step,
    count_steps,
    count_uses,
    find_shared_scalar,
    find_sharing,
    has_windows_of,
    read_rebuilding,
)

_LARGEST_COMPOSITE = 16
_ELEMENTWISE, _BROADCAST = 0, 1  # TOpPattern, include/tvm/relay/op_attr_types.h


def read_composite(
    graph: FunctionGraph, root: relay.Call, scene: Scene, shared: Refusal | None
) -> Step | Refusal:
    """The region that `root` is the end of as one step, or why it is none.

    `shared` is set if the value of `root` is wanted elsewhere too.
    """
    region, source = _find_region(graph, root, scene)
    if source is None:
        return _refuse_region(root, region)
    described, ways, maps = _describe_region(region, root, source, scene)
    if isinstance(described, Refusal):
        return described
    for call in region[1:]:
        shared = shared or find_sharing(graph, call, count_uses(call, region))
    shared = shared or find_shared_scalar(graph, region)
    if not has_windows_of(source, scene):
        return varies(f"what {op_name(root)} broadcasts")
    keeps_nan = do_keep_nan(region, scene)
    together = find_inseparable(source)
    inside = tuple((maps[call], read_dtype(call)) for call in region[1:])
    count, path = count_steps(region), _path(root, source, region)
    link = Link(described, read_dtype(root), count, shared, together, keeps_nan, inside)
    return Step(link, root, source, path, frozenset(region), *ways, maps=maps)


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
        branches = find_branches(latest, scene)
        if not branches:
            break  # a constant that nobody has folded yet
        frontier.remove(latest)
        region.append(latest)
        frontier.update(branches)
        if len(frontier) == 1:
            return region, next(iter(frontier))
    return region, None


def _refuse_region(root: relay.Call, region: list[relay.Call]) -> Refusal:
    """Why the operands of `root` are not read as functions of one value."""
    name = op_name(root)
    if len(region) < _LARGEST_COMPOSITE:
        return varies(f"the other operand of {name} ({op_name(root.args[1])})")
    return Refusal(
        Reason.UNKNOWN_OPERATOR,
        f"the composite that ends in {name}",
        f"of more than {_LARGEST_COMPOSITE} operators",
        "shorter",
    )


def _is_elementwise(op: Op) -> bool:
    pattern = op.get_attr("TOpPattern")
    is_known = pattern is not None and int(pattern) in (_ELEMENTWISE, _BROADCAST)
    return is_known or op.name == FENCE


def find_branches(call: relay.Call, scene: Scene) -> list[relay.Expr]:
    """The arguments that vary along the window; constants never count."""
    return [a for a in call.args if not is_constant(a) and is_full_size(a, scene.pool)]


def _describe_region(region, root, source, scene):
    """Map of a region, how it is rebuilt, and the map of each value inside: by parts, or a guess.

    A guess has to be certified; the named composites are guessed too, because a pattern takes any
    constant and not every constant makes a valley.
    """
    maps = {source: MonotoneMap("x", (Direction.RISING,), 0, lambda x: x)}
    replace, rebuilds = {}, {}
    for call in reversed(region):
        branches = find_branches(call, scene)
        if len(branches) == 2:
            maps[call] = _join(op_name(call), *(maps[branch] for branch in branches))
            continue
        reading = read_operator(call, scene)
        if isinstance(reading, Refusal):
            return reading, (), {}
        maps[call] = compose(reading.map, maps[call.args[reading.data]])
        replaced, rebuilt = read_rebuilding(call, reading)
        replace.update(replaced)
        rebuilds.update(rebuilt)
    described = maps[root]
    name = _name_region(region, root)
    directions, worst = described.directions, described.worst_ulp
    if Direction.OTHER in directions:
        directions, worst = (guess_direction(described.evaluate),), None
    described = MonotoneMap(name, directions, worst, described.evaluate)
    return scene.certified.describe(described, root, source), (replace, rebuilds), maps


def _name_region(region, root) -> str:
    for name, pattern in composite_patterns():
        if pattern.match(root):
            return name
    names = (op_name(call) for call in reversed(region))
    return "composite of " + ", ".join(name for name in names if name != FENCE)


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
