"""Lines of text, on standard output and standard error."""

from __future__ import annotations

import sys
from typing import TextIO

from ..core.printable import printable


def say(text: object, stream: TextIO | None = None) -> None:
    """One line, on standard output by default, whatever the text holds."""
    print(printable(text), file=stream or sys.stdout, flush=True)


def say_lines(text: str, stream: TextIO | None = None) -> None:
    """Each line of a text."""
    for line in text.split("\n"):
        say(line, stream)


def count(number: int, noun: str) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def note(text: object) -> None:
    """A line on standard error that matters even in a pipe."""
    say(f"tvm-reorder: note: {text}", sys.stderr)
