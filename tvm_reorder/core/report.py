"""What happened at every pool: sites, their status, and the report that keeps them."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from enum import IntEnum

from .decision import Decision
from .ends import THE_MAXIMUM, Ends
from .printable import printable
from .refusal import Reason, Refusal
from .workload import SiteWorkload


class Status(IntEnum):
    """Ordered: the better outcome is the larger one."""

    REFUSED = 0
    KEPT = 1
    EXCHANGEABLE = 2
    FUSABLE = 3
    EXCHANGED = 4
    FUSED = 5

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Site:
    """One pool and its verdict.

    Parameters
    ----------
    name : str
        Where: the pool's name in the model, or ``max_pool2d_3`` for the third one.
    status : Status
        The verdict.
    window : str
        Kernel/stride, input and output size.
    chain : tuple of str
        The steps moved past the pool, in order of execution; those refused for a refused site.
    refusal : Refusal or None
        Why the site is refused, or why the next step up the chain stays.
    evaluations_before, evaluations_after : int
        Elementwise evaluations of the moved steps; both 0 for a refused site.
    rule : str
        The rule that made the exchange; empty for a refused site.
    ends : Ends
        At which values of a window the moved steps are evaluated.
    is_max_pool : bool
        False for average pools, which are listed apart.
    workload : SiteWorkload or None
        What the site computes; None where nothing is exact.
    decision : Decision or None
        What is done there and what that rests on; None where nothing is exact.
    """

    name: str
    status: Status
    window: str
    chain: tuple[str, ...] = ()
    refusal: Refusal | None = None
    evaluations_before: int = 0
    evaluations_after: int = 0
    rule: str = ""
    ends: Ends = THE_MAXIMUM
    is_max_pool: bool = True
    workload: SiteWorkload | None = None
    decision: Decision | None = None

    @property
    def explanation(self) -> str:
        """One sentence on the verdict."""
        if self.status is Status.REFUSED:
            return str(self.refusal)
        parts = [] if self.decision is None else [str(self.decision)]
        if self.evaluations_after:
            saved = self.evaluations_before / self.evaluations_after
            would = " would need" if self.status is Status.KEPT else ":"
            at_ends = "" if self.ends.is_maximum else f" at {self.ends}"
            parts.append(f"{self.rule}{at_ends}{would} {saved:.2f}x fewer evaluations")
        if self.refusal:
            parts.append(f"the next step stays: {self.refusal}")
        return "; ".join(parts)

    def merged_with(self, other: Site) -> Site:
        """This site after a later look at it, by the same rule or another one.

        What was exchanged adds up; why no more of it was is why the next step stays.  Else the
        better outcome counts, of two equal ones the later.
        """
        if other.status is Status.REFUSED and self.status is not Status.REFUSED:
            is_next = other.refusal.reason is not Reason.NO_ACTIVATION
            return replace(self, refusal=other.refusal) if is_next and not self.refusal else self
        if min(self.status, other.status) <= Status.KEPT:
            return self if self.status > other.status else other
        rules = dict.fromkeys((*self.rule.split("+"), other.rule))
        return replace(
            other,
            chain=other.chain + self.chain,
            evaluations_before=self.evaluations_before + other.evaluations_before,
            evaluations_after=self.evaluations_after + other.evaluations_after,
            rule="+".join(rules),
            ends=self.ends if other.ends.is_maximum else other.ends,
        )

    def as_dict(self) -> dict:
        """The site as JSON values."""
        return {
            "name": self.name,
            "status": str(self.status),
            "reason": self.refusal.reason.value if self.refusal else None,
            "explanation": self.explanation,
            "chain": list(self.chain),
            "window": self.window,
            "ends": str(self.ends),
            "evaluations_before": self.evaluations_before,
            "evaluations_after": self.evaluations_after,
            "rule": self.rule,
            "decision": None if self.decision is None else self.decision.as_dict(),
        }


class Report:
    """Every pool of every module the pass ran on.

    Iterating gives the sites of the latest run.  Safe to fill from several threads.

    Attributes
    ----------
    runs : list of tuple of Site
        One entry per run of the pass, oldest first, average pools included.
    errors : list of Exception
        Everything that went wrong inside the pass: at a site, which is refused then, or as a whole.
    failure : Exception or None
        Set if the pass failed as a whole in the latest build, which took the module as it was.
    """

    def __init__(self):
        self.runs: list[tuple[Site, ...]] = []
        self.errors: list[Exception] = []
        self.failure: Exception | None = None
        self._lock = threading.Lock()

    def add(self, sites: tuple[Site, ...]) -> None:
        """Keep the sites of one run."""
        with self._lock:
            self.runs.append(tuple(sites))
            self.failure = None

    def fail(self, error: Exception) -> None:
        """Keep why the pass failed as a whole."""
        with self._lock:
            self.errors.append(error)
            self.failure = error

    @property
    def has_run(self) -> bool:
        """False if the pass never ran: switched off, below its opt_level, or nothing was built."""
        return bool(self.runs)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Max pools of the latest run, in order of execution."""
        return tuple(site for site in self._latest() if site.is_max_pool)

    @property
    def other_pools(self) -> tuple[Site, ...]:
        """Pools of the latest run that are not max pools."""
        return tuple(site for site in self._latest() if not site.is_max_pool)

    @property
    def exchanged(self) -> tuple[Site, ...]:
        """Sites of the latest run that were exchanged, fused ones included."""
        return tuple(site for site in self.sites if site.status >= Status.EXCHANGED)

    @property
    def fused(self) -> tuple[Site, ...]:
        """Sites of the latest run at which convolution and pool became one kernel."""
        return tuple(site for site in self.sites if site.status is Status.FUSED)

    def __iter__(self):
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __str__(self) -> str:
        if self.failure:
            return f"the pass failed, the module was compiled as it is: {self.failure}"
        if not self.has_run:
            return "the pass has not run"
        lines = [count_statuses([str(site.status) for site in self.sites])]
        for site in self.sites + self.other_pools:
            chain = " > ".join(site.chain) or "-"
            line = f"{site.name}: {site.status}, {chain}, {site.window}; {site.explanation}"
            lines.append(f"  {printable(line)}")
        return "\n".join(lines)

    def as_dict(self) -> dict:
        """The latest run as JSON values."""
        return {
            "sites": [site.as_dict() for site in self.sites],
            "other_pools": [site.as_dict() for site in self.other_pools],
        }

    def to_json(self) -> str:
        """The latest run as JSON text."""
        return json.dumps(self.as_dict(), indent=2)

    def _latest(self) -> tuple[Site, ...]:
        with self._lock:
            return self.runs[-1] if self.runs else ()


def count_statuses(statuses: list[str]) -> str:
    """One line: how many max pools there are, and what became of them."""
    if not statuses:
        return "no max pool in this model"
    counts = [
        f"{statuses.count(str(status))} {status}"
        for status in sorted(Status, reverse=True)
        if str(status) in statuses
    ]
    noun = "max pool" if len(statuses) == 1 else "max pools"
    return f"{len(statuses)} {noun}: " + ", ".join(counts)
