"""Timing in turns: the order, the number of figures, and how long a round is made."""

from tvm_reorder.core.turns import ROUND_MS, time_in_turns


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
    times = time_in_turns(runners, 3, lambda: steps.append(0))
    assert times == {name: [100.0] * 3 for name in "abc"} and len(steps) == 3
    assert "".join(name for name, _ in log) == "abc" + "abc" + "bca" + "cab"


def test_a_round_of_the_slowest_fills_the_clock_and_all_repeat_alike():
    log = []
    time_in_turns({"a": Recorder("a", 0.1, log), "b": Recorder("b", ROUND_MS / 4, log)}, 1)
    assert log == [("a", 1), ("b", 1), ("a", 4), ("b", 4)]
