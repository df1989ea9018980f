"""Checks that a JSON value holds what the page shows of it; what else it holds is let be.

A shape is one of the classes below, or a dict of shapes by key for an object that must have these
keys.  `find_fault` gives the first thing that does not fit as one sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LARGEST = 1e15  # what is beyond is no measurement, and no axis can show it


@dataclass(frozen=True)
class Leaf:
    """A single value."""

    description: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True)
class Maybe:
    """A value of some shape, or null."""

    shape: Any


@dataclass(frozen=True)
class Each:
    """A list of values of one shape."""

    shape: Any


@dataclass(frozen=True)
class Named:
    """An object with names that are not known before, and values of one shape."""

    shape: Any
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class Both:
    """A value that fits two shapes."""

    first: Any
    second: Any


@dataclass(frozen=True)
class Rounds:
    """An object with equally many samples under each of some keys: they were taken in turns."""

    names: tuple[str, ...]


def _is_text(value: Any) -> bool:
    """Half a surrogate pair can stand in JSON, but not in a page."""
    return isinstance(value, str) and value == value.encode("utf-8", "ignore").decode()


def is_number(value: Any) -> bool:
    """True for what can be shown; not for NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= _LARGEST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and is_number(value) and value >= 0


def _is_samples(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_positive, value))


def is_positive(value: Any) -> bool:
    """True for a number that can be divided by."""
    return is_number(value) and value >= 1 / _LARGEST


TEXT = Leaf("a text", _is_text)
FLAG = Leaf("true or false", lambda value: isinstance(value, bool))
NUMBER = Leaf("a number", is_number)
POSITIVE = Leaf("a number above 0", is_positive)
COUNT = Leaf("a whole number from 0", _is_count)
SIZE = Leaf("a whole number from 1", lambda value: _is_count(value) and value > 0)
SAMPLES = Leaf("a list of numbers above 0", _is_samples)


def find_fault(value: Any, shape: Any, path: str) -> str | None:
    """What is wrong with a value, in one sentence; None if it fits.

    Parameters
    ----------
    value : object
        What ``json.loads`` gave.
    shape : dict, Leaf, Maybe, Each, Named, Both or Rounds
        What it must be.
    path : str
        What to call the value.
    """
    return next(_faults(value, shape, path), None)


def _faults(value: Any, shape: Any, path: str):
    match shape:
        case Leaf():
            if not shape.fits(value):
                yield f"{path} is {_say(value)} but must be {shape.description}"
        case Maybe():
            if value is not None:
                yield from _faults(value, shape.shape, path)
        case Each():
            yield from _faults_of_list(value, shape, path)
        case Both():
            yield from _faults(value, shape.first, path)
            yield from _faults(value, shape.second, path)
        case Rounds():
            yield from _faults_of_rounds(value, shape, path)
        case Named():
            yield from _faults_of_names(value, shape, path)
        case dict():
            yield from _faults_of_object(value, shape, path)


def _faults_of_list(value: Any, shape: Each, path: str):
    if not isinstance(value, list):
        yield f"{path} is {_say(value)} but must be a list"
        return
    for index, item in enumerate(value):
        yield from _faults(item, shape.shape, f"{path}[{index}]")


def _faults_of_names(value: Any, shape: Named, path: str):
    yield from _faults_of_object(value, dict.fromkeys(shape.required, shape.shape), path)
    for name, item in value.items():
        yield from _faults(item, shape.shape, f"{path}.{name}")


def _faults_of_object(value: Any, shape: dict, path: str):
    if not isinstance(value, dict):
        yield f"{path} is {_say(value)} but must be an object"
        return
    for key, inner in shape.items():
        if key not in value:
            yield f"{path}.{key} is missing but must be there"
        else:
            yield from _faults(value[key], inner, f"{path}.{key}")


def _faults_of_rounds(value: Any, shape: Rounds, path: str):
    yield from _faults_of_object(value, dict.fromkeys(shape.names, SAMPLES), path)
    counts = [len(value[name]) for name in shape.names]
    if len(set(counts)) > 1:
        found = ", ".join(f"{count} of {name}" for count, name in zip(counts, shape.names))
        yield f"{path} has samples {found} but must have as many of each"


def _say(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
