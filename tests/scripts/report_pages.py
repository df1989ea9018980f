"""Makes pages of documents and takes them apart."""

import io
import json
from contextlib import redirect_stderr
from html.parser import HTMLParser
from pathlib import Path

from scripts.report import main

from .report_documents import all_documents

_VOID = {"meta", "br", "img", "link", "hr", "input"}


class Structure(HTMLParser):
    """Elements left open or closed out of turn, what is fetched, and the texts of table cells."""

    def __init__(self):
        super().__init__()
        self.open, self.faults, self.fetched, self.cells, self.ids = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.note(tag, dict(attributes))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.note(tag, dict(attributes))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)

    def note(self, tag, attributes):
        self.ids += [attributes["id"]] if "id" in attributes else []
        links = [attributes.get(name) or "" for name in ("src", "href", "xlink:href", "data")]
        self.fetched += [link for link in links if link and not link.startswith("#")]
        if tag in ("link", "script", "iframe", "object", "img"):
            self.fetched.append(tag)


def cells(page: str) -> list[str]:
    """Texts of all table cells."""
    structure = Structure()
    structure.feed(page)
    return structure.cells


def some(*stems: str) -> dict[str, dict]:
    """Some of the documents."""
    return {stem: content for stem, content in all_documents().items() if stem in stems}


def write(folder: Path, documents: dict) -> Path:
    """Put documents, or a text in place of one, into a folder."""
    folder.mkdir(exist_ok=True)
    for stem, content in documents.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{stem}.json").write_text(text)
    return folder


def make_report(folder: Path, documents: dict, *options: str) -> tuple[int, str | None, list[str]]:
    """Status, page (None if there is none) and lines on stderr; no draft is left."""
    output, said = folder / "report.html", io.StringIO()
    with redirect_stderr(said):
        status = main([str(write(folder / "in", documents)), "-o", str(output), *options])
    assert not list(folder.glob("*.part"))
    return status, output.read_text() if output.exists() else None, said.getvalue().splitlines()
