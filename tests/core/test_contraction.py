"""What a pair of operators does to an exchange, and where it does nothing: by brute force."""

import ctypes
import ctypes.util

import numpy as np
import pytest

from tvm_reorder.core.contraction import BEHIND, Pair, find_pair_objection, is_exact, vanish_in_turn
from tvm_reorder.core.monotone import Direction, MonotoneMap
from tvm_reorder.core.refusal import Reason, Refusal

PRODUCER, POOL = (Refusal(Reason.CONTRACTION, name, "not known", "known") for name in "ab")
LINKS = 3


@pytest.mark.parametrize(
    "outer, inner, moved, refused",
    [
        (0, 1, 1, "separated"),
        (0, 1, 2, ""),
        (0, 1, 3, ""),
        (0, LINKS, 1, "separated"),
        (0, LINKS, 3, "separated"),
        (1, 1, 1, ""),  # both inside one composite
        (1, 1, 2, ""),
        (2, LINKS, 2, ""),
        (LINKS, LINKS, 3, ""),
        (BEHIND, 0, 1, "brought into one kernel"),
        (BEHIND, 1, 2, "brought into one kernel"),
        (BEHIND, 1, 1, ""),  # the pool stands between the two
        (BEHIND, LINKS, 3, ""),
        (BEHIND, BEHIND, 2, ""),
    ],
)
def test_what_an_exchange_does_to_a_pair(outer, inner, moved, refused):
    pairs = [Pair(outer, inner, "a product and a sum")]
    found = find_pair_objection(pairs, moved, LINKS, None, None)
    assert (refused in str(found)) if refused else found is None


@pytest.mark.parametrize(
    "outer, inner, moved, expected",
    [
        (0, 1, 2, PRODUCER),  # both move
        (0, 1, 1, PRODUCER),  # what keeps them together is why they would be separated
        (2, LINKS, 1, PRODUCER),  # both stay, in a kernel that changes
        (LINKS, LINKS, 1, PRODUCER),
        (BEHIND, BEHIND, 1, POOL),
        (BEHIND, 1, 1, None),
    ],
)
def test_kernels_of_which_nobody_knows(outer, inner, moved, expected):
    pairs = [Pair(outer, inner, "a product and a sum")]
    assert find_pair_objection(pairs, moved, LINKS, PRODUCER, POOL) is expected


@pytest.mark.parametrize(
    "outer, inner, moved, own",
    [
        (0, 1, 2, False),
        (0, 0, 1, False),
        (1, 2, 1, False),  # both stay, in a kernel that changes
        (LINKS, LINKS, 1, False),
        (BEHIND, BEHIND, 1, False),
        (1, 1, 1, True),
        (BEHIND, BEHIND, 1, True),
    ],
)
def test_a_pair_that_depends_on_its_surroundings_keeps_its_kernel(outer, inner, moved, own):
    pairs = [Pair(outer, inner, "nn.prelu and add", is_fragile=True, is_own=own)]
    assert "what stands around" in str(find_pair_objection(pairs, moved, LINKS, None, None))


def test_what_is_inside_an_operator_moves_as_its_map_allows():
    pairs = [Pair(1, 1, "products and sums inside exp", is_fragile=True, is_own=True)]
    assert find_pair_objection(pairs, 2, LINKS, PRODUCER, POOL) is None


def test_behind_the_pool_nothing_changes_for_what_stays_in_front():
    pairs = [Pair(BEHIND, 1, "nn.prelu and add", is_fragile=True)]
    assert find_pair_objection(pairs, 1, LINKS, PRODUCER, POOL) is None


def test_a_chain_cut_short_keeps_its_pairs():
    assert Pair(0, 4, "p").with_links(2) == Pair(0, 2, "p")
    assert Pair(BEHIND, BEHIND, "p").with_links(2) == Pair(BEHIND, BEHIND, "p")


# --- rounded once or twice ------------------------------------------------------------------------

_LIBM = ctypes.CDLL(ctypes.util.find_library("m"))
_FMA = {"float32": _LIBM.fmaf, "float64": _LIBM.fma}
for _name, _kind in (("float32", ctypes.c_float), ("float64", ctypes.c_double)):
    _FMA[_name].restype, _FMA[_name].argtypes = _kind, [_kind] * 3


def adversarial(dtype: str, rng, count: int) -> np.ndarray:
    """Numbers of every exponent, those next to powers of two, extremes and subnormals."""
    info = np.finfo(dtype)
    exponents = rng.integers(info.minexp - info.nmant, info.maxexp, count)
    fractions = 1 + rng.choice([0, info.eps, 1 - info.eps, 0.5, rng.random()], count)
    values = np.ldexp(fractions * rng.choice([-1, 1], count), exponents).astype(dtype)
    special = [0, info.max, info.min, info.tiny, info.smallest_subnormal]
    return np.concatenate([values, np.asarray(special, dtype)])


@pytest.mark.parametrize("dtype", _FMA)
def test_what_is_called_exact_is(dtype):
    rng, fma = np.random.default_rng(0), _FMA[dtype]
    info, exact, inexact = np.finfo(dtype), 0, 0
    factors = [*2.0 ** rng.integers(-40, 40, 12), *rng.normal(size=4), 0, 1, -1, -0.125]
    addends = [*adversarial(dtype, rng, 40), info.tiny * 2.0 ** (info.nmant + 3), 0]
    values = adversarial(dtype, rng, 60)
    with np.errstate(all="ignore"):
        for factor in np.asarray(factors, dtype):
            for addend in np.asarray(addends, dtype):
                twice = values * factor + addend
                once = np.asarray([fma(x, factor, addend) for x in values], dtype)
                is_same = np.array_equal(once, twice, equal_nan=True)
                if is_exact(np.asarray(factor), np.asarray(addend), dtype):
                    exact += 1
                    assert is_same, (factor, addend)
                inexact += not is_same
    assert exact > 100 and inexact > 20


def test_every_channel_counts():
    powers, others = np.array([2.0, -0.5, 0]), np.array([2.0, 0.3, 1])
    assert is_exact(powers, np.array([0.1, 0, 7]), "float32")
    assert not is_exact(others, np.array([0.1, 0, 7]), "float32")
    assert is_exact(others, np.zeros(3), "float32")
    assert not is_exact(powers, np.array([1e-38, 0, 7]), "float32")
    assert not is_exact(powers, np.array([1e38]), "float32")
    assert not is_exact(np.array([np.inf]), np.array([1.0]), "float32")


def test_two_addends_of_which_one_is_always_zero():
    def rising(evaluate, worst=0):
        return MonotoneMap("f", (Direction.RISING,), worst, evaluate)

    relu = rising(lambda x: np.maximum(x, 0))
    below = rising(lambda x: -0.7 * np.maximum(1 - np.exp(x), 0))
    assert vanish_in_turn(relu, below) and vanish_in_turn(below, relu)
    falling = MonotoneMap("f", (Direction.FALLING,), 0, lambda x: 0.3 * np.maximum(-x, 0))
    assert vanish_in_turn(relu, falling) and vanish_in_turn(falling, relu)
    assert not vanish_in_turn(below, falling)
    assert not vanish_in_turn(relu, relu)
    assert not vanish_in_turn(rising(lambda x: x), below)
    assert not vanish_in_turn(relu, rising(below.evaluate, None))  # not certified to rise
    assert not vanish_in_turn(relu, MonotoneMap("f", (Direction.VALLEY,), 0, below.evaluate))
    assert not vanish_in_turn(relu, rising(None))
