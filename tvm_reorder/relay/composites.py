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
from ..core.joins import join_maps
from ..core.monotone import Direction, MonotoneMap, compose, guess_direction
from ..core.refusal import Refusal, varies
from .facts import read_dtype
from .nan import do_keep_nan
from .operators import read_operator
from .patterns import composite_patterns
from .quantised import find_inseparable
from .scene import Scene, is_full_size
from .sites import FunctionGraph, op_name
from .steps import (
    Step,
    count_uses,
    find_shared_scalar,
    find_sharing,
    has_windows_of,
    is_split_addition,
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
        return varies(f"the other operand of {op_name(root)}")
    described, replace, inside = _describe_region(region, root, source, scene)
    if isinstance(described, Refusal):
        return described
    for call in region[1:]:
        shared = shared or find_sharing(graph, call, count_uses(call, region))
    shared = shared or find_shared_scalar(graph, region)
    if not has_windows_of(source, scene):
        return varies(f"what {op_name(root)} broadcasts")
    is_split = any(is_split_addition(call, source) for call in region)
    keeps_nan = do_keep_nan(region, scene)
    together = find_inseparable(source)
    link = Link(
        described, read_dtype(root), len(region), shared, is_split, together, keeps_nan, inside
    )
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
        branches = find_branches(latest, scene)
        if not branches:
            break  # a constant that nobody has folded yet
        frontier.remove(latest)
        region.append(latest)
        frontier.update(branches)
        if len(frontier) == 1:
            return region, next(iter(frontier))
    return region, None


def _is_elementwise(op: Op) -> bool:
    pattern = op.get_attr("TOpPattern")
    return pattern is not None and int(pattern) in (_ELEMENTWISE, _BROADCAST)


def find_branches(call: relay.Call, scene: Scene) -> list[relay.Expr]:
    """The arguments that vary along the window; constants never count."""
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
        branches = find_branches(call, scene)
        if len(branches) == 2:
            maps[call] = _join(op_name(call), *(maps[b] for b in branches), source, scene)
            continue
        reading = read_operator(call, scene)
        if isinstance(reading, Refusal):
            return reading, replace, ()
        maps[call] = compose(reading.map, maps[call.args[reading.data]])
        replace.update({call.args[p]: new for p, new in reading.replace.items()})
    described = maps[root]
    name = _name_region(region, root)
    directions, worst = described.directions, described.worst_ulp
    if Direction.OTHER in directions:
        directions, worst = (guess_direction(described.evaluate),), None
    described = MonotoneMap(name, directions, worst, described.evaluate)
    inside = tuple((maps[call], read_dtype(call)) for call in region[1:])
    return scene.certified.describe(described, root, source), replace, inside


def _name_region(region, root) -> str:
    for name, pattern in composite_patterns():
        if pattern.match(root):
            return name
    return "composite of " + ", ".join(op_name(call) for call in reversed(region))


def _join(name: str, left: MonotoneMap, right: MonotoneMap, source, scene: Scene) -> MonotoneMap:
    """The map of a two-argument operator whose operands both vary with x."""
    if name == "multiply" and left is right:
        return compose(MonotoneMap("square", (Direction.VALLEY,), 0, np.square), left)
    return join_maps(name, left, right, read_dtype(source), scene.pool.plane_shape)


def _path(root, source, region) -> tuple[int, ...]:
    """Argument positions from `root` to `source` inside the region."""
    inside = set(region)
    trails = {root: ()}
    for call in region:  # users come before what they use
        for position, argument in enumerate(call.args):
            if argument in inside or argument.same_as(source):
                trails.setdefault(argument, trails[call] + (position,))
    return trails[source]
