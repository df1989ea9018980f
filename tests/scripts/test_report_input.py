"""The page of results from bad input: one clear line each, and the rest goes on where it can."""

import copy
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from bench.report.load import check_document
from scripts.report import main

from .report_documents import GPU, all_documents
from .report_pages import cells, make_report, some, write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def report(tmp_path):
    """Make a page of documents: status, page (None if there is none), lines on stderr."""
    return partial(make_report, tmp_path)


def test_folder_that_is_not_there(tmp_path):
    output = tmp_path / "report.html"
    command = [sys.executable, "-m", "scripts.report", str(tmp_path / "none"), "-o", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr == f"folder {tmp_path / 'none'} is not there but must be a folder of results\n"
    )
    assert not output.exists()


@pytest.mark.parametrize("others", [{}, {"unknown": {}}])
def test_folder_without_results(others, report):
    status, page, lines = report(others)
    assert (status, page, len(lines)) == (2, None, 1)
    assert "is without results but must hold one of models.json, " in lines[0]


def test_a_file_without_a_section_is_named(report):
    status, page, lines = report({**some("pass_time"), "monotone_sweep": {}})
    assert (status, lines) == (0, [])
    assert "Files without a section: monotone_sweep.json." in page


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_json_cut_short(share, report):
    text = json.dumps(all_documents()["models"], indent=1)
    documents = {**some("pass_time"), "models": text[: int(share * len(text))]}
    status, page, lines = report(documents)
    assert (status, len(lines)) == (1, 1)
    assert lines[0].startswith("models.json is no whole JSON: ")
    assert " at line " in lines[0] and ", column " in lines[0]
    assert "not measured: run <code>python -m bench.models</code>" in page
    assert "Left out: models.json" in page and "2.00 %" in cells(page)


def test_nothing_but_broken_files(report):
    status, page, lines = report({"models": "[", "peers": "[]", "sites": '{"command": 1}'})
    assert (status, page) == (2, None)
    assert lines[0] == (
        "models.json is no whole JSON: Expecting value at line 1, column 2; left out"
    )
    assert lines[1] == "peers.json is [] but must be an object; the file is left out"
    assert lines[2] == "sites.json.command is 1 but must be a text; the file is left out"
    assert lines[3].endswith("has no result that can be used") and len(lines) == 4


def test_a_file_that_is_no_text(tmp_path, report):
    documents = some("pass_time")
    write(tmp_path / "in", documents)
    (tmp_path / "in" / "models.json").write_bytes(b'{"command": "\xff"}')
    status, _, lines = report(documents)
    assert (status, lines) == (1, ["models.json is no text from byte 13 on; left out"])


def on_machine(document, **fields):
    changed = copy.deepcopy(document)
    changed["machine"] |= fields
    return changed


def test_two_machines_the_one_of_most_documents_is_shown(report):
    documents = some("models", "activations", "pass_time")
    documents["models"] = on_machine(documents["models"], processor="Xeon", cores=8)
    status, page, lines = report(documents)
    assert (status, len(lines)) == (1, 1)
    assert lines[0].startswith(
        "models.json is of machine 'Xeon (8 cores)' but must be of 'AMD EPYC"
    )
    assert "not measured: run <code>python -m bench.models</code>" in page
    assert "results on AMD EPYC (2 cores)" in page


def test_two_machines_with_as_many_documents_each(report):
    documents = some("activations", "pass_time")
    documents["pass_time"] = on_machine(documents["pass_time"], gpu=GPU)
    status, page, lines = report(documents)
    assert (status, page, len(lines)) == (2, None, 1)
    assert "'AMD EPYC (2 cores)' and 'AMD EPYC (2 cores) with NVIDIA H200'" in lines[0]
    assert "--machine NAME" in lines[0]


@pytest.mark.parametrize(
    ("name", "shown"), [("h200", "pass_time"), ("AMD EPYC (2 cores)", "activations")]
)
def test_a_machine_by_name(name, shown, report):
    documents = some("activations", "pass_time")
    documents["pass_time"] = on_machine(documents["pass_time"], gpu=GPU)
    status, page, lines = report(documents, "--machine", name)
    assert (status, lines) == (0, [])
    assert page.count("<svg") == 1
    start = page.index(f'<h2 id="{shown}"')
    assert page.index("<svg") > start
    assert ("GPU driver" in page) == (shown == "pass_time")


@pytest.mark.parametrize("name", ["Xeon", "AMD", ""])
def test_a_name_of_no_machine_or_of_two(name, report):
    documents = some("activations", "pass_time")
    documents["pass_time"] = on_machine(documents["pass_time"], gpu=GPU)
    status, page, lines = report(documents, "--machine", name)
    assert (status, page, len(lines)) == (2, None, 1)
    assert lines[0].startswith(f"--machine is {name!r} but must name one of 'AMD EPYC")


def test_rows_that_lack_a_key_cost_one_line(report):
    documents = some("models", "pass_time")
    for row in documents["models"]["rows"][1:4]:
        del row["batch"]
    status, page, lines = report(documents)
    assert status == 1
    assert lines == [
        "models.json: rows[1].batch is missing but must be there; "
        "this and 2 more such rows are left out"
    ]
    assert "3 measurements" in page and "light_resnet50" not in page


def test_unknown_fields_are_let_be(report):
    documents = some("models", "pass_time")
    documents["models"]["rows"][0]["weather"] = documents["models"]["weather"] = "fine"
    documents["models"]["rows"][1]["target"] = 7
    status, _, lines = report(documents)
    assert (status, lines) == (0, [])


def test_a_list_that_is_missing(report):
    documents = some("paper")
    del documents["paper"]["totals"]
    status, page, lines = report(documents)
    assert status == 1
    assert lines == ["paper.json: totals is missing but must be a list of rows"]
    assert "over the batch" in page and "whole forward pass (" not in page


@pytest.mark.parametrize(
    ("stem", "path", "value", "fault"),
    [
        ("models", ("time_ms", "ours"), [], "time_ms.ours is [] but must be a list of numbers"),
        ("models", ("time_ms", "ours"), [1.0, -1.0], "time_ms.ours is [1.0, -1.0] but must be a"),
        ("models", ("time_ms", "ours"), [float("nan")], "time_ms.ours is [nan] but must be a list"),
        ("models", ("time_ms", "ours"), [1.0], "time_ms has samples 5 of stock, 1 of ours but"),
        ("models", ("network",), "\ud800", "network is '\\ud800' but must be a text"),
        ("models", ("batch",), 0, "batch is 0 but must be a whole number from 1"),
        ("models", ("batch",), 10**400, "batch is 1000000"),
        ("models", ("batch",), True, "batch is True but must be a whole number"),
        ("models", ("sites",), {}, "sites is an object but must be a list"),
        ("tuned", ("time_ms", "stock"), None, "time_ms.stock is None but must be a list"),
        ("tuned", ("equal",), {"ours": 1}, "equal.ours is 1 but must be true or false"),
        ("peers", ("best_peer",), "nobody", "is an object but must be a row with as many samples"),
        ("sites", ("decision",), {}, "decision.action is missing but must be there"),
        ("sites", ("decision",), [], "decision is [] but must be an object"),
    ],
)
def test_values_that_cannot_be_shown(stem, path, value, fault):
    content = all_documents()[stem]
    *outer, last = path
    place = content["rows"][0]
    for key in outer:
        place = place[key]
    place[last] = value
    document, (line,) = check_document(stem, content)
    assert line.startswith(f"{stem}.json: rows[0]") and fault in line
    assert len(document.rows()) == len(all_documents()[stem]["rows"]) - 1


@pytest.mark.parametrize("place", ["none/report.html", "file/report.html", "folder"])
def test_output_that_cannot_be_written(place, tmp_path, capsys):
    folder = write(tmp_path / "in", some("pass_time"))
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    output = tmp_path / place
    assert main([str(folder), "-o", str(output)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"output {output} is not writable (")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_page_stays_when_a_new_one_cannot_be_made(tmp_path):
    output = tmp_path / "report.html"
    output.write_text("the old page")
    folder = write(tmp_path / "in", {"models": "{"})
    assert main([str(folder), "-o", str(output)]) == 2
    assert output.read_text() == "the old page"


def test_matplotlib_that_is_not_installed(report, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("bench.report.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, page, lines = report(some("pass_time"))
    assert (status, page, len(lines)) == (2, None, 1)
    assert lines[0].startswith("matplotlib is missing but must be installed")
