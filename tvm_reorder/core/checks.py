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
    * No pair of operators that round otherwise in one kernel than in two is separated, joined, or
      moved between kernels of which one is not known to join it; see ``contraction.py``.
    * What an explicit padding before the pool writes is a value of the moved steps.
    * No integer step can wrap, neither one that moves nor one above it in the same kernel: to TVM
      and LLVM overflow is undefined, and they simplify what follows as if there were none
      (max(x * x, 0) to x * x).  The interval of values is followed up the chain.
    * It writes no constant of bfloat16 where constants are compiled into the kernels, as for AOT:
      TVM 0.19 compiles none of that dtype (``src/relay/backend/te_compiler_cache.cc``).
    * The exchange saves evaluations.

Which of several objections is named
    The links next to the pool move, the more the better, so an objection costs the longest
    exchange that it alone keeps from being made.  The one that costs most is named: lifting it
    lets most through.  Objections of one reason count as one, for what lifts one lifts all; the
    one nearest to the pool stands for them.  Where each exchange is kept by several, lifting one
    lets nothing through; then, of those on the shortest, one that no option lifts is named before
    one that an option does, which would be given in vain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from .certificates import SWEPT
from .chain import Chain, Link, follow_chain
from .config import ReorderConfig
from .contraction import find_pair_objection
from .cost import Evaluations, count_evaluations
from .ends import THE_MAXIMUM, Ends, find_ends
from .lowest import find_infinity_objection, may_fall_below_lowest
from .monotone import Direction, MonotoneMap, compose
from .nan import find_nan_objection
from .refusal import Reason, Refusal
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
        Why further links stay, if any do.
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
        The longest exchange that is exact under the licence, or what keeps most from moving.
    """
    is_empty = isinstance(chain.window, Refusal) and chain.window.reason is Reason.EMPTY_POOL
    if not is_empty and not chain.links and chain.stop.reason is Reason.NO_ACTIVATION:
        return chain.stop
    refusal = _check_window(chain.window)
    if refusal:
        return refusal
    if not chain.links:
        return chain.stop
    trials = list(_try_links(chain, config))
    possible = [trial for trial in trials if not trial.objections]
    if not possible:
        return name_costliest([trial.objections for trial in trials])
    longest = possible[-1]
    shorter = [trial for trial in possible if trial.ends.is_maximum and trial is not longest]
    if longest.ends.is_maximum or not shorter:  # at the maximum the longest is the cheapest, too
        return _make_plan(chain, trials, longest)
    wider = _make_plan(chain, trials, longest)
    return replace(_make_plan(chain, trials, shorter[-1]), wider=wider)


def name_costliest(objections: Sequence[Sequence[Refusal]]) -> Refusal | None:
    """The objection whose lifting lets most through; None if there is none.

    Parameters
    ----------
    objections : sequence of sequences of Refusal
        What keeps the first link from moving, the first two, and so on.
    """
    alone = [kept[0].reason for kept in objections if len({each.reason for each in kept}) == 1]
    if alone:
        everything = (each for kept in objections for each in kept)
        return next(each for each in everything if each.reason is alone[-1])
    first = next(filter(None, objections), ())
    return next((each for each in first if not each.lift), first[0] if first else None)


@dataclass(frozen=True)
class _Trial:
    """The links up to some number, and what keeps them from moving together."""

    moved: int
    ends: Ends | None
    objections: tuple[Refusal, ...]
    clamps: bool = False
    evaluations: Evaluations | None = None


def _try_links(chain: Chain, config: ReorderConfig) -> Iterator[_Trial]:
    general = tuple(filter(None, (follow_chain(chain)[1], chain.zeros, chain.obstacle)))
    totals = chain.totals or accumulate((link.map for link in chain.links), compose)
    shared: tuple[Refusal, ...] = ()
    for index, (link, total) in enumerate(zip(chain.links, totals)):
        shared += (link.shared,) if link.shared else ()
        ends = find_ends(total.directions)
        if ends is None:
            objections = (*general, *shared, _direction_refusal(total, link))
            yield _Trial(index + 1, None, objections)
            continue
        clamps = may_fall_below_lowest(ends, chain, index)
        evaluations = _count(chain, index + 1, ends, clamps)
        useless = () if evaluations.is_saving else (_no_saving(evaluations),)
        own = _find_objections(total, ends, chain, index, config)
        own += _find_unlinked(chain, index + 1, ends, clamps)
        yield _Trial(index + 1, ends, (*general, *shared, *own, *useless), clamps, evaluations)


def _make_plan(chain: Chain, trials: list[_Trial], trial: _Trial) -> Plan:
    further = [other.objections for other in trials[trial.moved :]]
    return Plan(
        moved=trial.moved,
        chain=tuple(link.map.name for link in reversed(chain.links[: trial.moved]) if link.steps),
        evaluations=trial.evaluations,
        clamps=trial.clamps,
        note=name_costliest(further) or chain.stop,
        ends=trial.ends,
        folds_signs=_folds_signs(chain, trial.moved, trial.ends),
    )


def _count(chain: Chain, moved: int, ends: Ends, clamps: bool) -> Evaluations:
    steps, folds = sum(link.steps for link in chain.links[:moved]), _folds_signs(chain, moved, ends)
    return count_evaluations(chain.window, chain.planes, steps, clamps, ends, folds)


def _folds_signs(chain: Chain, moved: int, ends: Ends) -> bool:
    return moved == len(chain.links) and ends.has_one_sign_for_each(chain.filters)


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


def _find_objections(
    total: MonotoneMap, ends: Ends, chain: Chain, index: int, config: ReorderConfig
) -> list[Refusal]:
    """What speaks against moving the links up to `index`, taken at `ends`."""
    link, licence, links = chain.links[index], config.licence, len(chain.links)
    found = [
        find_pair_objection(chain.pairs, index + 1, links, chain.producer_kernel, chain.pool_kernel)
    ]
    if chain.pad_value is not None:
        found.append(_padding_refusal(ends, chain, index))
    found.append(link.inseparable)
    if not licence.allows_drop(total.worst_ulp):
        found.append(_drop_refusal(total, link, config))
    if licence.strict or licence.nan:
        clamps = may_fall_below_lowest(ends, chain, index)
        found.append(
            find_infinity_objection(ends, chain, index, clamps) if licence.strict else None
        )
        found.append(find_nan_objection(total, chain, index, clamps) if licence.nan else None)
    return [refusal for refusal in found if refusal is not None]


def _find_unlinked(chain: Chain, moved: int, ends: Ends, clamps: bool) -> list[Refusal]:
    """Set if the exchange would write a constant that TVM does not compile into a kernel."""
    base, own = chain.base_dtypes[moved], chain.base_dtypes[0]
    has_signs = len(ends.signs) > 1 and not _folds_signs(chain, moved, ends)
    is_padded_anew = chain.is_padded and base != own
    written = {own if clamps else None, base if has_signs or is_padded_anew else None}
    if not chain.links_constants or "bfloat16" not in written:
        return []
    subject, actual = "a constant that the exchange writes", "of bfloat16"
    required = "of a dtype that TVM compiles into a kernel (executor aot, or link-params)"
    return [Refusal(Reason.NOT_COMPILED, subject, actual, required)]


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
            "proven or measured to rise, fall or be a valley",
            "tvm-reorder certify --model MODEL, or certify=auto, sweeps it",
        )
    words = total.detail or _NOT_A_VALLEY
    required = "rising, falling or a valley"
    return Refusal(Reason.NOT_MONOTONE, link.map.name, f"{words}{where}", required)


def _drop_refusal(total: MonotoneMap, link: Link, config: ReorderConfig) -> Refusal:
    if total.worst_ulp is None:
        sweep = "certify=auto sweeps it where this machine runs the target, "
        can_sweep = link.dtype in SWEPT and config.certify != "auto"
        return Refusal(
            Reason.UNPROVEN,
            f"{link.map.name} as computed on {link.dtype}",
            f"not known to be {_say_directions(total)} for this target",
            "proven or measured to be",
            (sweep if can_sweep else "") + "the licence ulp:any takes it as it is",
        )
    return Refusal(
        Reason.DECREASES_AS_COMPUTED,
        f"the worst drop of {link.map.name} as computed",
        f"{total.worst_ulp} ulp",
        f"at most {config.licence.ulp} ulp (licence {config.licence})",
        f"the licence ulp:{total.worst_ulp} allows it",
    )


def _say_directions(total: MonotoneMap) -> str:
    if total.is_non_decreasing:
        return "non-decreasing"
    return "a valley" if Direction.VALLEY in total.directions else "monotone"
