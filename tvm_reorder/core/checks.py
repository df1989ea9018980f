"""The decision at one pool: facts in, a Plan or a Refusal out.  Pure.

Identity
    maxpool(f(x)) = f(maxpool(x)), f = f_1 o ... o f_n the links from the pool upwards.

Side conditions, each with its reason
    * f_1 o ... o f_k is non-decreasing on every channel, as computed.  The longest such k is taken;
      falling after falling rises, so a single falling link does not end the search.
    * Each moved link has one user.  A second user of the value *below* the chain is harmless.
    * Every window sees a real element, and the geometry is static.
    * TVM's max starts from the lowest finite value L of its dtype, and pads with it, so it answers
      L where every element is -inf.  With m the window's maximum the original network gives
      max(f(m), L_out), the exchanged one f(max(m, L_in)).  For a finite m these agree if f(m) >=
      L_out; where f may send a finite value below that (log at 0, an overflowing scale), the plan
      *clamps*: max(f(.), L_out) behind the pool.  For m = -inf they agree if max(f(-inf), L_out) =
      f(L_in) or its clamp; the licence ``strict`` asks for that, ``equal`` leaves it open.
    * NaN: what a window that holds one gives depends on where it stands; see ``nan.py``, which the
      licence ``nan`` asks.
    * Contraction: LLVM makes one fused multiply-add, rounded once, of a float multiply and an add
      in one kernel.  The exchange neither separates such a pair nor makes a new one.
    * Integer steps do not wrap: the interval of values is followed up the chain.
    * The exchange saves evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .config import ReorderConfig
from .cost import Evaluations, count_evaluations
from .monotone import Direction, MonotoneMap, compose
from .nan import find_nan_objection
from .refusal import Reason, Refusal
from .window import PoolWindow

_ANY_RANK = (1, 1, 1, 1, 1)  # broadcasts against constants of every pool's rank
DIRECTION_REASON = {
    Direction.FALLING: Reason.FALLING,
    Direction.VALLEY: Reason.VALLEY,
    Direction.OTHER: Reason.NOT_MONOTONE,
}
_DIRECTION_WORDS = {
    Direction.FALLING: "falling",
    Direction.VALLEY: "falling, then rising",
    Direction.OTHER: "neither rising nor falling throughout",
}


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
    keeps_nan : bool
        True if the step is known to give NaN for NaN, as compiled.
    """

    map: MonotoneMap
    dtype: str
    steps: int = 1
    shared: Refusal | None = None
    is_split_addition: bool = False
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
    """

    window: PoolWindow | Refusal
    planes: int
    links: tuple[Link, ...]
    base_dtypes: tuple[str, ...]
    input_range: tuple[int, int] | None = None
    stop: Refusal | None = None
    producer: Refusal | None = None
    meets_addition: bool = False


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
    """

    moved: int
    chain: tuple[str, ...]
    evaluations: Evaluations
    clamps: bool = False
    note: Refusal | None = None


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
    moved, clamps, note = _longest_exchange(chain, config)
    if not moved:
        return note
    if chain.producer and not config.any_producer:
        return chain.producer
    evaluations = count_evaluations(
        chain.window, chain.planes, sum(link.steps for link in chain.links[:moved]), clamps
    )
    if not evaluations.is_saving:
        return Refusal(
            Reason.NO_SAVING,
            "evaluations after the pool",
            f"{evaluations.after} against {evaluations.before} before it",
            "fewer",
        )
    names = tuple(link.map.name for link in reversed(chain.links[:moved]))
    return Plan(moved, names, evaluations, clamps, note)


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


def _longest_exchange(chain: Chain, config: ReorderConfig) -> tuple[int, bool, Refusal | None]:
    """Longest k that may move, whether it clamps, and the first objection to a longer one."""
    moved, clamps, note, total = 0, False, None, None
    wraps = _first_wrapping_link(chain)
    for index, link in enumerate(chain.links):
        if link.shared or index == wraps:
            return moved, clamps, note or link.shared or _overflow(link)
        total = link.map if total is None else compose(total, link.map)
        objection = _objection(total, chain, index, config)
        if objection is None:
            moved, note = index + 1, None
            clamps = _may_fall_below_lowest(total, chain, index)
        else:
            note = note or objection
    return moved, clamps, note or chain.stop


def _objection(
    total: MonotoneMap, chain: Chain, index: int, config: ReorderConfig
) -> Refusal | None:
    link = chain.links[index]
    if not total.is_non_decreasing:
        return _direction_refusal(total, link)
    if not config.licence.allows_drop(total.worst_ulp):
        return _drop_refusal(total, link, config)
    if link.is_split_addition or chain.meets_addition:
        return _contraction_refusal(chain.links[0] if chain.meets_addition else link)
    infinity = _infinity_refusal(total, chain, index) if config.licence.strict else None
    if infinity or not config.licence.nan:
        return infinity
    clamps = _may_fall_below_lowest(total, chain, index)
    return find_nan_objection(total, chain, index, clamps)


def _direction_refusal(total: MonotoneMap, link: Link) -> Refusal:
    wrong = [d for d in total.directions if not d.is_non_decreasing]
    many = len(total.directions)
    where = f" on {len(wrong)} of {many} channels" if many > 1 else ""
    if total.why in (Reason.NEGATIVE_SCALE, Reason.NEGATIVE_SLOPE):
        noun = "scale" if total.why is Reason.NEGATIVE_SCALE else "slope"
        return Refusal(
            total.why, f"the {noun} of {link.map.name}", f"{total.detail}{where}", "0 or more"
        )
    reason = total.why or DIRECTION_REASON[wrong[0]]
    words = total.detail or _DIRECTION_WORDS[wrong[0]]
    return Refusal(reason, link.map.name, f"{words}{where}", "non-decreasing")


def _drop_refusal(total: MonotoneMap, link: Link, config: ReorderConfig) -> Refusal:
    if total.worst_ulp is None:
        return Refusal(
            Reason.UNPROVEN,
            f"{link.map.name} as computed on {link.dtype}",
            "not known to be non-decreasing for this target",
            "proven or measured to be (the licence ulp:any takes it as it is)",
        )
    return Refusal(
        Reason.DECREASES_AS_COMPUTED,
        f"the worst drop of {link.map.name} as computed",
        f"{total.worst_ulp} ulp",
        f"at most {config.licence.ulp} ulp (licence {config.licence})",
    )


def _contraction_refusal(link: Link) -> Refusal:
    return Refusal(
        Reason.CONTRACTION,
        f"the rounding of {link.map.name} next to the operator it meets",
        "changed by the exchange (a multiply and an add in one kernel become one FMA)",
        "the same",
    )


def _may_fall_below_lowest(total: MonotoneMap, chain: Chain, index: int) -> bool:
    """True if f may send a finite value below the lowest finite value of its dtype."""
    dtype_out, dtype_in = chain.base_dtypes[0], chain.base_dtypes[index + 1]
    lowest_out, lowest_in = lowest_value(dtype_out), lowest_value(dtype_in)
    if _is_integer(dtype_out):
        return False
    if lowest_out is None or lowest_in is None:
        return True
    if total.evaluate is None:  # an unknown bias, say; what follows it may bound it, as relu does
        return not _is_bounded_below(chain.links[: index + 1], lowest_out)
    return not np.all(_value_at(total, lowest_in) >= lowest_out)


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


def _infinity_refusal(total: MonotoneMap, chain: Chain, index: int) -> Refusal | None:
    """Set if a window of nothing but -inf would give another result."""
    dtype_out, dtype_in = chain.base_dtypes[0], chain.base_dtypes[index + 1]
    lowest_out, lowest_in = lowest_value(dtype_out), lowest_value(dtype_in)
    if _is_integer(dtype_in):
        return None  # integers have no infinity
    actual = "not known"
    if lowest_out is not None and lowest_in is not None and total.evaluate is not None:
        at_infinity = _value_at(total, lowest_in.dtype.type(-np.inf))
        stock = np.maximum(at_infinity, lowest_out)
        ours = np.maximum(_value_at(total, lowest_in), lowest_out)
        if np.all((stock == ours) | np.isnan(at_infinity)):
            return None
        wrong = np.flatnonzero((stock != ours).ravel())[0]
        actual = f"{ours.ravel()[wrong]:g} after the exchange, {stock.ravel()[wrong]:g} before"
    return Refusal(
        Reason.NEGATIVE_INFINITY,
        f"the result of {chain.links[index].map.name} for a window of nothing but -inf",
        actual,
        "the same (licence strict)",
    )


def _value_at(total: MonotoneMap, value: np.generic) -> np.ndarray:
    """The map at one value, for every channel; float64 holds all narrower floats exactly."""
    exact = value if value.dtype.kind == "f" else int(value)
    dtype = value.dtype if value.dtype.kind == "f" else object
    with np.errstate(all="ignore"):
        return np.asarray(total.evaluate(np.full(_ANY_RANK, exact, dtype)), np.float64)


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


def _first_wrapping_link(chain: Chain) -> int | None:
    """Index of the link nearest to the pool whose integer arithmetic may wrap."""
    wrapping, interval = None, chain.input_range
    dtypes: Sequence[str] = chain.base_dtypes
    for index in reversed(range(len(chain.links))):
        link, source = chain.links[index], dtypes[index + 1]
        if not _is_integer(link.dtype):
            interval = None
            continue
        if not _is_integer(source):
            wrapping, interval = index, _dtype_range(link.dtype)
            continue
        interval = _image(link.map, interval or _dtype_range(source))
        limits = _dtype_range(link.dtype)
        if interval is None or interval[0] < limits[0] or interval[1] > limits[1]:
            wrapping, interval = index, limits
    return wrapping


def _image(step: MonotoneMap, interval: tuple[int, int]) -> tuple[int, int] | None:
    """Interval of a step's results on an integer interval, in unbounded arithmetic."""
    if step.evaluate is None or any(
        d not in (Direction.RISING, Direction.FALLING, Direction.CONSTANT) for d in step.directions
    ):
        return None
    try:
        ends = [step.evaluate(np.full(_ANY_RANK, end, dtype=object)) for end in interval]
    except TypeError:
        return None  # a function that has no meaning on unbounded integers, such as exp
    return min(int(np.min(e)) for e in ends), max(int(np.max(e)) for e in ends)


def _is_integer(dtype: str) -> bool:
    return dtype.startswith(("int", "uint"))


def _dtype_range(dtype: str) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)
