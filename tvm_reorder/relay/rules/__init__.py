"""The rules, one family a file, in the order they run."""

from .exchange_chain import EXCHANGE_CHAIN
from .exchange_concatenate import EXCHANGE_CONCATENATE
from .rule import Match, Rule

DEFAULT_RULES: tuple[Rule, ...] = (
    EXCHANGE_CHAIN,  # first: it also clears what stands between a concatenation and its pool
    EXCHANGE_CONCATENATE,  # then the pool stands next to the concatenation
)

__all__ = ["DEFAULT_RULES", "EXCHANGE_CHAIN", "EXCHANGE_CONCATENATE", "Match", "Rule"]
