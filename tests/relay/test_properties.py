"""Random chains, windows, layouts and dtypes on adversarial values: equal results, always.

The chains read the network's input itself, so that infinities, zeros of both signs, subnormals and
extremes reach them as they are.
"""

import numpy as np
import pytest
import tvm
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tvm import relay

import tvm_reorder
from tvm_reorder import Status

from .networks import SPATIAL_AXES, constant, module, run

FLOATS = ("float32", "float16")
CHANNELS = 4


def special_values(dtype: str) -> np.ndarray:
    """Values that break careless exchanges."""
    if dtype.startswith("int"):
        info = np.iinfo(dtype)
        return np.array([info.min, info.min + 1, -1, 0, 1, 7, info.max - 1, info.max], dtype)
    info = np.finfo(dtype)
    tiny = info.smallest_subnormal
    values = [np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, info.tiny, info.max, info.min, 1, -1, 0.5]
    return np.array([*values, 1 + info.eps, -1 - info.eps, 3.7, -88.0, 10.0], dtype)


def per_channel(layout: str, values, dtype: str) -> relay.Constant:
    shape = {"NCHW": (1, CHANNELS, 1, 1), "NHWC": (CHANNELS,), "NCHW4c": (1, 1, 1, 1, CHANNELS)}
    return constant(np.reshape(values, shape[layout]), dtype)


numbers = st.floats(-4, 4, width=16)
slopes = st.lists(st.floats(0, 2, width=16), min_size=CHANNELS, max_size=CHANNELS)
biases = st.lists(numbers, min_size=CHANNELS, max_size=CHANNELS)


@st.composite
def float_steps(draw, layout, dtype):
    """One step: a function from expression to expression."""
    kind = draw(st.integers(0, 16))
    if kind == 0:
        values = draw(biases)
        return lambda x: x + per_channel(layout, values, dtype)
    if kind == 1:
        values = draw(slopes)
        return lambda x: x * per_channel(layout, values, dtype)
    if kind == 2:
        low, high = sorted(draw(st.tuples(numbers, numbers)))
        return lambda x: relay.clip(x, low, high)
    if kind == 3:
        alpha = draw(st.floats(0, 1))
        return lambda x: relay.nn.leaky_relu(x, alpha)
    if kind == 4:
        values = draw(slopes)
        axis = {"NCHW": 1, "NHWC": 3, "NCHW4c": 4}[layout]
        return lambda x: relay.nn.prelu(x, constant(values, dtype), axis=axis)
    if kind == 5:
        one, alpha = (relay.const(v, dtype) for v in (1.0, draw(st.floats(0, 2, width=16))))
        bent = lambda x: relay.negative(alpha) * relay.nn.relu(one - relay.exp(x))
        return lambda x: bent(x) + relay.nn.relu(x)
    if kind == 6:
        return lambda x: relay.const(draw(numbers), dtype) - x
    if kind == 7:
        return relay.negative
    unary = [relay.nn.relu, relay.sigmoid, relay.tanh, relay.exp, relay.ceil, relay.floor]
    unary += [relay.round, relay.sign, lambda x: relay.log(relay.nn.relu(x))]
    return unary[kind - 8]


@st.composite
def integer_steps(draw, layout, dtype):
    kind = draw(st.integers(0, 4))
    info = np.iinfo(dtype)
    if kind == 0:
        low, high = sorted(draw(st.tuples(st.integers(-100, 100), st.integers(-100, 100))))
        return lambda x: relay.clip(x, low, high)
    if kind == 1:
        values = draw(st.lists(st.integers(-100, 100), min_size=CHANNELS, max_size=CHANNELS))
        return lambda x: x + per_channel(layout, values, dtype)
    if kind == 2:
        values = draw(st.lists(st.integers(0, 3), min_size=CHANNELS, max_size=CHANNELS))
        return lambda x: x * per_channel(layout, values, dtype)
    if kind == 3:
        value = draw(st.integers(int(info.min), int(info.max)))
        return lambda x: relay.maximum(x, relay.const(value, dtype))
    return relay.nn.relu


@st.composite
def pools(draw):
    """Size, stride, padding, dilation, ceil_mode of a window."""
    kernel = draw(st.integers(1, 3))
    return dict(
        pool_size=(kernel, draw(st.integers(1, 3))),
        strides=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        padding=tuple(draw(st.integers(0, 2)) for _ in range(4)),
        dilation=draw(st.sampled_from([(1, 1), (1, 1), (2, 1)])),
        ceil_mode=draw(st.booleans()),
    )


@st.composite
def networks(draw):
    """A module over input ``x`` and the input's value."""
    layout = draw(st.sampled_from(["NCHW", "NCHW", "NHWC", "NCHW4c"]))
    dtype = draw(st.sampled_from(["float32", "float32", "float16", "int8", "int32"]))
    steps = float_steps if dtype in FLOATS else integer_steps
    chain = draw(st.lists(steps(layout, dtype), min_size=1, max_size=4))
    shape = {"NCHW": (1, CHANNELS, 6, 5), "NHWC": (1, 6, 5, CHANNELS), "NCHW4c": (1, 1, 6, 5, 4)}
    x = relay.var("x", shape=shape[layout], dtype=dtype)
    body = x
    for step in chain:
        body = step(body)
    mod = module(relay.nn.max_pool2d(body, layout=layout, **draw(pools())))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    values = rng.choice(special_values(dtype), size=shape[layout])
    if dtype in FLOATS and draw(st.booleans()):
        values = np.where(rng.random(shape[layout]) < 0.7, -np.inf, values).astype(dtype)
    return mod, values


def open_results(mod, values, licence: str) -> np.ndarray:
    """Windows the licence leaves open: a step gives NaN in it, or (equal) nothing but -inf."""
    pool, steps = mod["main"].body, []
    relay.analysis.post_order_visit(
        pool.args[0], lambda e: steps.append(e) if isinstance(e, relay.Call) else None
    )
    results = [values, *run(module(relay.Tuple(steps)), {"x": values}, opt_level=0)]
    results = [result for result in results if result.shape == values.shape]
    is_open = _seen_in_windows(pool, np.logical_or.reduce([np.isnan(r) for r in results]))
    if licence == "equal":
        for result in results:
            is_open |= ~_seen_in_windows(pool, result != -np.inf)
    return is_open


def _seen_in_windows(pool, marked: np.ndarray) -> np.ndarray:
    """Windows that see a marked element."""
    marks = relay.var("m", shape=marked.shape, dtype="float32")
    (seen,) = run(module(relay.Call(pool.op, [marks], pool.attrs)), {"m": marked.astype("float32")})
    return seen > 0


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(networks(), st.sampled_from(["equal", "strict"]))
def test_exchanged_results_are_equal(example, licence):
    mod, values = example
    _, report = tvm_reorder.reorder(mod, licence=licence, decision="exchange")
    assume(report.exchanged)
    (stock,) = run(mod, {"x": values})
    with tvm_reorder.enabled(licence=licence, decision="exchange") as used:
        (exchanged,) = run(mod, {"x": values})
    assert used.exchanged
    differs = ~((stock == exchanged) | (np.isnan(stock) & np.isnan(exchanged)))
    if differs.any():
        differs &= ~open_results(mod, values, licence)
    assert not differs.any(), f"{stock[differs]} became {exchanged[differs]}\n{mod}"


@pytest.mark.parametrize("dtype", FLOATS + ("int8", "int32"))
@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NCHW4c"])
def test_relu_and_bias_in_every_layout_and_dtype(layout, dtype):
    shape = {"NCHW": (1, CHANNELS, 6, 6), "NHWC": (1, 6, 6, CHANNELS), "NCHW4c": (1, 1, 6, 6, 4)}
    x = relay.var("x", shape=shape[layout], dtype=dtype)
    biased = x + per_channel(layout, [1, -2, 3, 0], dtype) if dtype in FLOATS else x
    body = relay.nn.relu(biased)
    mod = module(relay.nn.max_pool2d(body, (2, 2), (2, 2), layout=layout))
    values = np.random.default_rng(1).choice(special_values(dtype), size=shape[layout])
    (stock,) = run(mod, {"x": values})
    with tvm_reorder.enabled(decision="exchange") as report:
        (exchanged,) = run(mod, {"x": values})
    assert report.sites[0].status is Status.EXCHANGED, report.sites[0].explanation
    np.testing.assert_array_equal(stock, exchanged)
    assert set(SPATIAL_AXES[layout]) == set(_pooled_axes(mod))


def _pooled_axes(mod: tvm.IRModule) -> list[int]:
    pool = mod["main"].body
    before, after = (e.checked_type.shape for e in (pool.args[0], pool))
    return [axis for axis, (b, a) in enumerate(zip(before, after)) if int(b) != int(a)]
