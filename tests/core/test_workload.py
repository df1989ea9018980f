"""Workloads: sizes, and one key for equal sites."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core.window import AdaptiveAxis, PoolWindow, WindowAxis
from tvm_reorder.core.workload import Convolution, Home, SiteWorkload

from .workloads import CONVOLUTION, workload


def test_sizes_of_a_convolution():
    assert CONVOLUTION.outputs == (224, 224)
    assert CONVOLUTION.multiply_adds == 224 * 224 * 64 * 27
    strided = replace(CONVOLUTION, kernel=(7, 7), strides=(2, 2), padding=(3, 3, 3, 3))
    assert strided.outputs == (112, 112)
    uneven = Convolution(2, 8, 10, 12, 4, (3, 1), (1, 2), (0, 1, 2, 3), (2, 1), groups=4)
    assert uneven.outputs == (8, 8)  # (10 + 2 - 5) / 1 + 1 and (12 + 4 - 1) // 2 + 1
    assert uneven.multiply_adds == 2 * 4 * 64 * 3 * 2


def test_sizes_of_a_site():
    site = workload()
    assert site.elements == 64 * 224 * 224 and site.pooled == 64 * 112 * 112


def test_the_key_is_the_dict_as_json():
    site = workload()
    assert json.loads(site.key) == site.as_dict()
    assert "\n" not in site.key
    assert json.loads(site.key)["convolution"]["kernel"] == [3, 3]
    assert json.loads(workload(convolution=None).key)["convolution"] is None


@pytest.mark.parametrize("field", [field.name for field in fields(Convolution)])
def test_every_field_of_the_convolution_is_in_the_key(field):
    other = {"dtype": "int8", "layout": "NHWC", "padding": (0, 0, 1, 1)}
    value = getattr(CONVOLUTION, field)
    changed = other.get(field, tuple(v + 1 for v in value) if isinstance(value, tuple) else 9)
    assert workload(convolution=replace(CONVOLUTION, **{field: changed})).key != workload().key


def test_adaptive_and_plain_windows_have_their_own_keys():
    windows = [
        PoolWindow((WindowAxis(8, 4, 2, 2),)),
        PoolWindow((WindowAxis(8, 4, 2, 2, pad_before=1),)),
        PoolWindow((AdaptiveAxis(8, 4),)),
    ]
    assert len({SiteWorkload(window, 4, ()).key for window in windows}) == 3


axes = st.builds(WindowAxis, *(st.integers(1, 3) for _ in range(5)), st.integers(0, 1))
sites = st.builds(
    SiteWorkload,
    st.builds(PoolWindow, st.tuples(axes)),
    st.integers(1, 2),
    st.sampled_from([(), ("nn.relu",), ("add", "nn.relu"), ("nn.relu", "add")]),
    st.sampled_from([None, CONVOLUTION, replace(CONVOLUTION, groups=2)]),
    st.sampled_from(["float32", "int8"]),
    home=st.sampled_from(Home),
    is_reduction=st.booleans(),
)


@given(sites, sites)
def test_keys_are_equal_where_workloads_are(left, right):
    assert (left.key == right.key) == (left == right)
    assert left.key == replace(left).key


@given(sites)
def test_a_workload_comes_back_from_its_key(site):
    assert SiteWorkload.from_dict(json.loads(site.key)) == site
    adaptive = replace(site, window=PoolWindow((AdaptiveAxis(8, 4),)), ends="both")
    assert SiteWorkload.from_dict(adaptive.as_dict()) == adaptive


@pytest.mark.parametrize("values", [{}, {"home": "nowhere"}, {"convolution": {"groups": 1}}])
def test_what_is_no_workload_is_refused(values):
    whole = workload().as_dict() | values if values else {}
    with pytest.raises((LookupError, TypeError, ValueError)):
        SiteWorkload.from_dict(whole)
