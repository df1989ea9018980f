"""Long work in steps: a bar on a terminal, a line for each item elsewhere, an orderly Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from types import TracebackType

from .lines import note
from .output import Bar


class Steps:
    """Shows how far the work on some items has come; a context manager.

    Ctrl-C raises `KeyboardInterrupt` at the next step, not at once: TVM loses an exception that is
    raised while its C++ calls back into Python.  A second Ctrl-C does what it always does.

    Parameters
    ----------
    items : int
        How many there are.
    steps_each : int
        Steps of one item.

    Attributes
    ----------
    finished : int
        Items that are done.
    """

    def __init__(self, items: int, steps_each: int):
        self.finished = 0
        self._items, self._steps_each, self._begun = items, steps_each, 0
        self._is_interrupted = False
        self._previous = None
        self._bar = Bar(items * steps_each, sys.stderr)

    def __enter__(self) -> Steps:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._interrupt)
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def begin(self, name: str) -> None:
        """Say that an item is being worked on."""
        self._begun += 1
        self._bar.describe(f"{self._begun}/{self._items} {name}")
        self._bar.move_to((self._begun - 1) * self._steps_each)

    def advance(self) -> None:
        """Say that a step is done.

        Raises
        ------
        KeyboardInterrupt
            If there was a Ctrl-C since the last step.
        """
        if self._is_interrupted:
            raise KeyboardInterrupt
        self._bar.advance()

    def finish(self, text: str) -> None:
        """Say that the item begun last is done."""
        self.finished += 1
        text = f"{self._begun}/{self._items} {text}"
        self._bar.say(text) if self._bar.is_shown else note(text)

    def _interrupt(self, number, frame) -> None:
        if self._is_interrupted:
            raise KeyboardInterrupt
        self._is_interrupted = True
