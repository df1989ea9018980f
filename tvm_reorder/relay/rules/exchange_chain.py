"""Elementwise steps go past the max pool that follows them.

Identity
    maxpool(f(x)) = f(maxpool(x)) for f non-decreasing along every window: one activation, a
    per-channel bias or scale, or a whole chain of them; for f falling or a valley see ``ends.py``.

Side conditions
    Those of ``core/checks.py``; they are decided there.

Measure that falls
    Elementwise evaluations: after the exchange f runs once a window instead of once an element.

Place in the pipeline
    After batch norm is folded, before AlterOpLayout; see ``pipeline.py``.
"""

from __future__ import annotations

from ...core.checks import check_exchange
from ..chains import read_chain
from .ends import exchange_at_ends
from .rule import Match, find_roots


class ExchangeChain:
    """maxpool(f(x)) -> f(maxpool(x))."""

    name = "ExchangeChain"
    needs: frozenset[str] = frozenset()

    def read(self, graph, pool, scene):
        """The chain above the pool."""
        chain, steps = read_chain(graph, pool, scene.pool.data_of(pool), scene)
        return Match(chain, steps, scene.pool, scene.pairs.kernels.apart)

    def check(self, chain, config):
        """The longest exchange that is exact."""
        return check_exchange(chain, config)

    def rewrite(self, plan, match, pool):
        """The pool over the chain's input, the moved steps behind it."""
        steps = match.steps[: plan.moved]
        roots = find_roots(steps, match.pool.data_of(pool))
        return exchange_at_ends(plan, match, pool, roots, roots[-1], self.name)


EXCHANGE_CHAIN = ExchangeChain()
