"""What one graph's results are worth: against stock TVM first, then against the reference."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from tvm_reorder.cli.errors import first_line
from tvm_reorder.cli.measure import compare_outputs
from tvm_reorder.core.licence import ANY_DROP, Licence

from .graph import Graph, make_module
from .open_results import find_open
from .reference import Bounds, evaluate
from .run import How, build

WRONG = ("differs", "wrong", "both wrong", "not judged")
_FAST_MATH = 4  # the opt_level
# They take sums and products of constants apart, drop casts behind a clip, and move a scale into
# weights, with which other sums overflow.
_SIMPLIFIERS = ("SimplifyExpr", "SimplifyExprPostAlterOp")
_SIMPLIFIERS += ("FoldScaleAxis", "BackwardFoldScaleAxis", "ForwardFoldScaleAxis")
Pairs = list[tuple[np.ndarray, np.ndarray]]  # of each output, stock's result and ours
Verdict = tuple[str, str]  # and a detail


class Judge:
    """Judges one graph, for inputs of several kinds.

    Parameters
    ----------
    recipe : dict
        How it is built, and what it is allowed.
    graph : Graph
        The graph.

    Attributes
    ----------
    checked : collections.Counter
        Results held against the reference, and those that it leaves open.
    """

    def __init__(self, recipe: dict, graph: Graph):
        self.graph = graph
        self.checked: Counter = Counter()
        self._how = How.of(recipe)
        self._licence = Licence.parse(recipe["licence"])
        self._mod = make_module([graph])

    def judge(self, inputs: dict[str, np.ndarray], pairs: Pairs) -> Verdict:
        """The verdict, see `trial.Outcome`.

        A fault of the fuzzer's own is a verdict, too, or it would pass for a crash of the compiler.
        """
        try:
            by_stock = self._judge_by_stock(inputs, pairs)
            return by_stock if by_stock[0] in WRONG else (
                self._judge_by_reference(inputs, pairs) or by_stock
            )  # fmt: skip
        except Exception as error:
            return "not judged", f"{type(error).__name__}: {first_line(error)}"

    def _judge_by_stock(self, inputs, pairs: Pairs) -> Verdict:
        if self._licence.ulp == ANY_DROP:
            return "equal", ""  # such a licence only asks for what the reference allows
        wrong = [n for n, pair in enumerate(pairs) if not self._is_near(*pair)]
        if not wrong:
            return "equal", ""
        is_open = self._find_open(inputs)
        for number in wrong:
            before, after = (each[~is_open[number]] for each in pairs[number])
            if not self._is_near(before, after):
                return "differs", _describe(number, before, after)
        return "open", ""

    def _judge_by_reference(self, inputs, pairs: Pairs) -> Verdict | None:
        """None if all is within bounds, or left open by the licence."""
        ulps = 0 if self._licence.ulp == ANY_DROP else self._licence.ulp
        found = evaluate(self._mod, inputs, self._how.opt_level >= _FAST_MATH)
        for number, (bounds, (before, after)) in enumerate(zip(found, pairs)):
            self.checked["open"] += int(bounds.is_open.sum())
            self.checked["checked"] += int((~bounds.is_open).sum())
            wrong = bounds.find_outside(after, ulps)
            if wrong.any():
                wrong &= ~self._find_open(inputs)[number]
            if not wrong.any():
                continue
            detail = _describe_outside(number, after, bounds, wrong)
            if not (wrong & bounds.find_outside(before, ulps)).any():
                return "wrong", detail
            plain = build(self._mod, replace(self._how, disabled=_SIMPLIFIERS))(inputs)[number]
            is_still = (wrong & bounds.find_outside(plain, ulps)).any()
            return "both wrong" if is_still else "simplified", detail
        return None

    def _find_open(self, inputs) -> list[np.ndarray]:
        return find_open(self.graph, inputs, self._licence, self._how)

    def _is_near(self, before: np.ndarray, after: np.ndarray) -> bool:
        found = compare_outputs(after, before)
        return found.equal or (found.max_ulp is not None and found.max_ulp <= self._licence.ulp)


def _describe(number: int, before: np.ndarray, after: np.ndarray) -> str:
    found = compare_outputs(after, before)
    wrong = np.flatnonzero(~((before == after) | ((before != before) & (after != after))))
    first = f"{before.ravel()[wrong[0]]!s} became {after.ravel()[wrong[0]]!s}"
    ulp = "not finite" if found.max_ulp is None else f"{found.max_ulp} ulp"
    return f"output {number}: {wrong.size} of {before.size} differ ({ulp}), {first}"


def _describe_outside(number: int, after: np.ndarray, bounds: Bounds, wrong: np.ndarray) -> str:
    (first, *_), size = np.flatnonzero(wrong), wrong.size
    low, high, value = (each.ravel()[first] for each in (bounds.low, bounds.high, after))
    return (
        f"output {number}: {int(wrong.sum())} of {size} lie outside the reference, "
        f"{value!s} outside [{low!s}, {high!s}]"
    )
