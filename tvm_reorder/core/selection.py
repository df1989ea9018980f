"""Which sites the user wants touched: ``only`` these, and ``skip`` those.

A site has names: the model's own, as it is or as it is printed, and the build's
(``max_pool2d_3``).  Any will do.
"""

from __future__ import annotations

from collections.abc import Sequence

from .decision import Action, Decision
from .printable import printable
from .report import Site

BASIS = "selection"  # of the decisions made here


class UnknownSite(ValueError):
    """A name that no site has; the message is one line with the names there are."""


def leave_out(
    sites: Sequence[Sequence[str]], only: Sequence[str], skip: Sequence[str]
) -> dict[int, Decision]:
    """The sites that are not selected, by number, with the decision to keep them.

    Parameters
    ----------
    sites : sequence of sequence of str
        The names of each site, the one to show first.
    only : sequence of str
        If there are any, all other sites are left out.
    skip : sequence of str
        These are left out.

    Raises
    ------
    UnknownSite
        If a name is no site's.
    """
    check_names(sites, only, skip)
    notes = {}
    for number, names in enumerate(map(_accept, sites)):
        if only and not names & set(only):
            notes[number] = "only does not name it"
        elif names & set(skip):
            notes[number] = "skip names it"
    return {n: Decision(Action.KEEP, BASIS, None, note) for n, note in notes.items()}


def check_names(
    sites: Sequence[Sequence[str]], only: Sequence[str], skip: Sequence[str], prefix: str = ""
) -> None:
    """Raise `UnknownSite` for the first name in `only` or `skip` that is no site's.

    `prefix` stands before the option's name in the message.
    """
    known = set().union(*map(_accept, sites))
    for option, given in (("only", only), ("skip", skip)):
        for name in given:
            if name not in known:
                there_are = ", ".join(repr(names[0]) for names in sites) or "there is none"
                raise UnknownSite(
                    f"{prefix}{option} names {name!r} but must name a max pool: {there_are}"
                )


def _accept(names: Sequence[str]) -> set[str]:
    return {*names, *map(printable, names)}


def is_left_out(site: Site) -> bool:
    """True if a reported site would have been touched but for `only` or `skip`."""
    return site.decision is not None and site.decision.basis == BASIS
