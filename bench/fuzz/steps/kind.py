"""What a kind of step is: what it takes and gives, how it is drawn, what it builds.

A step is JSON, ``[kind, {parameter: value}]``.  A parameter that is left out has its plain value,
lists are repeated as long as need be, and axes are counted round and round: so a step stands on any
tensor, whatever was left out above it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import numpy as np
from tvm import relay

from ..value import Value, is_float

Step = list  # [kind, parameters]
Draw = Callable[[Random, str], dict]


class Maker(Protocol):
    """What a step may do besides computing something of its value."""

    def add_input(self, shape: tuple[int, ...], dtype: str) -> relay.Var:
        """A new input of the graph."""

    def add_output(self, expr: relay.Expr) -> None:
        """One more result of the graph."""

    def bind(self, expr: relay.Expr) -> relay.Var:
        """The variable of a let around all that comes behind."""

    def share(self, array: np.ndarray, dtype: str) -> relay.Expr:
        """A constant of the graph, one for all equal arrays of a dtype."""

    def apply(self, steps: list[Step], value: Value) -> Value:
        """Some steps in a row on a value."""

    def mark_pool(self, call: relay.Call) -> relay.Call:
        """A pool under a name that tells whose it is."""


Build = Callable[[Maker, Value, dict], Value]


def _draw_nothing(random: Random, dtype: str) -> dict:
    return {}


def _keep_dtype(parameters: dict, dtype: str) -> str:
    return dtype


@dataclass(frozen=True)
class Kind:
    """A kind of step.

    Parameters
    ----------
    build : callable
        The value behind the step, from the one before it and the step's parameters.
    draw : callable
        Parameters for a value of some dtype.
    takes : callable
        Whether it stands on values of a dtype.
    gives : callable
        The dtype behind it, from its parameters and the dtype before it.
    weight : int
        How often it is drawn, against others of its table.
    copies : int
        How often it reads its value.  TVM writes the steps of a kernel into one expression, which
        grows by this factor.
    """

    build: Build
    draw: Draw = _draw_nothing
    takes: Callable[[str], bool] = is_float
    gives: Callable[[dict, str], str] = _keep_dtype
    weight: int = 2
    copies: int = 1


def elementwise(compute: Callable[..., relay.Expr], *names: str, **plain: Any) -> Build:
    """A build from a function of the expression and of parameters with these plain values."""

    def build(maker: Maker, value: Value, parameters: dict) -> Value:
        numbers = {name: parameters.get(name, default) for name, default in plain.items()}
        return value.to(compute(value.expr, *names, **numbers))

    return build


def draw_kind(random: Random, kinds: dict[str, Kind], dtype: str) -> Step:
    """A step of one of some kinds, for a value of `dtype`."""
    fitting = {name: kind for name, kind in kinds.items() if kind.takes(dtype)}
    (name,) = random.choices(list(fitting), [kind.weight for kind in fitting.values()])
    return [name, fitting[name].draw(random, dtype)]
