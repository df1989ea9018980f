"""The decision at one pool: facts in, a Plan or a Refusal out.  Pure.

Identity
    maxpool(f(x)) = f(maxpool(x)), f = f_1 o ... o f_n the links from the pool upwards; where f
    falls or is a valley it is taken at other values of the window, see ``ends.py``.

Side conditions, each with its reason
    * f_1 o ... o f_k moves one way or is a valley on every channel, as computed.  The longest k for
      which it is non-decreasing is taken; falling after falling rises, so a single falling link
      does not end the search.  A longer k that needs other ends is offered beside it (`wider`).
    * Each moved link has one user.  A second user of the value *below* the chain is harmless.
    * Every window sees a real element, and the geometry is static.
    * What TVM's max starts from, and pads with, makes no difference; see ``lowest.py``.
    * Nothing behind the pool tells +0 from -0: which of them a window gives depends on the order.
    * NaN: what a window that holds one gives depends on where it stands; see ``nan.py``, which the
      licence ``nan`` asks.
    * Contraction: LLVM makes one fused multiply-add, rounded once, of a float multiply and an add
      in one kernel.  The exchange neither separates such a pair nor makes a new one.
    * What an explicit padding before the pool writes is a value of the moved steps.
    * No integer step can wrap, neither one that moves nor one above it in the same kernel: to TVM
      and LLVM overflow is undefined, and they simplify what follows as if there were none
      (max(x * x, 0) to x * x).  The interval of values is followed up the chain.
    * The exchange saves evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

from .chain import Chain, Link, follow_chain
from .config import ReorderConfig
from .cost import Evaluations, count_evaluations
from .ends import THE_MAXIMUM, Ends, find_ends
from .lowest import find_infinity_objection, may_fall_below_lowest
from .monotone import Direction, MonotoneMap, compose
from .nan import find_nan_objection
from .refusal import Reason, Refusal, contraction
from .window import PoolWindow

_NOT_A_VALLEY = "neither rising nor falling throughout, nor a valley"


@dataclass(frozen=True)
class Plan:
    """An exchange that is decided.

    Parameters
    ----------
    moved : int
        How many links, counted from the pool, go past it.
    chain : tuple of str
        Their names in order of execution.
    evaluations : Evaluations
        What the exchange saves.
    clamps : bool
        True if max(., lowest finite value) has to stand behind the moved links.
    note : Refusal or None
        Why the next link stays, if one does.
    ends : Ends
        At which values of a window the moved links are evaluated.
    folds_signs : bool
        True if the signs of `ends` go into the weights of what computes the chain's input.
    wider : Plan or None
        An exchange of more links that needs other ends than the maximum.
    """

    moved: int
    chain: tuple[str, ...]
    evaluations: Evaluations
    clamps: bool = False
    note: Refusal | None = None
    ends: Ends = THE_MAXIMUM
    folds_signs: bool = False
    wider: Plan | None = None


def check_exchange(chain: Chain, config: ReorderConfig) -> Plan | Refusal:
    """Decide one pool.

    Returns
    -------
    Plan or Refusal
        The longest exchange that is exact under the licence, or the closest miss.
    """
    refusal = _check_window(chain.window)
    if refusal:
        return refusal
    if not chain.links:
        return chain.stop
    undefined = follow_chain(chain)[1]
    exchanges, note = _find_exchanges(chain, config)
    if not exchanges:
        return note
    if chain.producer and not config.any_producer:
        return chain.producer
    if undefined or chain.zeros:
        return undefined or chain.zeros
    plans = [_make_plan(chain, exchange) for exchange in exchanges]
    saving = [plan for plan in plans if plan.evaluations.is_saving]
    if not saving:
        useless = _no_saving(plans[-1].evaluations)
        return useless if plans[0].ends.is_maximum else note or useless
    shorter, *longer = saving
    return replace(shorter, wider=longer[0] if longer else None)


@dataclass(frozen=True)
class _Exchange:
    """The links up to some k, which may move."""

    moved: int
    ends: Ends
    clamps: bool
    note: Refusal | None = None


def _make_plan(chain: Chain, exchange: _Exchange) -> Plan:
    moved, ends = chain.links[: exchange.moved], exchange.ends
    is_whole = exchange.moved == len(chain.links)
    folds = is_whole and ends.has_one_sign_for_each(chain.filters)
    steps = sum(link.steps for link in moved)
    return Plan(
        moved=exchange.moved,
        chain=tuple(link.map.name for link in reversed(moved)),
        evaluations=count_evaluations(
            chain.window, chain.planes, steps, exchange.clamps, ends, folds
        ),
        clamps=exchange.clamps,
        note=exchange.note,
        ends=ends,
        folds_signs=folds,
    )


def _no_saving(evaluations: Evaluations) -> Refusal:
    return Refusal(
        Reason.NO_SAVING,
        "evaluations after the pool",
        f"{evaluations.after} against {evaluations.before} before it",
        "fewer",
    )


def _check_window(window: PoolWindow | Refusal) -> Refusal | None:
    if isinstance(window, Refusal):
        return window
    if window.has_padding_only_window:
        return Refusal(
            Reason.PADDING_ONLY_WINDOW,
            f"a window of the pool {window}",
            "padding only",
            "over at least one real element",
        )
    return None


def _find_exchanges(chain: Chain, config: ReorderConfig) -> tuple[list[_Exchange], Refusal | None]:
    """The longest exchange at the maximum, a longer one at other ends, and the first objection."""
    found: dict[bool, _Exchange] = {}  # by whether f is taken at the maximum alone
    note, stop = None, chain.stop
    totals = chain.totals or accumulate((link.map for link in chain.links), compose)
    for index, (link, total) in enumerate(zip(chain.links, totals)):
        if link.shared:
            stop = link.shared
            break
        ends = find_ends(total.directions)
        objection = _objection(total, ends, chain, index, config)
        if objection is None:
            clamps = may_fall_below_lowest(ends, chain, index)
            found[ends.is_maximum] = _Exchange(index + 1, ends, clamps)
            note = None if ends.is_maximum else note
        else:
            note = note or objection
    exchanges = sorted(found.values(), key=lambda exchange: exchange.moved)
    if exchanges and exchanges[-1].ends.is_maximum:
        exchanges = exchanges[-1:]  # the longest one is also the cheapest
    note = note or stop
    whole = len(chain.links)
    return [replace(e, note=stop if e.moved == whole else note) for e in exchanges], note


def _objection(
    total: MonotoneMap, ends: Ends | None, chain: Chain, index: int, config: ReorderConfig
) -> Refusal | None:
    link = chain.links[index]
    if ends is None:
        return _direction_refusal(total, link)
    if not config.licence.allows_drop(total.worst_ulp):
        return _drop_refusal(total, link, config)
    if link.is_split_addition or chain.meets_addition:
        met = chain.links[0] if chain.meets_addition else link
        return contraction(f"{met.map.name} next to the operator it meets")
    if chain.pad_value is not None:
        refusal = _padding_refusal(ends, chain, index)
        if refusal:
            return refusal
    if link.inseparable:
        return link.inseparable
    if not (config.licence.strict or config.licence.nan):
        return None
    clamps = may_fall_below_lowest(ends, chain, index)
    if config.licence.strict:
        infinity = find_infinity_objection(ends, chain, index, clamps)
        if infinity or not config.licence.nan:
            return infinity
    return find_nan_objection(total, chain, index, clamps)


def _padding_refusal(ends: Ends, chain: Chain, index: int) -> Refusal | None:
    """Set if what is padded with is no value of the moved steps, or wanted with either sign."""
    if ends.is_maximum and chain.find_padding(index + 1) is not None:
        return None
    name = chain.links[index].map.name
    actual = f"which {name} is not known to give"
    if not ends.is_maximum:
        actual = f"where {name} is taken at {ends}"
    return Refusal(
        Reason.PADDING_VALUE,
        "the value that nn.pad writes before the pool",
        f"{chain.pad_value:g}, {actual}",
        "a value of the moved steps at the maximum",
    )


def _direction_refusal(total: MonotoneMap, link: Link) -> Refusal:
    wrong = [d for d in total.directions if d is Direction.OTHER]
    many = len(total.directions)
    where = f" on {len(wrong)} of {many} channels" if many > 1 else ""
    if total.why in (Reason.NEGATIVE_SCALE, Reason.NEGATIVE_SLOPE):
        noun = "scale" if total.why is Reason.NEGATIVE_SCALE else "slope"
        return Refusal(
            total.why,
            f"a {noun} between {link.map.name} and the pool",
            f"{total.detail}{where}",
            "0 or more",
        )
    if total.why is Reason.UNPROVEN:
        return Refusal(
            total.why,
            f"{link.map.name} as computed on {link.dtype}",
            total.detail,
            "proven to rise, fall or be a valley, or certified (tvm-reorder certify --model MODEL, "
            "or certify='auto')",
        )
    words = total.detail or _NOT_A_VALLEY
    required = "rising, falling or a valley"
    return Refusal(Reason.NOT_MONOTONE, link.map.name, f"{words}{where}", required)


def _drop_refusal(total: MonotoneMap, link: Link, config: ReorderConfig) -> Refusal:
    if total.worst_ulp is None:
        return Refusal(
            Reason.UNPROVEN,
            f"{link.map.name} as computed on {link.dtype}",
            f"not known to be {_say_directions(total)} for this target",
            "proven or measured to be (the licence ulp:any takes it as it is)",
        )
    return Refusal(
        Reason.DECREASES_AS_COMPUTED,
        f"the worst drop of {link.map.name} as computed",
        f"{total.worst_ulp} ulp",
        f"at most {config.licence.ulp} ulp (licence {config.licence})",
    )


def _say_directions(total: MonotoneMap) -> str:
    if total.is_non_decreasing:
        return "non-decreasing"
    return "a valley" if Direction.VALLEY in total.directions else "monotone"
