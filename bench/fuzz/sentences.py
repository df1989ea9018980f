"""The grammar of random graphs: what stands where before a pool, and behind it.

    graph  = [producer] stage [stage] [behind]
    stage  = [fork [movement]] [front] [{movement} [front]] [let] [side] [pad] pool [let]
    front  = one of `_FRONTS`, what stands before a pool; now and then between two transpositions
    behind = one of `_BEHINDS`, what stands behind it

Steps are drawn alone and as phrases: a cast and the cast back, a product and a sum, numbers that a
step keeps and a padding with that number.  Phrases are what a table of single steps seldom gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from .steps import (
    ARITHMETIC,
    AVERAGES,
    CONSUMING,
    ELEMENTWISE,
    KINDS,
    MOVEMENT,
    PADS,
    POOLS,
    PRODUCING,
    Kind,
    Step,
    draw_kind,
)
from .steps.pooling import draw_padding
from .value import is_float, is_integer

_MOST_COPIES = 8  # of a value in one kernel's expression; it takes long to compile
_NARROW = ("float16", "int8", "uint8", "int32", "bool", "int16", "bfloat16", "uint16", "int64")
_ROUNDINGS = ("floor", "ceil", "round", "trunc")


class Writer:
    """Draws the steps of one graph.

    Parameters
    ----------
    random : Random
        The graph's.
    dtype : str
        Of what comes in.
    has_producer : bool
        Whether convolutions and dense layers are drawn too.
    may_follow : bool
        Whether there may be steps behind a pool.
    """

    def __init__(self, random: Random, dtype: str, has_producer: bool, may_follow: bool):
        self.random = random
        self.has_producer = has_producer
        self.may_follow = may_follow
        self._dtype = dtype
        self._copies = 1
        self._steps: list[Step] = []
        self._stage = 0  # where the steps before the next pool begin
        self._owed: list[Step] = []  # stand right behind the next pool

    def write(self) -> list[Step]:
        """All steps of a graph."""
        if self.has_producer and self._is(0.9):
            self._draw(PRODUCING)
        if is_integer(self._dtype) and self._is(0.6):
            self._add(["clip", {"bounds": [-20, 20]}])  # or nearly everything may overflow
        stages = 2 if self.may_follow and self._is(0.2) else 1
        for number in range(stages):
            self._write_stage(is_bare=number > 0 and self._is(0.3))
        if self.may_follow and self._is(0.45):
            self._choose(_BEHINDS)(self)
        return self._steps

    # --- the parts of a stage --------------------------------------------------------------------

    def _write_stage(self, is_bare: bool) -> None:
        """Up to a pool and what it owes; a pool of a pool has nothing before it."""
        self._stage = len(self._steps)
        if not is_bare:
            if self._is(0.2):
                self._choose(_FORKS)(self)
                if self._is(0.25):
                    self._draw(MOVEMENT)
            if not self._steps or self._is(0.9):
                before = len(self._steps)
                self._choose(_FRONTS)(self)
                if self._is(0.08):
                    self._detour(before)
            if self._is(0.25):
                self._move()
                if self._is(0.4):
                    self._choose(_FRONTS)(self)
        if self._is(0.05):
            self._add(["let", {}])
        if self._is(0.05):
            self._choose(_SIDES)(self)
        is_padded = self._is(0.25)
        if is_padded:
            self._pad()
        if self.may_follow and self._is(0.03):
            self._draw(AVERAGES)
        self._draw(POOLS)
        if is_padded and self._is(0.5):
            self._pad_pool()
        owed, self._owed = self._owed, []
        if self._is(0.03):
            self._add(["let", {}])
        for step in owed if self.may_follow else ():
            self._add(step)

    def _detour(self, first: int) -> None:
        """The last steps between a transposition and the one back."""
        inside, order = self._steps[first:], self.random.randint(0, 119)
        self._steps[first:] = [["detour", {"order": order, "branches": [inside]}]]

    def _move(self) -> None:
        """A move or several, often of one kind: they may undo one another."""
        self._draw(MOVEMENT)
        while self._is(0.35):
            name = self._steps[-1][0]
            if name in MOVEMENT and self._is(0.5):
                self._draw_named(name)
            else:
                self._draw(MOVEMENT)

    def _pad(self) -> None:
        """A padding, at times with a number of the steps above it."""
        if not PADS["nn.pad"].takes(self._dtype):
            return
        self._draw(PADS)
        numbers = list(_find_numbers(self._steps[self._stage : -1]))
        parameters = self._steps[-1][1]
        if numbers and "value" in parameters and self._is(0.3):
            parameters["value"] = self.random.choice(numbers)

    def _pad_pool(self) -> None:
        """A padding of the pool's own behind an explicit one."""
        name, parameters = self._steps[-1]
        if name == "max_pool":
            parameters |= draw_padding(self.random, parameters["kernel"])
            parameters["ceil_mode"] = self._is(0.5)

    # --- what stands before a pool ---------------------------------------------------------------

    def some_steps(self) -> None:
        """One to three steps of any kind."""
        for _ in range(self.random.randint(1, 3)):
            self._draw(ELEMENTWISE)

    def product_and_sum(self) -> None:
        """An activation, a product and a sum: LLVM may round the two once."""
        if self._is(0.7):
            self._draw(ELEMENTWISE)
        for name in ("multiply", self.random.choice(("add", "subtract", "add", "nn.bias_add"))):
            self._draw_named(name)

    def split_product(self) -> None:
        """A product before the pool, a sum behind it."""
        self.some_steps()
        self._draw_named("multiply")
        if KINDS["add"].takes(self._dtype):
            self._owed.append(["add", KINDS["add"].draw(self.random, self._dtype)])

    def cast_and_back(self) -> None:
        """A clip and a cast, with a cast back behind the pool."""
        if self._is(0.7):
            self._draw(ELEMENTWISE)
        bounds = self.random.choice(([-100.0, 80.0], [0.0, 6.0], [-1.0, 1.0], [0.0, 200.0]))
        dtype = self._dtype
        if KINDS["clip"].takes(dtype) and self._is(0.8):
            self._add(["clip", {"bounds": bounds}])
        others = [each for each in _NARROW if each != dtype]
        self._add(["cast", {"dtype": self.random.choice(others)}])
        if self._is(0.2):
            self._draw(ELEMENTWISE)
        self._owed.append(["cast", {"dtype": dtype}])

    def keep_number(self) -> None:
        """Steps that on paper give v for v, and a padding with v."""
        if not is_float(self._dtype):
            return self.some_steps()
        divisor = float(self.random.choice((3, 7, 11, 13, 41, 49, 10, 0.1, 0.3)))
        number = divisor * self.random.randint(1, 5)
        for step in self.random.choice(_KEEPERS)(number, divisor, self.random):
            self._add(step)
        self._draw(PADS)
        self._steps[-1][1].pop("mode", None)
        self._steps[-1][1]["value"] = number

    def maps_of_one_value(self) -> None:
        """Two maps of the same value, added, compared or multiplied."""
        if not is_float(self._dtype):
            return self.some_steps()
        branches = [self._branch(self.random.randint(0, 2)) for _ in range(2)]
        self._fork(branches, join=self.random.choice(ARITHMETIC))

    # --- branches --------------------------------------------------------------------------------

    def concatenate(self) -> None:
        """Two or three branches, often with the same steps at their ends."""
        count = self.random.choice((2, 2, 2, 3))
        same = self._branch(self.random.randint(1, 2)) if self._is(0.6) else []
        branches = []
        for _ in range(count):
            produced = self._produce() if self.has_producer and self._is(0.7) else []
            for step in produced:
                step[1].pop("filters", None)  # as many channels on each branch
            branches.append(produced + (same or self._branch(self.random.randint(0, 2))))
        axis = {} if self._is(0.6) else {"axis": self.random.randint(0, 4)}
        if axis and self._is(0.3):
            axis["from_end"] = True
        self._fork(branches, join="concatenate", **axis)

    def stack(self) -> None:
        """Branches side by side along an axis of their own."""
        branches = [self._branch(self.random.randint(0, 2)) for _ in range(2)]
        self._fork(branches, join="stack", axis=self.random.randint(0, 4))

    def join_pools(self) -> None:
        """Pools of some branches, concatenated or compared: a pool of pools follows."""
        if not self.may_follow:
            return
        pool, join = draw_kind(self.random, POOLS, self._dtype), "concatenate"
        if self._dtype != "bool" and self._is(0.3):
            join = self.random.choice(("maximum", "add"))
        same = self._branch(1) if self._is(0.5) else []
        branches = [(same or self._branch(self.random.randint(0, 2))) + [pool] for _ in range(2)]
        self._fork(branches, join=join)

    def residual(self) -> None:
        """The value, or another input, added behind some steps."""
        if self._dtype == "bool":
            return
        other = [["input", {}]] if self._is(0.4) else []
        self._fork([self._branch(self.random.randint(1, 2)), other], join="add")

    def gate(self) -> None:
        """Squeeze and excitation: a factor for each channel, made of its average."""
        if not is_float(self._dtype):
            return
        gate = [["global_avg_pool", {}], ["sigmoid", {}]]
        self._fork([self._branch(self.random.randint(0, 1)), gate], join="multiply")

    def _branch(self, count: int) -> list[Step]:
        """Some steps that keep the dtype."""
        steps = []
        for _ in range(count):
            name, parameters = draw_kind(self.random, ELEMENTWISE, self._dtype)
            kind = ELEMENTWISE[name]
            fits = self._copies * kind.copies <= _MOST_COPIES
            if fits and kind.gives(parameters, self._dtype) == self._dtype:
                steps.append([name, parameters])
                self._copies *= kind.copies
        return steps

    def _produce(self) -> list[Step]:
        fitting = [k for k in PRODUCING.values() if k.takes(self._dtype)]
        if not fitting or self._dtype in ("int8", "uint8"):
            return []
        return [draw_kind(self.random, PRODUCING, self._dtype)]

    def _fork(self, branches: list[list[Step]], **parameters) -> None:
        self._copies *= 1 if parameters["join"] in ("concatenate", "stack") else 2
        self._steps.append(["fork", {"branches": branches, **parameters}])

    # --- another user ----------------------------------------------------------------------------

    def side_value(self) -> None:
        """The value is a result too."""
        self._add(["side", {}])

    def side_steps(self) -> None:
        """Something else is computed of the value."""
        self._add(["side", {"steps": self._branch(1)}])

    def side_pool(self) -> None:
        """Another pool reads the value."""
        self._add(["side", {"steps": [draw_kind(self.random, POOLS, "float32")]}])

    # --- what stands behind a pool ---------------------------------------------------------------

    def sum_behind(self) -> None:
        """A sum right behind the pool."""
        self._draw_named("add")

    def reader_of_zeros(self) -> None:
        """What tells the two zeros apart, or forgets which it was."""
        for _ in range(self.random.randint(1, 2)):
            if self._is(0.3) and is_float(self._dtype):
                readers = (["rsqrt", {}], ["power", {"constant": -1.0}])
                self._add(self.random.choice(readers))
            else:
                self._draw(CONSUMING)

    def reader_in_front(self) -> None:
        """A softmax, a mean or the like, and steps on it."""
        self._draw(CONSUMING)
        self.some_steps()

    def cast_behind(self) -> None:
        """Casts, one or two."""
        for _ in range(self.random.randint(1, 2)):
            self._draw_named("cast")

    def integers_behind(self) -> None:
        """A cast to integers, a product that may wrap, and what asks for its sign."""
        self._add(["cast", {"dtype": "int32"}])
        self._add(["multiply", {"constant": self.random.choice((3, 40_000, 2**24 - 1))}])
        readers = (
            ["right_shift", {"constant": 2}],
            ["nn.relu", {}],
            ["cast", {"dtype": "float32"}],
        )
        self._add(self.random.choice(readers))

    def movement_behind(self) -> None:
        """A reshape or the like."""
        self._draw(MOVEMENT)

    def producer_behind(self) -> None:
        """Another layer behind the pool, or steps where there are to be none."""
        name = self.random.choice(("dense", "dense", "convolution"))
        if self.has_producer and PRODUCING[name].takes(self._dtype):
            self._draw_named(name)
        else:
            self.some_steps()

    # --- drawing one step ------------------------------------------------------------------------

    def _is(self, share: float) -> bool:
        return self.random.random() < share

    def _choose(self, table: dict):
        return self.random.choices(list(table), list(table.values()))[0]

    def _draw(self, kinds: dict[str, Kind]) -> None:
        if any(kind.takes(self._dtype) for kind in kinds.values()):
            self._add(draw_kind(self.random, kinds, self._dtype))

    def _draw_named(self, name: str) -> None:
        if KINDS[name].takes(self._dtype):
            self._add([name, KINDS[name].draw(self.random, self._dtype)])

    def _add(self, step: Step) -> None:
        """One step more, unless it would make a kernel too large."""
        name, parameters = step
        kind = KINDS[name]
        if name in POOLS or name in PRODUCING:
            self._copies = 1
        if self._copies * kind.copies > _MOST_COPIES or not kind.takes(self._dtype):
            return
        self._copies *= kind.copies
        self._steps.append(step)
        self._dtype = kind.gives(parameters, self._dtype)


_FRONTS = {
    Writer.some_steps: 14,
    Writer.product_and_sum: 4,
    Writer.split_product: 2,
    Writer.cast_and_back: 4,
    Writer.keep_number: 2,
    Writer.maps_of_one_value: 3,
    Writer.reader_in_front: 1,
}
_FORKS = {Writer.concatenate: 5, Writer.stack: 1, Writer.join_pools: 2}
_FORKS |= {Writer.residual: 2, Writer.gate: 2}
_SIDES = {Writer.side_value: 1, Writer.side_steps: 1, Writer.side_pool: 1}
_BEHINDS = {
    Writer.some_steps: 5,
    Writer.sum_behind: 2,
    Writer.product_and_sum: 2,
    Writer.reader_of_zeros: 2,
    Writer.cast_behind: 2,
    Writer.integers_behind: 1,
    Writer.movement_behind: 1,
    Writer.producer_behind: 1,
}

# Steps that, with numbers of the real line, give v for v; d is a divisor of v.
_KEEPERS = (
    lambda v, d, r: [["divide", {"constant": d}], ["multiply", {"constant": d}]],
    lambda v, d, r: [["multiply", {"constant": d}], ["divide", {"constant": d}]],
    lambda v, d, r: [
        ["divide", {"constant": d}],
        [r.choice(_ROUNDINGS), {}],
        ["add", {"constant": v - round(v / d)}],
    ],
    lambda v, d, r: [["divide", {"constant": d}], ["add", {"constant": v - v / d}]],
    lambda v, d, r: [["add", {"constant": d}], ["subtract", {"constant": d}]],
    lambda v, d, r: [["nn.leaky_relu", {"alpha": 0.1}], ["minimum", {"constant": v}]],
    lambda v, d, r: [["tanh", {}], ["add", {"constant": v}], ["clip", {"bounds": [v, 2 * v]}]],
)


def _find_numbers(parts) -> Iterator[float]:
    """All numbers in some steps."""
    for part in parts.values() if isinstance(parts, dict) else parts:
        if isinstance(part, (dict, list)):
            yield from _find_numbers(part)
        elif isinstance(part, (int, float)) and not isinstance(part, bool):
            yield float(part)
