"""What is done at a site where the exchange is exact: keep, exchange or fuse.

Order of authority
    1. What the user asked for (``ReorderConfig.decision``).
    2. A measured record of the same workload, target, threads and TVM version.
    3. Tuning logs: AutoTVM's best times of the convolution alone and of the fused operator.
    4. Bytes: cheap steps that make values narrower, as requantize does, stay.  Before them the pool
       would write and read a multiple of the bytes (int32 instead of int8), which no saved step
       pays for, and the models know nothing of it.
    5. The target's cost model, if it expects more than its own error (`CostModel.error`): what it
       promised, less what came of it, was below that at nine sites of ten.
    6. Nothing is known of the target: *exchange* where an expensive activation runs on at most
       half of the values and needs no kernel of its own for it (behind a reduction it does), else
       *keep*.  A guess that can lose is never made.

Operators compiled apart
    Where each operator becomes a kernel of its own (``relay.FuseOps.max_depth`` 1, or opt_level 0)
    an activation reads and writes all its values, and the exchange leaves every other kernel as it
    is: it always gains, even for ReLU, on every target.  Only the convolution and the pool are left
    to weigh then: both in one kernel or not.  Records were measured with operators fused, so they
    say nothing here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from statistics import median
from types import MappingProxyType
from typing import Protocol

from .cost import is_expensive
from .workload import SiteWorkload

# A rewrite has to gain this much of the site's own time where that was measured: less cannot be
# told from noise, and keeping is never slower.
LEAST_GAIN = 1.01
# Of a convolution that was tuned, while the fused operator was not, the model knows less.
LEAST_GAIN_UNTUNED = 1.05
_UNKNOWN = "no record and no cost model for this target and dtype"
_APART = "each operator is a kernel of its own"


class Action(str, Enum):
    """What is done at a site."""

    KEEP = "keep"
    EXCHANGE = "exchange"
    FUSE = "fuse"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Decision:
    """What is done at a site, and what that rests on.

    Parameters
    ----------
    action : Action
        What is done.
    basis : str
        ``"option"``, ``"selection"`` (the options ``only`` and ``skip``), ``"records"``,
        ``"tuning log"``, ``"bytes"``, ``"model"`` or ``"evaluations"``.
    gain : float or None
        Expected time of the site as it is over the time after the rewrite, 1 for *keep*; None
        where nothing is known.
    note : str
        Why not something better, where that needs saying.
    """

    action: Action
    basis: str
    gain: float | None = None
    note: str = ""

    def as_dict(self) -> dict:
        """The decision as JSON values."""
        return {**asdict(self), "action": str(self.action)}

    def __str__(self) -> str:
        gain = "" if self.gain is None else f", expected {self.gain:.2f}x for this site alone"
        note = f" ({self.note})" if self.note else ""
        return f"{self.action} by {self.basis}{gain}{note}"


class CostModel(Protocol):
    """Expected time of a site."""

    def estimate(
        self, workload: SiteWorkload, action: Action, kernel_ms: float | None = None
    ) -> float | None:
        """Milliseconds, or None where the model cannot tell.

        `kernel_ms` is the time of the convolution, or of the fused operator, if it was measured.
        """

    def error(self, workload: SiteWorkload, action: Action) -> float:
        """Milliseconds by which the time that an action saves may be overestimated."""


class TimedRecords(Protocol):
    """Measured times of sites."""

    def times(self, workload: SiteWorkload) -> Mapping[Action, list[float]] | None:
        """Milliseconds of each round by action, or None where nobody measured."""


def choose(
    workload: SiteWorkload,
    possible: Collection[Action],
    wanted: str,
    records: TimedRecords | None = None,
    model: CostModel | None = None,
    note: str = "",
    tuned: tuple[float | None, float | None] = (None, None),
    are_apart: bool = False,
) -> Decision:
    """Decide one site at which the exchange is exact.

    Parameters
    ----------
    workload : SiteWorkload
        The site.
    possible : collection of Action
        What can be done there; *keep* always can.
    wanted : str
        ``"auto"`` or the name of an action; one that is not possible falls back to the next
        weaker one, fuse to exchange to keep.
    records, model : optional
        What to rest on.
    note : str
        Why something is not possible, where that needs saying.
    tuned : pair of float or None
        Milliseconds of the convolution alone and of the fused operator in a tuning log.
    are_apart : bool
        True if each operator becomes a kernel of its own.
    """
    if wanted != "auto":
        return _forced(Action(wanted), possible, note)
    if are_apart:
        return _choose_apart(workload, possible, model, note, tuned)
    measured = records.times(workload) if records else None
    if measured and Action.KEEP in measured:
        return _fastest({a: median(t) for a, t in measured.items()}, possible, "records", note)
    if Action.FUSE not in possible and _only_widens(workload):
        return Decision(Action.KEEP, "bytes", None, _join(_describe_widening(workload), note))
    times = {} if model is None else _estimate(workload, possible, model, tuned)
    if Action.KEEP in times and None not in tuned:
        return _fastest(times, possible, "tuning log", note)
    if Action.KEEP in times:
        errors = {action: model.error(workload, action) for action in times}
        least = 1.0 if tuned[0] is None else LEAST_GAIN_UNTUNED
        return _fastest(times, possible, "model", note, least, errors)
    return _by_evaluations(workload, possible, note)


def is_better(wider: Decision, shorter: Decision, is_free: bool = False) -> bool:
    """True if an exchange of more links, at other ends, is the better of two at one site.

    It has more to save, so at an equal ratio it saves more time.  Where no gain is known the
    shorter one is made, which needs no second pool, unless the user asked for all there is or the
    wider one is free (signs in the weights cost nothing).
    """
    if wider.action is Action.KEEP:
        return False
    if is_free or shorter.action is Action.KEEP or wider.basis == "option":
        return True
    return None not in (wider.gain, shorter.gain) and wider.gain >= shorter.gain


def _choose_apart(workload, possible, model: CostModel | None, note: str, tuned) -> Decision:
    """Weigh the convolution and the pool alone: what the steps cost falls either way."""
    bare = replace(workload, chain=())
    ends = {*possible} - {Action.EXCHANGE}
    decision = choose(bare, ends, "auto", None, model, note, tuned)
    if decision.action is Action.FUSE or Action.EXCHANGE not in possible:
        return decision
    return Decision(Action.EXCHANGE, "evaluations", None, _join(_APART, note))


def _estimate(workload, possible, model: CostModel, tuned) -> dict[Action, float]:
    """What the model expects, on top of tuned kernels if both of them are."""
    plain, fused = tuned if None not in tuned else (None, None)
    measured = {Action.KEEP: plain, Action.EXCHANGE: plain, Action.FUSE: fused}
    times = {a: model.estimate(workload, a, measured[a]) for a in {Action.KEEP, *possible}}
    return {action: time for action, time in times.items() if time is not None}


def _by_evaluations(workload: SiteWorkload, possible: Collection[Action], note: str) -> Decision:
    evaluations = 2 if workload.ends == "both" else 1
    is_safe = is_expensive(workload.chain) and not workload.is_reduction
    is_safe = is_safe and workload.elements >= 2 * evaluations * workload.pooled
    action = Action.EXCHANGE if Action.EXCHANGE in possible and is_safe else Action.KEEP
    return Decision(action, "evaluations", None, _join(_UNKNOWN, note))


def _only_widens(workload: SiteWorkload) -> bool:
    """True if cheap steps make values narrower before the pool."""
    return workload.widening > 1 and not is_expensive(workload.chain)


def _describe_widening(workload: SiteWorkload) -> str:
    return (
        f"before the moved steps the pool would read {workload.base_dtype}, "
        f"{workload.widening:g} times the bytes of {workload.dtype}"
    )


def _forced(wanted: Action, possible: Collection[Action], note: str) -> Decision:
    weaker = {Action.FUSE: Action.EXCHANGE, Action.EXCHANGE: Action.KEEP}
    action = wanted
    while action is not Action.KEEP and action not in possible:
        action = weaker[action]
    note = "" if action is wanted else note or f"{wanted} is not possible here"
    return Decision(action, "option", None, note)


def _fastest(
    times: Mapping[Action, float],
    possible: Collection[Action],
    basis: str,
    note: str,
    least: float = LEAST_GAIN,
    errors: Mapping[Action, float] = MappingProxyType({}),
) -> Decision:
    """The fastest action that gains `least` and saves more than its error, in milliseconds."""
    keep = times[Action.KEEP]
    candidates = {a: t for a, t in times.items() if a in possible and a is not Action.KEEP}
    if not candidates:
        return Decision(Action.KEEP, basis, 1.0, note)
    asked = {a: max(least, 1 + errors.get(a, 0.0) / t) for a, t in candidates.items()}
    paying = [action for action, time in candidates.items() if keep / time >= asked[action]]
    best = min(paying or candidates, key=candidates.get)
    gain = keep / candidates[best]
    if not paying:
        would = f"{best} would give {gain:.2f}x, but at least {asked[best]:.2f}x must be expected"
        return Decision(Action.KEEP, basis, 1.0, _join(would, note))
    return Decision(best, basis, gain, "" if best is Action.FUSE else note)


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
