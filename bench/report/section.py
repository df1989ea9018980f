"""What a page is made of: sections, each with charts and tables of plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .load import Document
from .numbers import say_count

Documents = Mapping[str, Document]
Table = list[list[str]]


@dataclass(frozen=True)
class Part:
    """A chart, a table, or both.

    Parameters
    ----------
    title : str
        What is shown; honest about which side is better.
    caption : str
        How to read it: what the marks are, which quartiles.
    table : list of list of str
        Header first, then rows.
    chart : str
        An ``<svg>`` element, or empty.
    folded : bool
        Whether the table is shown only on demand.
    """

    title: str
    caption: str
    table: Table
    chart: str = ""
    folded: bool = True


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Parameters
    ----------
    stem : str
        The document that it is made of.
    title, says : str
        A heading, and one sentence on what is shown.
    command : str
        What to run where there is no such document.
    parts : tuple of Part
        None if there is nothing to show.
    """

    stem: str
    title: str
    says: str
    command: str
    parts: tuple[Part, ...] = ()


def rows_of(documents: Documents, stem: str, name: str = "rows") -> list[dict]:
    """Rows of a document's list; none if there is no such document."""
    return documents[stem].rows(name) if stem in documents else []


def say_setting(row: dict) -> str:
    """Batch and threads of a row."""
    return f"batch {row['batch']}, {say_count(row['threads'], 'thread')}"


def say_target(row: dict) -> str:
    """The kind of a row's target: llvm, cuda."""
    words = str(row.get("target") or "").split()
    return words[0] if words else "no target"


def say_commit(row: dict) -> str:
    """The commit that a row was measured at, short; a dash if it is not known."""
    commit, plus, changes = str(row.get("commit") or "-").partition("+")
    return commit[:12] + plus + changes


def tabulate_plain(rows: Sequence[dict]) -> Table:
    """All fields of rows that hold texts, numbers or lists of these, as they are."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    header = [key.replace("_", " ") for key in keys]
    return [header, *([_say(row.get(key)) for key in keys] for row in rows)]


def _say(value) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case list():
            return ", ".join(map(_say, value))
        case dict():
            return ", ".join(f"{key} {_say(item)}" for key, item in value.items())
    return str(value)
