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
    * TVM's max starts from the lowest finite value L of its dtype, and pads with it, so it answers
      L where every element is -inf.  With m the window's maximum the original network gives
      max(f(m), L_out), the exchanged one f(max(m, L_in)).  For a finite m these agree if f(m) >=
      L_out; where f may send a finite value below that (log at 0, an overflowing scale), the plan
      *clamps*: max(f(.), L_out) behind the pool.  For m = -inf they agree if max(f(-inf), L_out) =
      f(L_in) or its clamp; the licence ``strict`` asks for that, ``equal`` leaves it open.  Where f
      falls the same goes for windows of nothing but +inf and the highest finite value.
    * NaN: what a window that holds one gives depends on where it stands; see ``nan.py``, which the
      licence ``nan`` asks.
    * Contraction: LLVM makes one fused multiply-add, rounded once, of a float multiply and an add
      in one kernel.  The exchange neither separates such a pair nor makes a new one.
    * What an explicit padding before the pool writes is a value of the moved steps.
    * Integer steps do not wrap: the interval of values is followed up the chain.
    * The exchange saves evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from .config import ReorderConfig
from .cost import Evaluations, count_evaluations
from .ends import THE_MAXIMUM, Ends, find_ends
from .intervals import first_wrapping_link, is_integer
from .monotone import ANY_RANK, Direction, MonotoneMap, compose
from .nan import find_nan_objection
from .padding import find_padding
from .refusal import Reason, Refusal, contraction
from .window import PoolWindow

_NOT_A_VALLEY = "neither rising nor falling throughout, nor a valley"


@dataclass(frozen=True)
class Link:
    """One elementwise step of a chain.

    Parameters
    ----------
    map : MonotoneMap
        What the step does to one value.
    dtype : str
        Dtype of the step's output.
    steps : int
        Elementwise operators the step is made of.
    shared : Refusal or None
        Set if the step's value is wanted elsewhere too.
    is_split_addition : bool
        True if the step adds to a product that the step below it gives: a fused multiply-add, if
        both stay in one kernel.
    inseparable : Refusal or None
        Set if the value that the step takes cannot stand at the end of a kernel.
    keeps_nan : bool
        True if the step is known to give NaN for NaN, as compiled.
    """

    map: MonotoneMap
    dtype: str
    steps: int = 1
    shared: Refusal | None = None
    is_split_addition: bool = False
    inseparable: Refusal | None = None
    keeps_nan: bool = False


@dataclass(frozen=True)
class Chain:
    """A pool and the steps above it, as facts.

    Parameters
    ----------
    window : PoolWindow or Refusal
        The pool's geometry; a refusal if it is not static.
    planes : int
        Batch times channels.
    links : tuple of Link
        From the pool upwards, as far as they could be read.
    base_dtypes : tuple of str
        Entry k is the dtype of the value that f_1 o ... o f_k takes; entry 0 is the pool's own.
    input_range : tuple of int or None
        Interval of the value below the last link, if that is an integer.
    stop : Refusal or None
        Why the chain could not be followed further; None if it reaches a producer.  Set if there
        are no links.
    producer : Refusal or None
        Set if no convolution or dense layer computes the chain's input.
    meets_addition : bool
        True if the link next to the pool is a product and the pool's value goes into a sum.
    filters : int
        Filters of the convolution that computes the chain's input, if their weights can take a
        sign each; else 0.
    pad_value : float or None
        What an explicit padding between the chain and the pool writes; see ``padding.py``.
    totals : tuple of MonotoneMap
        Entry k is f_1 o ... o f_(k+1), where certificates say more of it than its parts do; by
        its parts if not given.
    """

    window: PoolWindow | Refusal
    planes: int
    links: tuple[Link, ...]
    base_dtypes: tuple[str, ...]
    input_range: tuple[int, int] | None = None
    stop: Refusal | None = None
    producer: Refusal | None = None
    meets_addition: bool = False
    filters: int = 0
    pad_value: float | None = None
    totals: tuple[MonotoneMap, ...] = ()

    def find_padding(self, moved: int) -> float | None:
        """What to pad with before the `moved` links next to the pool; None if nobody knows."""
        dtypes = self.base_dtypes[: moved + 1]
        maps = [link.map for link in self.links[:moved]]
        return find_padding(maps, dtypes, self.pad_value, lowest_value(dtypes[-1]))


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
    exchanges, note = _find_exchanges(chain, config)
    if not exchanges:
        return note
    if chain.producer and not config.any_producer:
        return chain.producer
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
    wraps = first_wrapping_link(
        [link.map for link in chain.links], chain.base_dtypes, chain.input_range
    )
    for index, (link, total) in enumerate(zip(chain.links, totals)):
        if link.shared or index == wraps:
            stop = link.shared or _overflow(link)
            break
        ends = find_ends(total.directions)
        objection = _objection(total, ends, chain, index, config)
        if objection is None:
            clamps = _may_fall_below_lowest(total, ends, chain, index)
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
    infinity = _infinity_refusal(total, ends, chain, index) if config.licence.strict else None
    if infinity or not config.licence.nan:
        return infinity
    clamps = _may_fall_below_lowest(total, ends, chain, index)
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


def _may_fall_below_lowest(total: MonotoneMap, ends: Ends, chain: Chain, index: int) -> bool:
    """True if f may send a finite value below the lowest finite value of its dtype."""
    dtype_out, dtype_in = chain.base_dtypes[0], chain.base_dtypes[index + 1]
    lowest_out, lowest_in = lowest_value(dtype_out), lowest_value(dtype_in)
    if is_integer(dtype_out):
        return False
    if lowest_out is None or lowest_in is None:
        return True
    # An unknown bias, say, or a valley's bottom; what follows it may bound it, as relu does.
    if total.evaluate is None or ends.is_both:
        return not _is_bounded_below(chain.links[: index + 1], lowest_out)
    extremes = (lowest_in,) if ends.is_maximum else (lowest_in, -lowest_in)
    return not all(np.all(_value_at(total, value) >= lowest_out) for value in extremes)


def _is_bounded_below(links: Sequence[Link], lowest_out: np.generic) -> bool:
    """True if the links nearest to the pool stay above `lowest_out` whatever comes in."""
    total = None
    for link in links:
        total = link.map if total is None else compose(total, link.map)
        if total.evaluate is None or not total.is_non_decreasing:
            return False
        if np.all(_value_at(total, lowest_out.dtype.type(-np.inf)) >= lowest_out):
            return True
    return False


def _infinity_refusal(total: MonotoneMap, ends: Ends, chain: Chain, index: int) -> Refusal | None:
    """Set if a window of nothing but -inf, or but +inf where f falls, would give another result.

    Not for both ends of a valley: one of the two is the infinity itself, and f is higher there.
    """
    dtype_out, dtype_in = chain.base_dtypes[0], chain.base_dtypes[index + 1]
    lowest_out, lowest_in = lowest_value(dtype_out), lowest_value(dtype_in)
    if is_integer(dtype_in) or ends.is_both:
        return None  # integers have no infinity
    infinity, actual = "-inf" if ends.is_maximum else "-inf or +inf", "not known"
    if lowest_out is not None and lowest_in is not None and total.evaluate is not None:
        signs = np.asarray(ends.signs or (1,), lowest_in.dtype)
        at_infinity = _value_at_signed(total, signs, -np.inf)
        stock = np.maximum(at_infinity, lowest_out)
        ours = np.maximum(_value_at_signed(total, signs, lowest_in), lowest_out)
        if np.all((stock == ours) | np.isnan(at_infinity)):
            return None
        wrong = np.flatnonzero((stock != ours).ravel())[0]
        actual = f"{ours.ravel()[wrong]:g} after the exchange, {stock.ravel()[wrong]:g} before"
    return Refusal(
        Reason.NEGATIVE_INFINITY,
        f"the result of {chain.links[index].map.name} for a window of nothing but {infinity}",
        actual,
        "the same (licence strict)",
    )


def _value_at_signed(total: MonotoneMap, signs: np.ndarray, value: float) -> np.ndarray:
    """The map at sign * value of each channel."""
    upper, lower = (_value_at(total, signs.dtype.type(sign * value)).ravel() for sign in (1, -1))
    size = max(upper.size, signs.size)
    return np.where(np.resize(signs, size) > 0, np.resize(upper, size), np.resize(lower, size))


def _value_at(total: MonotoneMap, value: np.generic) -> np.ndarray:
    """The map at one value, for every channel; float64 holds all narrower floats exactly."""
    exact = value if value.dtype.kind == "f" else int(value)
    dtype = value.dtype if value.dtype.kind == "f" else object
    with np.errstate(all="ignore"):
        return np.asarray(total.evaluate(np.full(ANY_RANK, exact, dtype)), np.float64)


def lowest_value(dtype: str) -> np.generic | None:
    """Lowest finite value of a dtype, where TVM's max starts; None if it has none here.

    numpy lacks bfloat16: its value is given as float32, which holds it exactly.
    """
    if dtype == "bfloat16":
        return -np.float32(2.0**127) * np.float32(2 - 2.0**-7)
    try:
        kind = np.dtype(dtype)
    except TypeError:
        return None
    if kind.kind not in "fiu":
        return None
    info = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    return kind.type(info.min)


def _overflow(link: Link) -> Refusal:
    return Refusal(
        Reason.INTEGER_OVERFLOW,
        f"{link.map.name} on {link.dtype}",
        "able to leave the range of its dtype",
        "within it",
    )
