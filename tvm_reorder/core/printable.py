"""Names as a line can show them."""

from __future__ import annotations


def printable(value: object) -> str:
    r"""The text of a value with all that a terminal would not show written as an escape.

    Names, paths and messages come from models and users: a line break in one must not make two
    lines of it (``\n`` is shown), and an escape code must not colour what follows (``\x1b``).
    """
    return "".join(map(_show, str(value)))


def _show(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
