"""Which machine a page is about: one page shows one machine's figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tvm_reorder.cli.errors import UsageError

from ..machine import name_machine
from .load import Document


def choose_machine(
    documents: Iterable[Document], wanted: str | None = None
) -> tuple[list[Document], list[str]]:
    """The documents of one machine.

    Parameters
    ----------
    documents : iterable of Document
        At least one.
    wanted : str, optional
        The machine's name, or a part of it that no other one's has; the machine of most documents
        by default.

    Returns
    -------
    chosen : list of Document
        Those of the machine.
    problems : list of str
        A line for each document of another machine, if none was asked for.

    Raises
    ------
    UsageError
        If the choice is not clear: as many documents of two machines, or `wanted` names none or
        several.
    """
    documents = list(documents)
    counts = Counter(name_machine(document.machine) for document in documents)
    name = _most(counts) if wanted is None else _find(counts, wanted)
    chosen = [document for document in documents if name_machine(document.machine) == name]
    if wanted is not None:
        return chosen, []
    return chosen, [
        f"{document.stem}.json is of machine '{name_machine(document.machine)}' but must be of "
        f"'{name}', as most are; left out (--machine chooses)"
        for document in documents
        if document not in chosen
    ]


def _most(counts: Counter) -> str:
    (name, most), *rest = counts.most_common()
    if rest and rest[0][1] == most:
        names = " and ".join(f"'{name}'" for name, count in counts.items() if count == most)
        raise UsageError(
            f"machine is {names}, with as many documents each, but must be one: choose with "
            "--machine NAME"
        )
    return name


def _find(counts: Counter, wanted: str) -> str:
    found = [name for name in counts if wanted.lower() in name.lower()]
    exact = [name for name in found if wanted.lower() == name.lower()]
    if len(exact or found) != 1:
        names = ", ".join(f"'{name}'" for name in counts)
        raise UsageError(f"--machine is {wanted!r} but must name one of {names}")
    return (exact or found)[0]
