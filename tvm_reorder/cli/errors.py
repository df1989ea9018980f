"""What a user did that cannot work, in one line."""

import re
from importlib import import_module


class UsageError(Exception):
    """A bad option or a bad input; the message is one line: the thing, what it is, what it must be.

    The command line prints it without a traceback and ends with status 2.
    """


# A line of a C++ backtrace.
_FRAME = re.compile(r'\d+: |Traceback \(most recent call last\):|File "')


def first_line(error: BaseException) -> str:
    """The line of an error's message that says what is wrong.

    TVM puts a C++ backtrace before its message, so the last paragraph counts, not the first.
    """
    message = str(error)
    if "Traceback (most recent call last)" in message:
        message = message.rpartition('  File "')[2].partition("\n")[2] or message
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    lines = [line for line in lines if not _FRAME.match(line)] or lines
    if len(lines) > 1 and "source maps are not populated" in lines[0]:
        # A type error: TVM says so first, and only then what is wrong.
        lines = [" ".join(lines[1:4])]
    return re.sub(r"^(\w*Error: )+", "", lines[0]) if lines else type(error).__name__


def require_relay() -> None:
    """Import TVM, which takes a second, and not before it is needed.

    Raises
    ------
    UsageError
        If there is no TVM with Relay; the message is one line with the mend.
    """
    try:
        import_module("tvm_reorder.relay")
    except ImportError as error:
        raise UsageError(str(error)) from error
