"""The top of the page: the machine, and what the results say in a few sentences."""

from __future__ import annotations

from collections.abc import Iterable

from . import paper, peers, speedups
from .load import Document
from .section import Documents, Table, say_commit
from .shape import is_number


def summarise(documents: Documents) -> list[str]:
    """Sentences computed from the documents."""
    makers = (speedups.summarise, paper.summarise, peers.summarise)
    return [line for maker in makers for line in maker(documents)]


def describe_machine(documents: Iterable[Document]) -> Table:
    """Name and value of what is known of the machine; all values where documents differ."""
    machines = [document.machine for document in documents]
    facts: dict[str, dict[str, None]] = {}
    for machine in machines:
        for name, value in _facts_of(machine):
            facts.setdefault(name, {})[value] = None
    return [["machine", ""], *([name, "; ".join(values)] for name, values in facts.items())]


def _facts_of(machine: dict) -> Iterable[tuple[str, str]]:
    yield "processor", machine["processor"]
    yield "cores", str(machine["cores"])
    gpu = machine.get("gpu")
    for name, value in gpu.items() if isinstance(gpu, dict) else [("", gpu)] if gpu else []:
        yield f"GPU {name}".strip().replace("_", " "), str(value)
    if machine.get("python"):
        yield "Python", str(machine["python"])
    for name, value in _packages(machine).items():
        yield name, str(value)
    peak = machine.get("peak_gflops")
    if is_number(peak):
        yield "measured peak, GFLOP/s float32", f"{peak:.0f}"


def _packages(machine: dict) -> dict:
    packages = machine.get("packages")
    return packages if isinstance(packages, dict) else {}


def describe_document(document: Document) -> Table:
    """What else a section's figures depend on: versions, commits, date, options."""
    content, machine = document.content, document.machine
    versions = ", ".join(f"{name} {value}" for name, value in _packages(machine).items())
    facts = [
        ("date", content.get("date") or machine.get("date")),
        ("target", content.get("target")),
        ("seed", content.get("seed")),
        ("threads of TVM", machine.get("threads")),
        ("versions", f"Python {machine.get('python') or 'unknown'}, {versions}".rstrip(", ")),
        ("commit", say_commit(machine)),
        ("rows' commits", _say_row_commits(document)),
    ]
    return [["made by", ""], *([name, str(v)] for name, v in facts if v not in (None, ""))]


def _say_row_commits(document: Document) -> str:
    """Rows of one document may be of runs at different commits."""
    counts: dict[str, int] = {}
    lists = [value for value in document.content.values() if isinstance(value, list)]
    for row in (row for rows in lists for row in rows):
        if isinstance(row, dict) and row.get("commit"):
            counts[say_commit(row)] = counts.get(say_commit(row), 0) + 1
    return ", ".join(f"{commit} ({count})" for commit, count in counts.items())
