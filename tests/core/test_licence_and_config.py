"""Licences and options: what they mean and what they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core.config import ReorderConfig
from tvm_reorder.core.licence import ANY_DROP, BITWISE, EQUAL, Licence


@given(st.integers(0, 99) | st.just(ANY_DROP), st.booleans(), st.booleans())
def test_a_licence_survives_its_text(ulp, strict, nan):
    licence = Licence(ulp=ulp, strict=strict, nan=nan)
    assert Licence.parse(str(licence)) == licence


@pytest.mark.parametrize(
    "text",
    ["", "ulp", "ulp:0", "ulp:-1", "ulp:1.5", "ulp:inf", "ulp:anything", "any"]
    + ["strict ulp:2", "strict+", "+ulp:1", "exact", "nan+", "nan+strict", "nan+nan", "strictnan"],
)
def test_nonsense_is_named(text):
    with pytest.raises(ValueError, match="licence is .* but must be 'equal'"):
        Licence.parse(text)


def test_drops_are_allowed_up_to_the_licence():
    assert EQUAL.allows_drop(0) and not EQUAL.allows_drop(1) and not EQUAL.allows_drop(None)
    assert Licence(ulp=7).allows_drop(7) and not Licence(ulp=7).allows_drop(8)
    assert not Licence(ulp=99).allows_drop(None)


@pytest.mark.parametrize("text, strict", [("ulp:any", False), ("strict+ulp:any", True)])
def test_any_drop_may_be_unknown(text, strict):
    licence = Licence.parse(text)
    assert licence.strict is strict and str(licence) == text
    assert licence.allows_drop(None) and licence.allows_drop(10**9) and licence.allows_drop(0)


def test_config_reads_a_licence_from_text():
    assert ReorderConfig(licence="strict+ulp:2").licence == Licence(ulp=2, strict=True)


@pytest.mark.parametrize("licence", ["bitwise", BITWISE])
def test_a_licence_that_no_rule_can_meet(licence):
    with pytest.raises(ValueError, match="'bitwise' but must be .* no rule keeps the sign of zero"):
        ReorderConfig(licence=licence)


@pytest.mark.parametrize(
    "options, line",
    [
        ({"licence": 3}, "licence is 3 but must be"),
        ({"opt_level": 5}, "opt_level is 5 but must be"),
        ({"opt_level": "3"}, "opt_level is '3' but must be"),
    ],
)
def test_other_options_are_checked(options, line):
    with pytest.raises(ValueError, match=line):
        ReorderConfig(**options)


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        ReorderConfig().write = False
