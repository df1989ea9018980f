"""Activations under a concatenation go past the max pool above it.

Identity
    concat(f(a), f(b), ...) = f(concat(a, b, ...)) along any axis, for f the same on every element
    of every branch; so maxpool(concat(f(a), f(b), ...)) = f(maxpool(concat(a, b, ...))) for f
    non-decreasing, whether a window sees one branch or several.

Side conditions
    * The concatenation has the pool as its only user.
    * Every branch ends in the same steps: equal operators, attributes and scalar constants.
    * On each branch those of ``core/checks.py``.

Measure that falls
    Elementwise evaluations.  The number of kernels stays: f leaves the convolutions' kernels and
    joins the pool's.
"""

from __future__ import annotations

from dataclasses import replace

import tvm
from tvm import relay

from ...core.chain import follow_chain
from ...core.checks import check_exchange
from ...core.refusal import Reason, Refusal
from ..chains import read_chain
from ..facts import read_dtype
from ..sites import op_name
from ..steps import is_uniform
from .ends import exchange_at_ends
from .rule import Match, find_roots, mark_span, rebuild_steps


class ExchangeConcatenate:
    """maxpool(concat(f(a), f(b))) -> f(maxpool(concat(a, b)))."""

    name = "ExchangeConcatenate"
    needs = frozenset(["concatenate"])

    def read(self, graph, pool, scene):
        """The steps all branches share, as one chain; None without a concatenation."""
        joined = scene.pool.data_of(pool)
        if op_name(joined) != "concatenate" or not isinstance(joined.args[0], relay.Tuple):
            return None
        branches = [
            read_chain(graph, pool, field, scene.over(field)) for field in joined.args[0].fields
        ]
        followed = [follow_chain(chain) for chain, _ in branches]
        common, differing = _common_steps([steps for _, steps in branches])
        first, steps = branches[0]
        links = [steps[k].link for k in range(common)]
        for k, link in enumerate(links):
            same = [chain.links[k] for chain, _ in branches]
            shared = next((other.shared for other in same if other.shared), None)
            together = next((other.inseparable for other in same if other.inseparable), None)
            links[k] = replace(link, shared=shared, inseparable=together)
        outer = _shared_outside(graph, joined) or _find_repeated(branches, common, scene)
        if links and outer:
            links[0] = replace(links[0], shared=outer)
        chains = [chain for chain, _ in branches]
        chain = replace(
            first,
            pairs=tuple(pair.with_links(common) for each in chains for pair in each.pairs),
            producer_kernel=next(filter(None, (each.producer_kernel for each in chains)), None),
            pool_kernel=next(filter(None, (each.pool_kernel for each in chains)), None),
            is_order_open=any(each.is_order_open for each in chains),
            planes=scene.pool.planes,
            plane_shape=scene.pool.plane_shape,
            links=tuple(links),
            base_dtypes=first.base_dtypes[: common + 1],
            input_range=_join([intervals[common] for intervals, _ in followed]),
            undefined=next((undefined for _, undefined in followed if undefined), None),
            stop=differing or _find_stop(branches),
            filters=0,
        )
        return Match(chain, steps[:common], scene.pool, scene.pairs.kernels.apart)

    def check(self, chain, config):
        """The longest exchange that is exact."""
        return check_exchange(chain, config)

    def rewrite(self, plan, match, pool):
        """The pool over the concatenated inputs, the shared steps once behind it."""
        joined = match.pool.data_of(pool)
        steps = match.steps[: plan.moved]
        roots = [find_roots(steps, field) for field in joined.args[0].fields]
        inputs = relay.Tuple([found[-1] for found in roots], joined.args[0].span)
        span = mark_span(joined.span, self.name)
        data = relay.Call(joined.op, [inputs], joined.attrs, [], span)
        return exchange_at_ends(plan, match, pool, roots[0], data, self.name)


def _find_repeated(branches, common: int, scene) -> Refusal | None:
    """Set if the branches would be one input of the function, given twice, and kernels are apart.

    TVM's AOT executor fills half of such a concatenation with something else.
    """
    sources = [steps[k].source for _, steps in branches for k in range(common)]
    inputs = [source for source in sources if isinstance(source, relay.Var)]
    if not scene.pairs.kernels.apart or len(set(inputs)) == len(inputs):
        return None
    actual, required = "the same input", "several where each operator is a kernel of its own"
    return Refusal(Reason.NOT_COMPILED, "what the concatenation would join", actual, required)


def _find_stop(branches) -> Refusal | None:
    """Why no branch goes on, where all have the same steps."""
    chain, steps = branches[0]
    if steps or chain.stop.reason is not Reason.NO_ACTIVATION:
        return chain.stop
    return replace(chain.stop, subject="what the concatenation joins")


def _join(intervals):
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def _common_steps(branches) -> tuple[int, Refusal | None]:
    """How many steps next to the concatenation are the same on every branch."""
    shortest = min(len(steps) for steps in branches)
    for k in range(shortest):
        if not all(_is_same(branches[0][k], steps[k]) for steps in branches[1:]):
            return k, _differ(branches, k)
    has_more = any(len(steps) > shortest for steps in branches)
    return shortest, _differ(branches, shortest) if has_more else None


def _is_same(left, right) -> bool:
    """True if two steps compute the same function of one value."""
    if left.link.dtype != right.link.dtype or len(left.region) != len(right.region):
        return False
    if left.moves or right.moves or not (is_uniform(left) and is_uniform(right)):
        return False  # the joined tensor has other channels
    functions = _as_function(left), _as_function(right)
    is_equal = tvm.ir.structural_equal(*functions)
    return bool(is_equal) and _read_numbers(functions[0]) == _read_numbers(functions[1])


def _read_numbers(function: relay.Function) -> list[float]:
    """Numbers in attributes: TVM takes two for equal that differ by less than 1e-9."""
    found: list[float] = []

    def visit(expr):
        attrs = getattr(expr, "attrs", None)
        values = (getattr(attrs, name) for name in (attrs.keys() if attrs else ()))
        found.extend(value for value in values if isinstance(value, float))

    relay.analysis.post_order_visit(function.body, visit)
    return found


def _as_function(step) -> relay.Function:
    """The step over a scalar variable in place of its data."""
    variable = relay.var("x", shape=(), dtype=read_dtype(step.source))
    body = rebuild_steps([step], [step.root], variable, "compare")
    return relay.Function([variable], body)


def _differ(branches, k: int) -> Refusal:
    found = [steps[k] if len(steps) > k else None for steps in branches]
    names = dict.fromkeys("no step" if step is None else step.link.map.name for step in found)
    actual, required = " and ".join(names), "the same on every branch"
    if len(names) == 1:
        cause, required = _explain_difference(found)
        actual += cause
    return Refusal(
        Reason.BRANCHES_DIFFER, f"step {k + 1} above the concatenation", actual, required
    )


def _explain_difference(steps) -> tuple[str, str]:
    """Why steps of one name are not the same, and what they should be."""
    moves = [op_name(move) for step in steps for move in step.moves]
    if moves:
        return f" above {moves[0]}", "next to it, for the joined tensor has another shape"
    if not all(map(is_uniform, steps)):
        return (
            " with more constants than one",
            "with a single number, for the joined tensor has other channels",
        )
    return " with other constants", "the same on every branch"


def _shared_outside(graph, joined) -> Refusal | None:
    users = graph.users(joined)
    if graph.is_output(joined):
        return Refusal(
            Reason.FUNCTION_OUTPUT,
            "the concatenation",
            "a function output",
            "used by the pool alone",
        )
    if users > 1 or graph.users(joined.args[0]) > 1:
        return Refusal(
            Reason.SHARED, "the concatenation", f"used {users} times", "used by the pool alone"
        )
    return None


EXCHANGE_CONCATENATE = ExchangeConcatenate()
