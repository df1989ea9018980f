"""Progress of a long search, and an orderly end when a signal asks for one."""

from __future__ import annotations

import signal
import threading
from typing import TextIO

from tvm_reorder.cli.output import Bar

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """A signal asked for an end; `status` is the exit status that says so."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Watch:
    """A bar on a terminal, a line a task elsewhere; a context manager.

    Ctrl-C and SIGTERM take effect at the next `check`, before the trial under way is logged: the
    same signal may have hit the processes that build and measure it, and an exception raised while
    TVM's C++ calls Python would be lost.  A second signal ends the process as it always does.

    Parameters
    ----------
    tasks : int
        How many tasks there are.
    trials : int
        Trials that are still to be made, all tasks together.
    stream : TextIO
        Where it shows.

    Attributes
    ----------
    made : int
        Trials made since the start.
    """

    def __init__(self, tasks: int, trials: int, stream: TextIO):
        self.made = 0
        self._tasks, self._begun, self._name = tasks, 0, ""
        self._trials_of_task, self._best_ms = 0, None
        self._number: int | None = None
        self._previous: dict = {}
        self._bar = Bar(trials, stream, counts=True)

    def __enter__(self) -> Watch:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous = {}

    def check(self) -> None:
        """End here if a signal has come.

        Raises
        ------
        Stopped
            Then.
        """
        if self._number is not None:
            raise Stopped(self._number)

    def begin(self, name: str, best_ms: float | None) -> None:
        """Say which task comes, and the best time that is known of it."""
        self._begun += 1
        self._name, self._best_ms, self._trials_of_task = name, best_ms, 0
        self._describe()

    def add_trial(self, time_ms: float | None) -> None:
        """Say that a trial is in the log; its time is None if it failed."""
        self.made += 1
        self._trials_of_task += 1
        if time_ms is not None:
            self._best_ms = time_ms if self._best_ms is None else min(self._best_ms, time_ms)
        self._bar.advance()
        self._describe()

    def finish(self) -> None:
        """Say what has become of the task begun last."""
        made = f"made {self._trials_of_task}" if self._trials_of_task else "has its trials"
        self.note(f"{self._title()}: {made}, best {self._say_best()}")

    def note(self, text: str) -> None:
        """A line that stays."""
        self._bar.say(text)

    def _describe(self) -> None:
        name = self._title() if len(self._title()) <= 48 else self._title()[:47] + "…"
        self._bar.describe(f"{name}, best {self._say_best()}")

    def _title(self) -> str:
        return f"{self._begun} of {self._tasks}, {self._name}"

    def _say_best(self) -> str:
        return "-" if self._best_ms is None else f"{self._best_ms:.4g} ms"

    def _stop(self, number, frame) -> None:
        if self._number is not None:
            raise Stopped(number)
        self._number = number
        self.note(f"{signal.Signals(number).name}: ending after the trial under way")
