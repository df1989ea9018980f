"""Directions of functions of one x, piece by piece of the numbers.

Identity
    A function that moves one way on each of some neighbouring pieces, and from each piece's last
    number to the next one's first, moves on all of them as these moves do one after the other:
    rising behind falling is a valley, rising behind rising rises, falling behind rising is a hill.

Where the pieces end
    At 0, where relu and abs turn, and at the numbers that x is compared with; each of these is a
    piece of its own.  On a piece every comparison of x is true or false throughout, so ``where``
    is one of its operands there and a cast from bool is 0 or 1.

On a piece
    * What has one certain value over all of it (``enclosure.py``) is constant; so is what goes one
      way and has the same certain value at both ends.
    * x, -x and 0 are what abs, relu and a negation make of x; so are their sums and differences,
      like x - |x| above 0.
    * A product with a constant of a known sign moves as the other factor does, or against it.
    * Everything else moves as its parts say, on all numbers (``joins.py``).

    So relu(x) + a relu(-x), PReLU written out, is a valley for a >= 0 and rises for a <= 0;
    x * (x > a), ONNX's ThresholdedRelu, rises for a >= 0 and is a valley below.

Side conditions
    Every part is exact: a function that strays by some ulp may jump the wrong way anywhere.  From
    piece to piece the order of two results has to be certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from .enclosure import FLOATS, Enclosure, cast, choose, enclose, is_integer
from .intervals import everything
from .joins import (
    CONSTANT,
    FALLING,
    JOINS,
    OTHER,
    RISING,
    TURNED,
    VALLEY,
    join_channels,
    join_maps,
)
from .monotone import (
    Direction,
    MonotoneMap,
    collapse,
    compose,
    compose_directions,
    pair_channels,
)

COMPARISONS = {
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
}
# Operators of which NumPy's functions are known, not how they move.
FUNCTIONS = {
    **JOINS,
    **COMPARISONS,
    "where": choose,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
}
_FACTORS = {"abs": (1, -1), "nn.relu": (1, 0), "negative": (-1, -1)}  # from 0 on, and up to 0
_MOVES = {-1: FALLING, 0: CONSTANT, 1: RISING}  # of a multiple of x
_MOST_CUTS = 8


@dataclass(frozen=True)
class Part:
    """One operator of a function of x.

    Parameters
    ----------
    name : str
        The operator.
    operands : tuple
        Numbers of earlier parts, x being number 0, or constants.
    step : MonotoneMap or None
        The operator as a map of its only operand that varies; None if it is none.
    dtype : str
        Dtype of its result.
    """

    name: str
    operands: tuple[int | np.ndarray, ...]
    step: MonotoneMap | None
    dtype: str

    @property
    def function(self):
        """The operator on NumPy arrays or enclosures; None if there is none here."""
        if self.name == "cast":
            return lambda x: cast(x, self.dtype)
        return FUNCTIONS.get(self.name)

    def __call__(self, values: Sequence):
        """Its result, from those of x and of the parts before it."""
        if self.step is not None:
            (source,) = self.operands
            return self.step.evaluate(values[source])
        return self.function(*(values[n] if isinstance(n, int) else n for n in self.operands))

    @property
    def can_evaluate(self) -> bool:
        """True if it can be called."""
        return self.function is not None if self.step is None else self.step.evaluate is not None


X = MonotoneMap("x", (RISING,), 0, lambda x: x)


def describe_parts(
    parts: Sequence[Part], dtype: str, plane_shape: tuple[int, ...]
) -> tuple[MonotoneMap, ...]:
    """Each part as a map of x; the last one is the function, by pieces where nothing else helps.

    Parameters
    ----------
    parts : sequence of Part
        The operators, in order of execution.
    dtype : str
        Dtype of x.
    plane_shape : tuple of int
        The tensor's shape with 1 along the window; one element for each entry of the maps'
        directions, where these differ by channel.
    """
    maps = [X]
    for count, part in enumerate(parts, 1):
        maps.append(_describe(part, maps, _make_evaluate(parts[:count])))
    whole = maps[-1]
    if OTHER in whole.directions and whole.worst_ulp == 0:
        by_piece = _find_directions(parts, dtype, plane_shape)
        if by_piece is not None:
            pairs = pair_channels(whole.directions, by_piece)
            better = tuple(piece if plain is OTHER else plain for plain, piece in pairs)
            maps[-1] = replace(whole, directions=collapse(better))
    return tuple(maps[1:])


def _describe(part: Part, maps: Sequence[MonotoneMap], evaluate) -> MonotoneMap:
    """What the parts of a part say of it on all numbers."""
    varying = [maps[n] for n in part.operands if isinstance(n, int)]
    if part.step is not None:
        return compose(part.step, *varying)
    if part.name in JOINS and len(varying) == len(part.operands) == 2:
        return replace(join_maps(part.name, *varying), evaluate=evaluate)
    ulps = {step.worst_ulp for step in varying}
    is_exact = part.can_evaluate and ulps <= {0}
    direction = OTHER if varying else CONSTANT
    return MonotoneMap(part.name, (direction,), 0 if is_exact else None, evaluate)


def _make_evaluate(parts: Sequence[Part]):
    if not all(part.can_evaluate for part in parts):
        return None
    return lambda x: _evaluate(parts, x)[-1]


def _evaluate(parts: Sequence[Part], x) -> list:
    """Values of x and of every part."""
    values = [x]
    for part in parts:
        values.append(part(values))
    return values


def _find_directions(parts, dtype: str, plane_shape) -> tuple[Direction, ...] | None:
    """Directions of the last part by pieces; None if it cannot be evaluated on them."""
    cuts = _find_cuts(parts, dtype)
    if cuts is None or not all(part.can_evaluate for part in parts):
        return None
    pieces = _make_pieces(cuts, dtype)
    try:
        with np.errstate(all="ignore"):
            shape = _find_shape(parts, dtype, plane_shape)
            found = [_Piece(parts, piece, dtype, shape) for piece in pieces]
    except (TypeError, ValueError, OverflowError):
        return None
    moves = [found[0].directions]
    for before, behind in zip(found, found[1:]):
        moves += [_compare(before.last, behind.first), behind.directions]
    count = max(map(len, moves))
    channels = [move * (count // len(move)) for move in moves]
    return tuple(reduce(glue_directions, line) for line in zip(*channels))


def _find_shape(parts: Sequence[Part], dtype: str, plane_shape) -> tuple[int, ...]:
    """The smallest shape that shows all channels: of one number where they are all alike."""
    single = (1,) * len(plane_shape)
    values = _evaluate(parts, enclose(np.zeros(single, object), dtype))
    steps = [part.step for part in parts if part.step is not None]
    is_same = all(len(step.directions) == 1 for step in steps)
    return single if is_same and all(x.low.size == 1 for x in values) else plane_shape


def _find_cuts(parts: Sequence[Part], dtype: str) -> list[float] | None:
    """0 and the numbers that x is compared with; None if they are too many, or not followed."""
    if dtype not in FLOATS and not is_integer(dtype):
        return None
    cuts = {0}
    for part in parts:
        others = [n for n in part.operands if not isinstance(n, int)]
        if part.name in COMPARISONS and _takes_x(part) and len(others) == 1:
            cuts.update(np.unique(others[0]).tolist())
    least, greatest = everything(dtype)
    inside = sorted(cut for cut in cuts if least < cut < greatest)
    return inside if len(inside) <= _MOST_CUTS else None


def _takes_x(part: Part) -> bool:
    """True if the part takes x itself, part number 0."""
    return any(isinstance(operand, int) and operand == 0 for operand in part.operands)


def _make_pieces(cuts: Sequence[float], dtype: str) -> list[tuple]:
    """The dtype's numbers in order: below a cut, the cut, above it, and so on."""
    least, greatest = everything(dtype)
    pieces, start = [], least
    for cut in cuts:
        below, above = _neighbours(cut, dtype)
        pieces += [(start, below)] * bool(start <= below) + [(cut, cut)]
        start = above
    return pieces + [(start, greatest)] * bool(start <= greatest)


def _neighbours(number: float, dtype: str) -> tuple[float, float]:
    if is_integer(dtype):
        return number - 1, number + 1
    value = np.dtype(dtype).type(number)
    down, up = (float(np.nextafter(value, value.dtype.type(s * np.inf))) for s in (-1, 1))
    return down, up


class _Piece:
    """The parts on one piece, for each channel.

    Parameters
    ----------
    parts : sequence of Part
        The operators.
    ends : tuple of two numbers
        The piece's first and last number.
    dtype : str
        Dtype of x.
    plane_shape : tuple of int
        As for `describe_parts`.

    Attributes
    ----------
    directions : tuple of Direction
        How the last part moves on it.
    first, last : Enclosure
        Its results at the ends.
    """

    def __init__(self, parts, ends, dtype: str, plane_shape):
        low, high = (np.full(plane_shape, end, object) for end in ends)
        self._over = _evaluate(parts, enclose(low, dtype, high))
        self._first, self._last = (_evaluate(parts, enclose(e, dtype)) for e in (low, high))
        known = [(CONSTANT,) if ends[0] == ends[1] else (RISING,)]
        multiples: list[int | None] = [1]
        for number, part in enumerate(parts, 1):
            multiples.append(self._find_multiple(part, multiples))
            is_known = multiples[-1] is not None
            moves = (_MOVES[multiples[-1]],) if is_known else self._move(part, known)
            known.append(self._settle(number, moves))
        self.directions = known[-1]
        self.first, self.last = (values[-1].stored() for values in (self._first, self._last))

    def _find_multiple(self, part: Part, multiples: Sequence[int | None]) -> int | None:
        """The m for which the part is m times x all over the piece: -1, 0 or 1, if any is.

        Exactly, but for x - x at an infinity, which is NaN.
        """
        found = [multiples[n] if isinstance(n, int) else None for n in part.operands]
        if None in found:
            return None
        if len(found) == 2 and part.name in ("add", "subtract"):
            total = found[0] + found[1] if part.name == "add" else found[0] - found[1]
            return total if abs(total) <= 1 else None
        if part.name not in _FACTORS:
            return None
        above, below = _FACTORS[part.name]
        value = self._over[part.operands[0]]
        if above == below or np.all(value.low >= 0):
            return above * found[0]
        return below * found[0] if np.all(value.high <= 0) else None

    def _move(self, part: Part, known) -> tuple[Direction, ...]:
        varying = [known[n] for n in part.operands if isinstance(n, int)]
        if part.step is not None:
            pairs = pair_channels(part.step.directions, *varying)
            return tuple(compose_directions(*pair) for pair in pairs)
        if part.name == "where":
            return self._choose(part, known)
        if part.name not in JOINS or len(varying) != 2:
            return (OTHER,)
        if part.name != "multiply":
            return join_channels(part.name, *varying)
        products = [self._scale(*part.operands, known), self._scale(*part.operands[::-1], known)]
        pairs = pair_channels(*products)
        return tuple(right if left is OTHER else left for left, right in pairs)

    def _scale(self, factor: int, other: int, known) -> tuple[Direction, ...]:
        """A part times what has one certain sign."""
        value = self._over[factor]
        signs = np.where(value.low == value.high, np.sign(np.asarray(value.low, float)), np.nan)
        turns = {1.0: lambda d: d, -1.0: lambda d: TURNED.get(d, OTHER), 0.0: lambda d: CONSTANT}
        pairs = pair_channels(tuple(signs.ravel().tolist()), known[other])
        return tuple(turns.get(sign, lambda d: OTHER)(direction) for sign, direction in pairs)

    def _choose(self, part: Part, known) -> tuple[Direction, ...]:
        """Whichever operand of ``where`` counts."""
        condition, *branches = part.operands
        if not isinstance(condition, int):
            return (OTHER,)
        truth = self._over[condition]
        sides = [known[n] if isinstance(n, int) else (CONSTANT,) for n in branches]
        certain = np.where(truth.low == truth.high, truth.low, np.nan).ravel().tolist()
        first, second = ([d for _, d in pair_channels(certain, side)] for side in sides)
        picked = zip(*np.broadcast_arrays(certain, first, second))
        return tuple({1.0: one, 0.0: other}.get(truth, OTHER) for truth, one, other in picked)

    def _settle(self, number: int, directions) -> tuple[Direction, ...]:
        """The directions, constant where the part stays the same."""
        over, first, last = (values[number] for values in (self._over, self._first, self._last))
        certain = over.low == over.high
        same = first.is_certain & last.is_certain & (first.low == last.low)
        stays = list(
            zip(*(np.asarray(a).ravel().tolist() for a in np.broadcast_arrays(certain, same)))
        )
        return collapse(
            tuple(
                CONSTANT if is_one or (is_same and direction in TURNED) else direction
                for (is_one, is_same), direction in pair_channels(stays, directions)
            )
        )


def _compare(before: Enclosure, behind: Enclosure) -> tuple[Direction, ...]:
    """How a function moves from one number to the next, as far as that is certain."""
    nan = np.asarray(before.nan, bool) | np.asarray(behind.nan, bool)
    rises = np.asarray(before.high <= behind.low, bool) & ~nan
    falls = np.asarray(before.low >= behind.high, bool) & ~nan
    table = {(True, True): CONSTANT, (True, False): RISING, (False, True): FALLING}
    pairs = zip(rises.ravel().tolist(), falls.ravel().tolist())
    return tuple(table.get(pair, OTHER) for pair in pairs)


def glue_directions(below: Direction, above: Direction) -> Direction:
    """Direction of a map that moves one way up to some point and another way from there on."""
    if CONSTANT in (below, above) or below is above is not VALLEY:
        return above if below is CONSTANT else below
    rises = above is RISING and below in (FALLING, VALLEY)
    falls = below is FALLING and above in (RISING, VALLEY)
    return VALLEY if rises or falls else OTHER
