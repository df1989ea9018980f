"""The page: one HTML file with its own style and charts, nothing fetched from anywhere.

All text goes through `html.escape`; charts are SVG whose letters are drawn, not written.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..machine import name_machine
from . import costs, decisions, directions, paper, peers, speedups, tuned, world
from .load import Document
from .section import Documents, Part, Section, Table, say_commit
from .style import GREY
from .summary import describe_document, describe_machine, summarise

_MAKERS = (
    speedups.make_section,
    paper.make_section,
    tuned.make_section,
    peers.make_section,
    world.make_section,
    decisions.make_section,
    directions.make_section,
    costs.make_activations,
    costs.make_pass_time,
)

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1b1b; --line: GREY; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e8e6e3; } }
* { box-sizing: border-box; }
body { background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
  margin: 0 auto; max-width: 46rem; padding: 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { font-size: 1.3rem; border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 0.3rem; }
a { color: inherit; }
code { overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: 0 1.2rem; list-style: none; padding: 0; }
figure { margin: 0.6rem 0; break-inside: avoid; }
figure svg { display: block; width: 100%; max-width: 38rem; height: auto; }
figcaption, .source, .missing { font-size: 0.875rem; opacity: 0.85; }
.missing { border-left: 4px solid var(--line); padding-left: 0.7rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.8125rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: 0.2rem 0.6rem 0.2rem 0; text-align: left;
  vertical-align: top; }
.numbers td { white-space: nowrap; }
.numbers td.long { white-space: normal; min-width: 16rem; }
.facts th { font-weight: normal; white-space: nowrap; opacity: 0.75; }
.facts td { overflow-wrap: anywhere; }
summary { cursor: pointer; font-size: 0.875rem; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  figure svg { max-width: 12cm; max-height: 22cm; }
  .wide { overflow: visible; }
  .numbers td { white-space: normal; }
}
""".replace("GREY", GREY)
_LONG = 36  # letters; longer cells of a table may wrap


def make_page(
    documents: Sequence[Document], problems: Sequence[str] = (), others: Sequence[str] = ()
) -> tuple[str, list[Section]]:
    """The page of one machine's documents.

    Parameters
    ----------
    documents : sequence of Document
        All of one machine, at least one.
    problems : sequence of str
        Lines on what could not be used.
    others : sequence of str
        Files that the page has no section for.

    Returns
    -------
    page : str
        HTML.
    sections : list of Section
        What is in it.
    """
    known = {document.stem: document for document in documents}
    sections = [make(known) for make in _MAKERS]
    machine = name_machine(documents[0].machine)
    title = f"Activations behind max pooling: results on {machine}"
    body = [
        _element("h1", escape(title)),
        _list(summarise(known)),
        _list([f"Left out: {line}" for line in problems], "missing"),
        _facts(describe_machine(documents)),
        _contents(sections),
        *(_section(section, known) for section in sections),
    ]
    if others:
        body.append(_paragraph(f"Files without a section: {', '.join(others)}.", "source"))
    head = (
        '<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{_element('title', escape(title))}\n{_element('style', _STYLE)}"
    )
    html = f'<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{_join(body)}\n</body>\n</html>'
    return f"<!DOCTYPE html>\n{html}\n", sections


def _join(parts: Sequence[str]) -> str:
    return "\n".join(part for part in parts if part)


def _element(tag: str, content: str, kind: str = "") -> str:
    """An element around HTML; texts must have been escaped."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<{tag}{attribute}>{content}</{tag}>"


def _paragraph(text: str, kind: str = "") -> str:
    return _element("p", escape(text), kind)


def _list(lines: Sequence[str], kind: str = "") -> str:
    items = _join([_element("li", escape(line)) for line in lines])
    return _element("ul", items, kind) if lines else ""


def _contents(sections: Sequence[Section]) -> str:
    links = [f'<li><a href="#{it.stem}">{escape(it.title)}</a></li>' for it in sections]
    return _element("nav", _element("ul", _join(links)))


def _section(section: Section, documents: Documents) -> str:
    heading = f'<h2 id="{section.stem}">{escape(section.title)}</h2>'
    if not section.parts:
        line = f"not measured: run <code>{escape(section.command)}</code>"
        return _join([heading, _element("p", line, "missing")])
    document = documents[section.stem]
    source = _fold("versions, commits, options", _facts(describe_document(document)))
    parts = [_part(part) for part in section.parts]
    return _join([heading, _paragraph(section.says), _made_by(document), source, *parts])


def _made_by(document: Document) -> str:
    command = _element("code", escape(document.content["command"]))
    machine = escape(name_machine(document.machine))
    commit = escape(say_commit(document.machine))
    return _element("p", f"Made by {command} on {machine}, commit {commit}.", "source")


def _part(part: Part) -> str:
    numbers = _numbers(part.table)
    if part.folded:
        numbers = _fold(f"the numbers ({len(part.table) - 1} rows)", numbers)
    caption = _element("figcaption", escape(part.caption))
    figure = _element("figure", _join([_name_chart(part), caption]))
    return _join([_element("h3", escape(part.title)), figure, numbers])


def _name_chart(part: Part) -> str:
    """The chart with its title for those who do not see it."""
    label = escape(part.title, quote=True)
    return part.chart.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _fold(summary: str, content: str) -> str:
    return _element("details", _element("summary", escape(summary)) + content)


def _numbers(table: Table) -> str:
    header, *rows = table
    lines = [_element("tr", "".join(_element("th", escape(cell)) for cell in header))]
    lines += [_element("tr", "".join(map(_cell, row))) for row in rows]
    return _element("div", _element("table", _join(lines), "numbers"), "wide")


def _cell(text: str) -> str:
    return _element("td", escape(text), "long" if len(text) > _LONG else "")


def _facts(table: Table) -> str:
    rows = [
        _element("tr", _element("th", escape(name)) + _element("td", escape(value)))
        for name, value in table[1:]
    ]
    return _element("table", _join(rows), "facts")
