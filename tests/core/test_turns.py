"""Timing in turns: order, number of figures, length of a round, which rounds are kept."""

from itertools import count

from tvm_reorder.core.turns import ROUND_MS, read_waited_ns, time_in_turns


class Recorder:
    """A runner that takes a given time and writes down when it was called."""

    def __init__(self, name: str, milliseconds: float, log: list):
        self._name, self._milliseconds, self._log = name, milliseconds, log

    def milliseconds(self, number):
        self._log.append((self._name, number))
        return self._milliseconds


def test_each_comes_first_in_turn():
    log, steps = [], []
    runners = {name: Recorder(name, 100.0, log) for name in "abc"}
    times = time_in_turns(runners, 3, lambda: steps.append(0), lambda: 0)
    assert times == {name: [100.0] * 3 for name in "abc"} and len(steps) == 3
    assert "".join(name for name, _ in log) == "abc" + "abc" + "bca" + "cab"


def test_a_round_of_the_slowest_fills_the_clock_and_all_repeat_alike():
    log = []
    time_in_turns(
        {"a": Recorder("a", 0.1, log), "b": Recorder("b", ROUND_MS / 4, log)},
        1,
        waited_ns=lambda: 0,
    )
    assert log == [("a", 1), ("b", 1), ("a", 4), ("b", 4)]


class Waiting:
    """Nanoseconds waited so far, asked before and after each round; the warm-up asks nothing."""

    def __init__(self, by_round: list[int]):
        self._added = [waited for each in by_round for waited in (0, each)]
        self._total = 0

    def __call__(self) -> int:
        self._total += self._added.pop(0)
        return self._total


class Numbered:
    """A runner whose times are 0, 1, 2, ... so that a round can be told by its time."""

    def __init__(self):
        self._next = count(-1)  # the first call warms up

    def milliseconds(self, number):
        return float(next(self._next))


LONG = 10**15  # ns, more than any round lasts


def test_disturbed_rounds_are_timed_again_and_dropped():
    steps = []
    waiting = Waiting([0, LONG, 0, LONG, 0])
    times = time_in_turns({"a": Numbered()}, 3, lambda: steps.append(0), waiting)
    assert times == {"a": [0.0, 2.0, 4.0]} and len(steps) == 3
    assert times.describe() == {"run": 5, "kept": 3, "quiet": 3}


def test_on_a_busy_machine_the_least_disturbed_rounds_are_kept():
    steps = []
    waiting = Waiting([LONG**5, LONG, 0, LONG**6, LONG**3, LONG**7])
    times = time_in_turns({"a": Numbered()}, 3, lambda: steps.append(0), waiting)
    assert times == {"a": [1.0, 2.0, 4.0]} and len(steps) == 3
    assert times.describe() == {"run": 6, "kept": 3, "quiet": 1}


def test_waiting_is_counted_and_never_falls():
    first = read_waited_ns()
    assert 0 <= first <= read_waited_ns()
