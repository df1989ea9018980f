"""Which of several objections is named: the one that costs most, by brute force."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core.chain import Chain, Link
from tvm_reorder.core.checks import Plan, check_exchange, name_costliest
from tvm_reorder.core.config import ReorderConfig
from tvm_reorder.core.contraction import Pair
from tvm_reorder.core.monotone import Direction, MonotoneMap
from tvm_reorder.core.refusal import Reason, Refusal, varies
from tvm_reorder.core.window import PoolWindow, WindowAxis

FIRM = [
    Refusal(reason, "x", "y", "z")
    for reason in (Reason.SHARED, Reason.CONTRACTION, Reason.NOT_MONOTONE)
]
OPTIONAL = [Refusal(reason, "x", "y", "z", "an option") for reason in (Reason.UNPROVEN, Reason.NAN)]
some = st.lists(st.sampled_from(FIRM + OPTIONAL), min_size=1, unique=True)
objections = st.lists(some, max_size=4)


def let_through(kept, lifted: Reason) -> int:
    """Links that can move once a reason is lifted."""
    left = [[each for each in some if each.reason is not lifted] for some in kept]
    return max((n for n, some in enumerate(left, 1) if not some), default=0)


@given(objections)
def test_what_is_named_lets_most_through(kept):
    there_are = {each for some in kept for each in some}
    named = name_costliest(kept)
    if not there_are:
        assert named is None
        return
    gains = {each: let_through(kept, each.reason) for each in there_are}
    assert gains[named] == max(gains.values())
    if not gains[named]:
        assert named in kept[0] and bool(named.lift) <= all(each.lift for each in kept[0])


RISING = (Direction.RISING,)
WINDOW = PoolWindow((WindowAxis(8, 4, 2, 2), WindowAxis(8, 4, 2, 2)))
SHARED = Refusal(Reason.SHARED, "the value", "used 2 times", "used once")
UNPROVEN = MonotoneMap("tanh", RISING, None, lambda x: x)
STRAYS = MonotoneMap("softsign", RISING, 2, lambda x: x)
EXACT = MonotoneMap("nn.relu", RISING, 0, lambda x: x)
HILL = MonotoneMap("hill", (Direction.OTHER,), 0, lambda x: -(x**2))


def link(known: MonotoneMap, **fields) -> Link:
    return Link(known, "float32", **{"keeps_nan": True, **fields})


def check(*links: Link, licence="equal", certify="cached", **facts) -> Plan | Refusal:
    dtypes = ("float32",) * (len(links) + 1)
    chain = Chain(WINDOW, 4, links, dtypes, **facts)
    return check_exchange(chain, ReorderConfig(licence=licence, certify=certify))


ZEROS = Refusal(Reason.ZERO_SIGN, "the sign of a zero", "read by rsqrt", "without effect")
FAST_MATH = Refusal(Reason.UNPROVEN, "the arithmetic", "that of -fast-math", "plain", "ulp:any")
OVERFLOW = Refusal(Reason.INTEGER_OVERFLOW, "add", "able to wrap", "within its dtype")
COMBINATIONS = {
    "an option that lifts all that stands": (
        [link(UNPROVEN), link(UNPROVEN)],
        {},
        Reason.UNPROVEN,
    ),
    "an option that would be given in vain, beside a shared value": (
        [link(UNPROVEN, shared=SHARED)],
        {},
        Reason.SHARED,
    ),
    "beside a product next to a sum": (
        [link(UNPROVEN)],
        {"pairs": (Pair(0, 1, "multiply and add"),)},
        Reason.CONTRACTION,
    ),
    "beside a reader of zeros' signs": ([link(UNPROVEN)], {"zeros": ZEROS}, Reason.ZERO_SIGN),
    "beside an integer that may wrap": (
        [link(UNPROVEN)],
        {"undefined": OVERFLOW},
        Reason.INTEGER_OVERFLOW,
    ),
    "beside fast-math flags, which the same option lifts": (
        [link(UNPROVEN)],
        {"obstacle": FAST_MATH},
        Reason.UNPROVEN,
    ),
    "a value shared further up, behind what an option lifts": (
        [link(UNPROVEN), link(EXACT, shared=SHARED)],
        {},
        Reason.UNPROVEN,
    ),
    "a short chain split from its product, a long one shared": (
        [link(EXACT), link(EXACT, shared=SHARED), link(EXACT)],
        {"pairs": (Pair(0, 1, "multiply and add"),)},
        Reason.SHARED,
    ),
    "what forgets a NaN next to the pool, and strays above": (
        [link(EXACT, keeps_nan=False), link(STRAYS)],
        {"licence": "nan"},
        Reason.NAN,
    ),
    "a hill, whatever stands on it": ([link(HILL), link(UNPROVEN)], {}, Reason.NOT_MONOTONE),
}


@pytest.mark.parametrize("case", COMBINATIONS)
def test_of_several_the_costliest(case):
    links, options, reason = COMBINATIONS[case]
    refusal = check(*links, **options)
    assert isinstance(refusal, Refusal) and refusal.reason is reason


def test_a_plan_says_why_further_links_stay():
    stop = varies("the other operand of add")
    assert check(link(EXACT), stop=stop).note is stop
    assert check(link(EXACT), link(UNPROVEN), stop=stop).note.reason is Reason.UNPROVEN
    shared = check(link(EXACT), link(UNPROVEN, shared=SHARED), link(EXACT), stop=stop)
    assert shared.moved == 1 and shared.note is SHARED
    beyond = check(link(EXACT), link(UNPROVEN), link(EXACT, shared=SHARED), stop=stop)
    assert beyond.note.reason is Reason.UNPROVEN


LIFTS = [
    (link(UNPROVEN), {}, {"licence": "ulp:any"}, "ulp:any"),
    (link(UNPROVEN), {}, {"licence": "ulp:any"}, "certify=auto"),
    (link(STRAYS), {}, {"licence": "ulp:2"}, "ulp:2"),
    (link(EXACT, keeps_nan=False), {"licence": "nan"}, {}, "licence nan"),
    (
        link(MonotoneMap("leaky", RISING, 0, lambda x: x * 0.5)),
        {"licence": "strict"},
        {},
        "licence strict",
    ),
]


@pytest.mark.parametrize("step, options, lifted, named", LIFTS)
def test_the_option_that_lifts_it_is_named_and_does(step, options, lifted, named):
    refusal = check(step, **options)
    assert named in refusal.lift and str(refusal).endswith(f"({refusal.lift})")
    assert isinstance(check(step, **lifted), Plan)


def test_a_sweep_is_named_only_where_it_has_not_been_tried_and_can_be_made():
    assert "certify" not in check(link(UNPROVEN), certify="auto").lift
    half = replace(link(UNPROVEN), dtype="bfloat16")
    assert "certify" not in check(half).lift and "ulp:any" in check(half).lift
