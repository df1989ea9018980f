"""Reads a folder of results; what cannot be used costs a line, the rest goes on.

A file that is no JSON, or has no command or machine, is left out whole; a row that lacks something
is left out alone.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_reorder.cli.errors import UsageError

from .documents import ROWS, WHOLE
from .shape import find_fault


@dataclass(frozen=True)
class Document:
    """One checked document.

    Parameters
    ----------
    stem : str
        The file's name without ``.json``.
    content : dict
        The document; only rows that fit are left in its lists.
    """

    stem: str
    content: dict

    @property
    def machine(self) -> dict:
        """The machine that it was made on."""
        return self.content["machine"]

    def rows(self, name: str = "rows") -> list[dict]:
        """Rows of one of the document's lists."""
        return self.content.get(name, [])


@dataclass(frozen=True)
class Folder:
    """What was found in a folder.

    Parameters
    ----------
    documents : tuple of Document
        What can be shown.
    problems : tuple of str
        A line for each thing that cannot.
    others : tuple of str
        Names of JSON files that the page has no section for.
    """

    documents: tuple[Document, ...]
    problems: tuple[str, ...]
    others: tuple[str, ...]


def read_folder(folder: Path) -> Folder:
    """Read and check all documents in a folder.

    Raises
    ------
    UsageError
        If there is no such folder, or nothing in it that can be shown; the problems found are
        lines of the message.
    """
    if not folder.is_dir():
        raise UsageError(f"folder {folder} is not there but must be a folder of results")
    paths = sorted(folder.glob("*.json"))
    known = [path for path in paths if path.stem in ROWS]
    if not known:
        names = ", ".join(f"{stem}.json" for stem in ROWS)
        raise UsageError(f"folder {folder} is without results but must hold one of {names}")
    documents, problems = [], []
    for path in known:
        try:
            document, lines = check_document(path.stem, _read(path))
        except UsageError as error:
            problems.append(str(error))
            continue
        documents.append(document)
        problems += lines
    if not documents:
        raise UsageError("\n".join([*problems, f"folder {folder} has no result that can be used"]))
    others = tuple(path.name for path in paths if path not in known)
    return Folder(tuple(documents), tuple(problems), others)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UsageError(
            f"{path.name} is no whole JSON: {error.msg} at {where}; left out"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path.name} is no text from byte {error.start} on; left out") from error
    except RecursionError as error:
        raise UsageError(f"{path.name} is nested too deeply; left out") from error
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror}; left out") from error


def check_document(stem: str, content: Any) -> tuple[Document, list[str]]:
    """Keep what fits of a document.

    Returns
    -------
    document : Document
        With the rows that fit.
    problems : list of str
        A line for each kind of fault, however many rows have it.

    Raises
    ------
    UsageError
        If the document has no command or machine, or its samples do not fit.
    """
    fault = find_fault(content, WHOLE[stem], f"{stem}.json")
    if fault:
        raise UsageError(f"{fault}; the file is left out")
    kept, problems = dict(content), []
    for name, shape in ROWS[stem].items():
        rows = content.get(name)
        if not isinstance(rows, list):
            state = "missing" if name not in content else "no list"
            problems.append(f"{stem}.json: {name} is {state} but must be a list of rows")
            rows = []
        faults = [find_fault(row, shape, f"{name}[{i}]") for i, row in enumerate(rows)]
        kept[name] = [row for row, fault in zip(rows, faults) if fault is None]
        problems += [f"{stem}.json: {line}" for line in _summarise(faults)]
    return Document(stem, kept), problems


def _summarise(faults: list[str | None]) -> Iterator[str]:
    """The first fault of each kind, and how many rows share it."""
    found = [fault for fault in faults if fault]
    kinds = [re.sub(r"\[\d+\]", "[]", fault) for fault in found]
    first = dict(zip(reversed(kinds), reversed(found)))
    for kind, count in Counter(kinds).items():
        rows = "the row is" if count == 1 else f"this and {count - 1} more such rows are"
        yield f"{first[kind]}; {rows} left out"
