"""Pools of truth values and of whole numbers: nothing lies below their lowest value."""

import numpy as np
import pytest
from tvm import relay

from tvm_reorder import Status
from tvm_reorder.core.refusal import Reason

from .networks import assert_same_results, image, max_pool, module

TRUTHS = {"x": np.random.default_rng(2).random((1, 3, 8, 8)) < 0.3}
NUMBERS = {"x": np.random.default_rng(2).choice([0, -0.0, 1, -2, np.inf], (1, 3, 8, 8))}
CHAINS = {
    "copied": ("bool", lambda x: relay.copy(x)),
    "moved": ("bool", lambda x: relay.reverse(relay.copy(x), 3)),
    "to float": ("bool", lambda x: x.astype("float32")),
    "to float and on": ("bool", lambda x: relay.exp(relay.copy(x).astype("float32"))),
    "and back": ("bool", lambda x: relay.nn.relu(x.astype("float32")).astype("bool")),
    "from float": ("float32", lambda x: relay.nn.relu(x).astype("bool")),
}
MOVE = {
    "equal": ("to float and on", "and back", "from float"),
    "strict": ("to float and on",),
}


@pytest.mark.parametrize("licence", ["equal", "strict"])
@pytest.mark.parametrize("name", CHAINS)
def test_truth_values_are_pooled_alike(name, licence):
    dtype, chain = CHAINS[name]
    inputs = TRUTHS if dtype == "bool" else {"x": NUMBERS["x"].astype(dtype)}
    mod = module(max_pool(chain(image(dtype=dtype))))
    (site,) = assert_same_results(mod, inputs, licence=licence).sites
    assert (site.status is Status.EXCHANGED) == (name in MOVE[licence])
    assert site.refusal is None or site.refusal.reason is not Reason.INTERNAL_ERROR


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
@pytest.mark.parametrize("licence", ["equal", "strict"])
def test_windows_of_infinities_become_whole_numbers(dtype, licence):
    """Of nothing but -inf, of nothing but +inf, and of numbers."""
    planes = np.random.default_rng(5).normal(size=(1, 3, 8, 8)) * 9
    planes[0, 0], planes[0, 1] = -np.inf, np.inf
    mod = module(max_pool(relay.clip(image(), 0, 9).astype(dtype)))
    (site,) = assert_same_results(mod, {"x": planes.astype("float32")}, licence=licence).sites
    assert site.status is Status.EXCHANGED
