"""Where +0 and -0 are not the same: what reads the sign of a zero, and what forgets it."""

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status

from .networks import conv2d, image, max_pool, module, only_site, run

SHAPE = (1, 4, 8, 8)
ONES = relay.const(np.ones((1, 4, 4, 4), "float32"))


def number(value):
    return relay.const(np.float32(value))


def site_before(steps):
    """The site of a network whose pool `steps` stand behind."""
    return only_site(module(steps(max_pool(relay.nn.leaky_relu(conv2d(image()), 0.5)))))


READ = {
    "rsqrt": relay.rsqrt,
    "1 / x": lambda x: number(1) / x,
    "c / x": lambda x: ONES / x,
    "x ** -1": lambda x: relay.power(x, number(-1)),
    "x ** y": lambda x: relay.power(x, relay.var("y", shape=())),
    "-0 through tanh": lambda x: number(1) / relay.tanh(x),
    "a product": lambda x: number(1) / (x * number(3)),
    "an odd power": lambda x: number(1) / relay.power(x, number(3)),
    "a reshape": lambda x: number(1) / relay.nn.batch_flatten(x),
    "a tuple": lambda x: number(1) / relay.concatenate([x, relay.tanh(x)], 1),
    "+ 0": lambda x: number(1) / (x + number(0)),
    "max with 0": lambda x: number(1) / relay.maximum(x, number(0)),
}


@pytest.mark.parametrize("steps", READ.values(), ids=READ)
def test_a_reader_of_zeros_is_a_refusal(steps):
    site = site_before(steps)
    assert site.status is Status.REFUSED and site.refusal.reason is Reason.ZERO_SIGN


def in_a_let(x):
    variable = relay.var("v")
    return relay.Let(variable, x, number(1) / variable)


def in_a_function(x):
    inner = relay.var("p", shape=(1, 4, 4, 4))
    function = relay.Function([inner], number(1) / inner)
    return function.with_attr("Primitive", tvm.tir.IntImm("int32", 1))(x)


def in_a_branch(x):
    return number(1) / relay.If(relay.var("c", shape=(), dtype="bool"), x, ONES)


@pytest.mark.parametrize("steps", [in_a_let, in_a_function, in_a_branch])
def test_a_reader_is_found_in_every_corner(steps):
    assert site_before(steps).refusal.reason is Reason.ZERO_SIGN


@pytest.mark.parametrize("divides", [True, False])
def test_another_function_may_be_the_reader(divides):
    pooled = module(max_pool(relay.nn.leaky_relu(conv2d(image()), 0.5)))["main"]
    variable, x = relay.GlobalVar("pooled"), image()
    called = relay.Call(variable, [x])
    main = relay.Function([x], number(1) / called if divides else relay.tanh(called))
    mod = tvm.IRModule({variable: pooled, relay.GlobalVar("main"): main})
    _, report = tvm_reorder.reorder(relay.transform.InferType()(mod), decision="exchange")
    (site,) = report.sites
    assert site.status is (Status.REFUSED if divides else Status.EXCHANGED)


FORGOTTEN = {
    "x / c": lambda x: x / number(3),
    "exp": lambda x: number(1) / relay.exp(x),
    "abs": lambda x: relay.rsqrt(relay.abs(x)),
    "x * x": lambda x: relay.rsqrt(x * x),
    "+ eps": lambda x: relay.rsqrt(x + number(1e-5)),
    "clip above 0": lambda x: number(1) / relay.clip(x, 0.5, 6),
    "max above 0": lambda x: number(1) / relay.maximum(x, number(1e-3)),
    "an even power": lambda x: number(1) / relay.power(x, number(2)),
    "a root": lambda x: number(1) / relay.power(x, number(0.5)),
    "a convolution": lambda x: number(1) / conv2d(x, in_channels=4),
    "a mean": lambda x: number(1) / relay.mean(x, axis=[2, 3]),
    "an average": lambda x: number(1) / relay.nn.global_avg_pool2d(x),
    "an integer": lambda x: relay.floor_divide(relay.const(1), x.astype("int32")),
    "a comparison": lambda x: number(1) / relay.greater(x, number(0)).astype("float32"),
}


@pytest.mark.parametrize("steps", FORGOTTEN.values(), ids=FORGOTTEN)
def test_what_forgets_the_sign_lets_it_move(steps):
    assert site_before(steps).status is Status.EXCHANGED


@pytest.mark.parametrize(
    "forget",
    [
        lambda x: conv2d(x, in_channels=4),
        lambda x: relay.nn.dense(relay.nn.batch_flatten(x), ones(3, 256)),
        lambda x: relay.mean(x, axis=[2, 3]),
        relay.nn.global_avg_pool2d,
        lambda x: relay.nn.avg_pool2d(x, (2, 2), (2, 2)),
        lambda x: relay.power(x, number(2)),
        lambda x: relay.power(x, number(0.5)),
    ],
)
def test_negative_zeros_become_positive_as_compiled(forget):
    x = relay.var("x", shape=SHAPE)
    (result,) = run(module(forget(x)), {"x": -np.zeros(SHAPE, "float32")})
    assert not np.signbit(result).any()


def ones(*shape):
    return relay.const(np.ones(shape, "float32"))


def in_a_closure(x):
    variable, inner = relay.var("g"), relay.var("p", shape=(1, 4, 4, 4))
    return relay.Let(variable, relay.Function([inner], number(1) / inner), variable(x))


def through_a_closure(x):
    variable, inner = relay.var("g"), relay.var("p", shape=(1, 4, 4, 4))
    closure = relay.Function([inner], relay.floor(inner))
    return relay.Let(variable, closure, number(1) / variable(x))


def through_a_reference(x):
    return number(1) / relay.RefRead(relay.RefCreate(x))


@pytest.mark.parametrize("steps", [in_a_closure, through_a_closure, through_a_reference])
def test_nobody_follows_what_hides_a_value(steps):
    assert site_before(steps).refusal.reason is Reason.ZERO_SIGN


def test_what_hides_a_value_from_no_reader_does_no_harm():
    variable, inner = relay.var("g"), relay.var("p", shape=(1, 4, 4, 4))
    closure = relay.Function([inner], relay.tanh(inner))
    site = site_before(lambda x: relay.Let(variable, closure, variable(x)))
    assert site.status is Status.EXCHANGED
