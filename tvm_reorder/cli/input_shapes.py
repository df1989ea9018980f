"""``--input-shapes``: tvmc's syntax, and any name in quotes.

::

    name:[1,3,224,224] other:0:[1,8]     as for tvmc
    "my input":[1,8] 'its "twin"':[1,8]  with spaces, quotes, brackets

A name in double quotes is a JSON string, one in single quotes is taken as it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from .errors import UsageError

_ITEM = re.compile(
    r"""(?:(?P<json>"(?:[^"\\]|\\.)*")|'(?P<plain>[^']*)'|(?P<bare>[^\s,;"'].*?))"""
    r"""\s*:\s*\[\s*(?P<sizes>-?\d+(?:\s*,\s*-?\d+)*)\s*\](?:[\s,;]+|$)""",
    re.DOTALL,
)
_BARE = re.compile(r"[\w./:-]+")


def parse_shapes(text: str) -> dict[str, list[int | None]]:
    """Shapes by name; None for a size that is not fixed.

    Raises
    ------
    UsageError
        If the text is not all names and shapes.
    """
    shapes, end, text = {}, 0, text.strip()
    while end < len(text) or not shapes:
        match = _ITEM.match(text, end)
        if match is None:
            raise UsageError(
                f"--input-shapes is {text!r} but must be like 'name:[1,3,224,224] other:[1,8]', "
                "names with spaces or quotes in double quotes"
            )
        sizes = [int(size) for size in match["sizes"].split(",")]
        shapes[_read_name(match)] = [size if size > 0 else None for size in sizes]
        end = match.end()
    return shapes


def show_shape(name: str, sizes: Sequence[int]) -> str:
    """One shape as `parse_shapes` reads it."""
    return f"{_quote(name)}:[{','.join(map(str, sizes))}]"


def _read_name(match: re.Match) -> str:
    if match["json"] is None:
        return match["bare"] if match["plain"] is None else match["plain"]
    try:
        return json.loads(match["json"])
    except ValueError as error:
        given = match["json"]
        raise UsageError(f"--input-shapes names {given} but must have a JSON string") from error


def _quote(name: str) -> str:
    if _BARE.fullmatch(name):
        return name
    return json.dumps(name, ensure_ascii=not name.isprintable()).replace("\x7f", r"\u007f")
