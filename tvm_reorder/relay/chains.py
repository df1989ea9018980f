"""The steps between a pool and the convolution, read from the pool upwards.

A step is one operator, a composite (``composites.py``), the importer's flattened PRelu
(``flat_prelu.py``), a rounding (``quantised.py``), or one of these above what only moves values
(``moves.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from tvm import relay
from tvm.ir import Op

from ..core.chain import Chain, Link, follow_chain
from ..core.enclosure import is_integer
from ..core.monotone import IDENTITY, MonotoneMap, compose
from ..core.pieces import FUNCTIONS
from ..core.refusal import Reason, Refusal, overflow, unrounded_cast, varies
from .composites import find_branches, read_composite
from .facts import read_dtype, read_shape
from .flat_prelu import read_flat_prelu
from .fused_with import ANCHORED, find_anchor, find_kernel, is_elementwise_kernel
from .inseparable import find_inseparable
from .integer_bounds import (
    climb_behind,
    find_overflow,
    find_overflow_behind,
    hides_integers,
    is_cast_from_float,
    is_cast_to_float,
    read_integer_bound,
)
from .layouts import breaks_on_blocks, may_be_blocked, shows_layout
from .moves import Moves, as_moved, is_flat_prelu, is_move, read_moves, undo_one_another
from .nan import do_keep_nan
from .operands import explain_unknown, find_source, shrink
from .operators import read_operator
from .pairs import climb_all, climb_operands, list_above, list_operands
from .patterns import AVERAGE_POOLS, MAX_POOLS, PRODUCERS
from .quantised import build_signed_rounding, read_signed_rounding
from .reductions import drops_axes, is_reduction, read_reduced_axes
from .scene import Scene
from .signs import count_filters
from .sites import FunctionGraph, op_name
from .steps import (
    Rebuild,
    Step,
    count_steps,
    count_uses,
    find_moves,
    find_shared_constant,
    find_shared_scalar,
    find_sharing,
    find_vanishing,
    gives_one_number,
    has_windows_of,
    needs_axes,
    read_operand_shapes,
    read_rebuilding,
)
from .two_arguments import TWO_ARGUMENTS

_CHAIN_ENDS = PRODUCERS.union(MAX_POOLS, AVERAGE_POOLS, ["concatenate"])


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
        Why `base` is no step; None if nothing is expected to be one there: an input, say, or a
        convolution.
    """
    steps, base, wanted = [], top, 1
    while True:
        if is_move(base) and not is_flat_prelu(base):
            moves, value = read_moves(base)
            scene = replace(scene, pool=as_moved(scene.pool, moves, value))
            step = _read_moved_step(graph, base, scene, wanted)
        else:
            step = _read_step(graph, base, scene, wanted)
        if isinstance(step, Step):
            step = _refuse_repeating(step) or _hold(step, _find_bond(graph, step))
        if not isinstance(step, Step):
            undone = _read_undone_moves(graph, base, wanted, steps)
            return [*steps, *undone], undone[0].source if undone else base, step
        steps.append(step)
        base = step.source
        wanted = count_uses(base, step.region)


def _refuse_repeating(step: Step) -> Refusal | None:
    """Set for a step that may give more values than it takes, which FuseOps puts behind no pool.

    It would be a kernel of its own there, apart from the steps in front of it; see `FuseOps` in
    ``src/relay/analysis/graph_partitioner.cc``.  An extent that is known at run time alone counts
    as equal to itself there, whichever tensor of a sum has the larger one then.
    """
    before, after = (read_shape(value.checked_type) for value in (step.source, step.result))
    name = op_name(step.result)
    if before != after:
        sizes = (" x ".join(str(n or "?") for n in shape) for shape in (after, before))
        subject, actual = f"what {name} computes", "{} values for {}".format(*sizes)
        return Refusal(Reason.NO_SAVING, subject, actual, "as many as it takes")
    if None in before and any(map(partial(_may_repeat, before), read_operand_shapes(step))):
        subject, actual = f"an operand of {name}", "of an extent that may be larger at run time"
        return Refusal(Reason.NO_SAVING, subject, actual, "of extent 1 where the data's is unknown")
    return None


def _may_repeat(shape: tuple[int | None, ...], operand: tuple[int | None, ...]) -> bool:
    """True if the operand may be larger than the data along an axis of unknown extent."""
    return any(n is None and other != 1 for n, other in zip(reversed(shape), reversed(operand)))


def _find_bond(graph: FunctionGraph, step: Step) -> Refusal | None:
    """Set if a constant of the step, or of what it takes, keeps it where it is."""
    if step.link.shared is not None:
        return step.link.shared
    shared = find_shared_scalar(graph, [*step.region, *climb_operands(step)])
    return shared or find_shared_constant(graph, step) or find_vanishing(step)


def _hold(step: Step, refusal: Refusal | None) -> Step:
    """The step, which has to stay for this reason, if there is one and none before it."""
    if refusal is None or step.link.shared is not None:
        return step
    return replace(step, link=replace(step.link, shared=refusal))


def _heed_layout(graph: FunctionGraph, pool: relay.Call, base, steps: list[Step]) -> list[Step]:
    """The steps, those held where they are whose move would show in a layout, or break on it."""
    steps = [_hold(step, _refuse_on_blocks(pool, step)) for step in steps]
    is_reshaped = drops_axes(pool) and any(map(needs_axes, steps))
    if not is_reshaped and not any(step.moves for step in steps):
        return steps
    if not may_be_blocked(base) or not shows_layout(graph, pool):
        return steps
    held = (_hold(step, _find_reshaped(step)) if is_reshaped else step for step in steps)
    return [replace(step, may_lose_moves=False) for step in held]


def _refuse_on_blocks(pool: relay.Call, step: Step) -> Refusal | None:
    """Set if TVM does not build the step behind a pool over blocks of channels."""
    call = next((call for call in step.region if breaks_on_blocks(pool, call)), None)
    if call is None:
        return None
    subject, actual = f"{op_name(call)} behind the pool", f"over {pool.attrs.layout}"
    return Refusal(Reason.LAYOUT, subject, actual, "over channels that are not in blocks")


def _find_reshaped(step: Step) -> Refusal | None:
    """Set if a step needs the axes that a reduction drops, which a reshape would take away."""
    if not needs_axes(step):
        return None
    subject = f"what {op_name(step.result)} takes behind a max that drops axes"
    required, lift = "a number, for what follows depends on the layout", "keepdims keeps the axes"
    return Refusal(Reason.LAYOUT, subject, "of several values", required, lift)


def read_chain(
    graph: FunctionGraph, pool: relay.Call, top: relay.Expr, scene: Scene
) -> tuple[Chain, list[Step]]:
    """The chain above a pool, from `top` upwards, as facts, with the steps it was read from."""
    steps, base, stop = read_steps(graph, top, scene)
    if not any(step.link.steps for step in steps):
        steps = []
    if not steps and stop is None:
        actual = _describe_base(graph, base)
        stop = Refusal(Reason.NO_ACTIVATION, "what the pool reads", actual, "an activation")
    steps = _heed_layout(graph, pool, base, steps)
    dtypes = (scene.pool.dtype, *(read_dtype(step.source) or "" for step in steps))
    bound = read_integer_bound(base) if is_integer(dtypes[-1]) else None
    lift = _find_unbound_weights(base, scene)
    chain = Chain(
        window=scene.pool.window,
        planes=scene.pool.planes,
        links=tuple(step.link for step in steps),
        base_dtypes=dtypes,
        input_range=bound,
        range_lift=lift,
        undefined=_find_broken_cast(steps, base) or _find_overflow(base, bound, lift),
        stop=stop,
        pairs=scene.pairs.read(pool, top, base, steps),
        producer_kernel=_doubt_producer(graph, pool, top, base, steps, scene),
        pool_kernel=scene.pairs.kernels.doubt_pool(pool) or _doubt_operands(graph, steps, scene),
        filters=_count_filters(graph, base, steps, scene),
        pad_value=scene.pool.pad_value,
        is_padded=scene.pool.pad is not None,
        is_order_open=_is_order_open(pool, base),
        zeros=_find_sign_reader(scene),
        totals=tuple(_describe_prefixes(steps, scene)),
        plane_shape=scene.pool.plane_shape,
    )
    undefined = (
        chain.undefined
        or _find_overflow_beside(pool, base, steps, scene)
        or _find_overflow_behind(graph, pool, chain, steps)
        or _find_folded_cast(graph, pool, steps)
    )
    return replace(chain, undefined=undefined), steps


def _find_overflow_beside(pool, base, steps: list[Step], scene: Scene) -> Refusal | None:
    """Set if an integer that a kernel of the chain computes besides the data may overflow."""
    if not steps:
        return None
    operands = [value for step in steps for value in climb_operands(step)]
    behind = climb_all(scene.pairs.list_behind(pool)[0])
    value = find_overflow([*list_above(base), *operands, *behind])
    return value and overflow(op_name(value), read_dtype(value))


def _find_overflow_behind(graph, pool, chain: Chain, steps: list[Step]) -> Refusal | None:
    """Set if an operator that shares the pool's kernel may overflow, and a step would show it."""
    if not chain.links:
        return None
    is_whole = is_integer(chain.base_dtypes[0])
    if not is_whole and not _carry_integers(steps):
        return None
    bound = follow_chain(chain)[0][0] if is_whole else None
    name = find_overflow_behind(graph, pool, bound)
    return name and overflow(f"{name} behind the pool", chain.base_dtypes[0])


def _find_folded_cast(graph, pool, steps: list[Step]) -> Refusal | None:
    """Set if a constant would come to stand in front of a cast to an integer.

    TVM folds x * 0 - 3e38 in one kernel, and the literal that it makes of the cast fails to build.
    """
    folded = (call for step in steps for call in step.region if gives_one_number(call))
    constant = next(folded, None)
    if constant is None or not any(map(is_cast_from_float, climb_behind(graph, pool))):
        return None
    subject, actual = f"what {op_name(constant)} computes", "one number, before a cast"
    return Refusal(Reason.NOT_COMPILED, subject, actual, "more, or apart from the cast")


def _carry_integers(steps: list[Step]) -> bool:
    """True if a cast to the pool's dtype may meet, behind the pool, a cast back."""
    for step in steps:
        if any(map(is_cast_to_float, [*step.region, *climb_operands(step)])):
            return True
        if any(map(hides_integers, step.region)):
            return False
    return False


def _doubt_producer(graph, pool, top, base, steps, scene) -> Refusal | None:
    """Why it is not known that the steps are computed in one expression, where they stand."""
    uses = count_uses(base, steps[-1].region) if steps else 1
    is_plain = is_elementwise_kernel(graph, base, uses)
    is_apart = is_plain or any(step.link.shared for step in steps)
    is_joined = is_apart and not top.same_as(scene.pool.data_of(pool))
    are_moved = any(step.moves for step in steps)
    anchor = find_anchor(graph, base, uses)
    return scene.pairs.kernels.doubt_producer(anchor, is_joined, are_moved, is_plain)


def _is_order_open(pool: relay.Call, base: relay.Expr) -> bool:
    """True for a reduction over channels that may lie in blocks."""
    if not is_reduction(pool) or min(read_reduced_axes(pool)) > 1:
        return False
    return may_be_blocked(base)


def _doubt_operands(graph: FunctionGraph, steps: list[Step], scene: Scene) -> Refusal | None:
    """Why it is not known how the steps are computed in the kernel of something that they add.

    Behind the pool FuseOps may put them there instead: a convolution whose values a step adds can
    give as many as the pool does.
    """
    for step in steps:
        for operand in list_operands(step):
            uses = count_uses(operand, step.region)
            if find_kernel(graph, operand, uses).home in ANCHORED:
                anchor = find_anchor(graph, operand, uses)
                doubt = scene.pairs.kernels.doubt_producer(anchor)
                if doubt:
                    return doubt
    return None


def _describe_base(graph: FunctionGraph, base: relay.Expr) -> str:
    moves, base = read_moves(base)
    if moves:
        return f"{_describe_base(graph, base)}, through {op_name(moves[0])},"
    if not isinstance(base, relay.Var):
        return op_name(base)
    is_input = any(base.same_as(param) for param in graph.function.params)
    return "an input" if is_input else "bound by let in a function with effects or control flow"


def _describe_prefixes(steps: list[Step], scene: Scene) -> Iterator[MonotoneMap]:
    """The steps next to the pool as one map, for each number of them, by parts or certificate."""
    total = None
    for step in steps:
        if total is None:
            total = step.link.map
        else:
            total = compose(total, step.link.map)
            total = scene.certified.describe(total, steps[0].root, step.source)
        yield total


def _find_overflow(base: relay.Expr, bound: tuple[int, int] | None, lift: str) -> Refusal | None:
    """Set for an integer of which no bound is known."""
    dtype = read_dtype(base) or ""
    return overflow(op_name(base), dtype, lift) if is_integer(dtype) and bound is None else None


def _find_unbound_weights(base: relay.Expr, scene: Scene) -> str:
    """What the user can do if a base's range is open because its weights are a variable."""
    weights = find_source(base.args[1]) if op_name(base) in PRODUCERS else None
    if not isinstance(weights, relay.Var) or weights not in scene.parameters:
        return ""
    return f"bind the weights {weights.name_hint!r}, if they are parameters"


def _find_broken_cast(steps: list[Step], base: relay.Expr) -> Refusal | None:
    """Set if float64 becomes float16 on the way: TVM 0.19 takes the result from a wrong register.

    What is in it depends on the kernel (found by fuzzing).
    """
    calls = [call for step in steps for call in step.region] + [base]
    for call in calls:
        is_narrowing = op_name(call) == "cast" and read_dtype(call) == "float16"
        if is_narrowing and read_dtype(call.args[0]) == "float64":
            return unrounded_cast()
    return None


def _find_sign_reader(scene: Scene) -> Refusal | None:
    if scene.sign_reader is None:
        return None
    actual, required = f"read by {scene.sign_reader}", "without effect on the results"
    return Refusal(Reason.ZERO_SIGN, "the sign of a zero from the pool", actual, required)


def _count_filters(graph: FunctionGraph, base: relay.Expr, steps: list[Step], scene: Scene) -> int:
    if not steps or find_moves(steps):
        return 0
    return count_filters(graph, base, count_uses(base, steps[-1].region), scene.pool)


def _read_step(
    graph: FunctionGraph, root: relay.Expr, scene: Scene, wanted: int
) -> Step | Refusal | None:
    """The step that yields `root`, why there is none, or None at the chain's natural end.

    `wanted` is how often the step below, or the pool, uses the value; any more use is sharing.
    """
    if not isinstance(root, relay.Call) or not isinstance(root.op, Op):
        return None
    shared = find_sharing(graph, root, wanted)
    if is_flat_prelu(root):
        flat = read_flat_prelu(graph, root, scene, shared)
        if flat is not None:
            return explain_unknown(flat, root.args[0], scene)
    rounding = read_signed_rounding(root)
    if rounding is not None:
        return _read_rounding(graph, root, scene, shared, rounding)
    if root.op.name in TWO_ARGUMENTS and len(find_branches(root, scene)) == 2:
        return read_composite(graph, root, scene, shared)
    step = _read_single(graph, root, scene, shared)
    if not isinstance(step, Refusal) or step.reason is not Reason.UNKNOWN_OPERATOR:
        return step
    whole = read_composite(graph, root, scene, shared)  # `FUNCTIONS`, and what nobody knows
    return whole if root.op.name in FUNCTIONS or isinstance(whole, Step) else step


def _read_moved_step(graph, top, scene, wanted) -> Step | Refusal | None:
    """The step above some moves."""
    moves, value = read_moves(top)
    step = _read_step(graph, value, scene, 1)
    if not isinstance(step, Step):
        return step
    shared = _find_shared_move(graph, moves, wanted)
    link = replace(step.link, shared=shared or step.link.shared)
    return replace(
        step,
        link=link,
        root=top,
        path=(0,) * len(moves) + step.path,
        region=step.region.union(moves),
        moves=moves,
    )


def _read_undone_moves(graph, top, wanted, steps) -> list[Step]:
    """The moves above all steps as one more of them, if those between the steps undo them."""
    moves, source = read_moves(top)
    if not moves or not undo_one_another(sum((step.moves for step in steps), ()) + moves):
        return []
    shared = _find_shared_move(graph, moves, wanted)
    link = Link(IDENTITY, read_dtype(top), 0, shared, keeps_nan=True)
    return [Step(link, top, source, (0,) * len(moves), frozenset(moves), moves=moves)]


def _find_shared_move(graph, moves: Moves, wanted: int) -> Refusal | None:
    uses = (wanted, *(1 for _ in moves[1:]))
    shared = (find_sharing(graph, move, wanted) for move, wanted in zip(moves, uses))
    return next(filter(None, shared), None)


def _read_single(graph, root, scene, shared) -> Step | Refusal | None:
    reading = read_operator(root, scene)
    if isinstance(reading, Refusal):
        return None if op_name(root) in _CHAIN_ENDS else reading
    source = root.args[reading.data]
    if not has_windows_of(source, scene):
        return varies(f"what {op_name(root)} broadcasts")
    described = scene.certified.describe(reading.map, root, source)
    keeps_nan, together = do_keep_nan([root], scene), find_inseparable(source)
    link = Link(described, read_dtype(root), count_steps([root]), shared, together, keeps_nan)
    ways = read_rebuilding(root, reading)
    return Step(link, root, source, (reading.data,), frozenset([root]), *ways)


def _read_rounding(graph, root, scene, shared, rounding) -> Step | Refusal:
    """x + (p if x >= 0 else n), its addends shrunk to the pooled tensor."""
    smaller = [shrink(values, scene.pool) for values in (rounding.upper, rounding.lower)]
    if any(values is None for values in smaller) or not has_windows_of(rounding.source, scene):
        return varies("what is added to round")
    for call in rounding.region[1:3]:
        shared = shared or find_sharing(graph, call, 1)
    dtype, source = read_dtype(root), rounding.source
    link = Link(rounding.describe(*smaller), dtype, 3, shared, find_inseparable(source))
    build = partial(build_signed_rounding, constants=[relay.const(v, dtype) for v in smaller])
    rebuilds = {root: Rebuild((0,), build)}
    return Step(link, root, source, (0,), frozenset(rounding.region), rebuilds=rebuilds)
