"""Composites: small regions of operators with one entry and one exit, read as one step.

The direction of a composite follows from its parts, as in ELU or max(x, -x) (``core/joins.py``), or
piece by piece of the numbers, as in x * (x > 1) (``core/pieces.py``).  Where it does not
(x * sigmoid(x)) a certificate decides.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tvm import relay
from tvm.ir import Op

from ..core.chain import Link
from ..core.enclosure import choose
from ..core.joins import JOINS
from ..core.monotone import IDENTITY, Direction, MonotoneMap, guess_direction
from ..core.pieces import COMPARISONS, FUNCTIONS, Part, describe_parts
from ..core.refusal import Reason, Refusal, varies
from .certified import read_function
from .facts import is_constant, is_float, is_literal, read_constant, read_dtype, read_filled
from .inseparable import find_inseparable
from .nan import do_keep_nan
from .operands import shrink
from .operators import doubt_rounding, read_operator
from .patterns import FENCE, composite_patterns
from .scene import Scene, is_full_size
from .sites import FunctionGraph, op_name
from .steps import (
    Step,
    count_steps,
    count_uses,
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
        if len(frontier) == 1 and read_dtype(*frontier) != "bool":
            return region, next(iter(frontier))
    return region, None


def _refuse_region(root: relay.Call, region: list[relay.Call]) -> Refusal:
    """Why the operands of `root` are not read as functions of one value."""
    name = op_name(root)
    if len(region) < _LARGEST_COMPOSITE:
        others = ", ".join(op_name(argument) for argument in root.args[1:])
        return varies(f"the other operand of {name} ({others})" if others else f"what {name} takes")
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
    return [a for a in call.args if is_full_size(a, scene.pool) and not is_constant(a)]


def _describe_region(region, root, source, scene):
    """Map of a region, how it is rebuilt, and the maps inside: by parts, pieces, or a certificate.

    Where the parts do not decide, a direction is guessed, and a certificate has to confirm it; the
    named composites are guessed too, because a pattern takes any constant and not every constant
    makes a valley.  With comparisons, or an operator that nobody knows, a guess at some points says
    nothing of the others: only a certificate counts.
    """
    numbers, parts, ways, unknown = {source: 0}, [], ({}, {}), None
    for call in reversed(region):
        part, found = _read_part(call, numbers, scene, ways)
        if part is None:
            return found, (), {}
        unknown = unknown or found
        parts.append(part)
        numbers[call] = len(parts)
    maps = describe_parts(parts, read_dtype(source), scene.pool.plane_shape)
    described = maps[-1]
    described = replace(described, name=_name_region(region, root), why=None, detail="")
    if Direction.OTHER in described.directions:
        is_guessed = unknown is None and not any(part.name in COMPARISONS for part in parts)
        if is_guessed:
            described = _guess(described, is_whole=not is_float(source))
        else:
            is_sweepable = read_function(root, source) is not None
            if unknown and not is_sweepable:
                return unknown, (), {}
            described = _leave_open(described, is_sweepable)
    inside = {source: IDENTITY, **dict(zip(reversed(region), maps))}
    described = scene.certified.describe(described, root, source)
    return doubt_rounding(described, region, source), ways, inside


def _guess(described: MonotoneMap, is_whole: bool) -> MonotoneMap:
    direction = guess_direction(described.evaluate, is_whole)
    return replace(described, directions=(direction,), worst_ulp=None)


def _leave_open(described: MonotoneMap, is_sweepable: bool) -> MonotoneMap:
    """For a certificate to decide."""
    detail = "not certified for this target" if is_sweepable else "none that can be certified"
    return replace(
        described,
        directions=(Direction.OTHER,),
        worst_ulp=None,
        why=Reason.UNPROVEN,
        detail=detail,
    )


def _read_part(call, numbers, scene, ways) -> tuple[Part | None, Refusal | None]:
    """One operator of a region, and why it is unknown if so; no part if nothing can be said."""
    name, dtype = op_name(call), read_dtype(call)
    branches = find_branches(call, scene)
    if name == "multiply" and len(branches) == 2 and branches[0].same_as(branches[1]):
        return Part(name, (numbers[branches[0]],), _SQUARE, dtype), None
    if name in _LIKE:
        return Part(name, (numbers[branches[0]],), _read_like(call), dtype), None
    is_of_bool = name == "cast" and "bool" in (read_dtype(call.args[0]), dtype)
    if is_of_bool or name in FUNCTIONS and (name not in JOINS or len(branches) == 2):
        operands = [_read_operand(argument, numbers, scene, ways[0]) for argument in call.args]
        if any(operand is None for operand in operands):
            return None, varies(f"an operand of {name}")
        return Part(name, tuple(operands), None, dtype), None
    reading = read_operator(call, scene)
    if not isinstance(reading, Refusal):
        for known, found in zip(ways, read_rebuilding(call, reading)):
            known.update(found)
        return Part(name, (numbers[call.args[reading.data]],), reading.map, dtype), None
    if reading.reason is not Reason.UNKNOWN_OPERATOR:
        return None, reading
    return Part(name, tuple(numbers[branch] for branch in branches), None, dtype), reading


_SQUARE = MonotoneMap("square", (Direction.VALLEY,), 0, np.square)
_LIKE = frozenset(["zeros_like", "ones_like", "full_like"])


def _read_like(call) -> MonotoneMap:
    """What does not depend on the values of its argument."""
    if op_name(call) == "full_like":
        value = read_constant(call.args[1])
    else:
        value = np.asarray(op_name(call) == "ones_like")
    if value is None:
        return MonotoneMap(op_name(call), (Direction.CONSTANT,), 0)
    value = value.astype(read_dtype(call))
    evaluate = lambda x: choose(np.equal(x, x), value, value)  # noqa: E731
    return MonotoneMap(op_name(call), (Direction.CONSTANT,), 0, evaluate)


def _read_operand(argument, numbers, scene, smaller):
    """A value of the region by its number, or a constant that is the same all over the window."""
    if argument in numbers:
        return numbers[argument]
    values = read_filled(argument)
    if values is None or not is_full_size(argument, scene.pool):
        return values
    values = shrink(values, scene.pool)
    if values is None:
        return None
    if is_literal(argument):  # and it has to be one behind the pool
        values = values.ravel()[0].reshape(())
    smaller[argument] = relay.const(values, read_dtype(argument))
    return values


def _name_region(region, root) -> str:
    for name, pattern in composite_patterns():
        if pattern.match(root):
            return name
    names = (op_name(call) for call in reversed(region))
    return "composite of " + ", ".join(name for name in names if name != FENCE)


def _path(root, source, region) -> tuple[int, ...]:
    """Argument positions from `root` to `source` inside the region."""
    inside = set(region)
    trails = {root: ()}
    for call in region:  # users come before what they use
        for position, argument in enumerate(call.args):
            if argument in inside or argument.same_as(source):
                trails.setdefault(argument, trails[call] + (position,))
    return trails[source]
