"""Names and paths are shown as they are: never markup, never a control code, always one line."""

import io
import json
import shlex

import numpy as np
import pytest

from tvm_reorder.cli import output
from tvm_reorder.cli.lines import say
from tvm_reorder.cli.main import main
from tvm_reorder.core.decision import Action
from tvm_reorder.core.printable import printable

from ..models import save_graph
from ..onnx_graphs import CONV, POOL, make_graph

NAMES = {
    "head[/b]pool": "head[/b]pool",
    "backbone[conv4]/pool": "backbone[conv4]/pool",
    ":smile:": ":smile:",
    "[red]": "[red]",
    "[link=x]y[/link]": "[link=x]y[/link]",
    "esc\x1b[31mape": r"esc\x1b[31mape",
    "new\nline": r"new\nline",
    "car\rriage": r"car\rriage",
    "\u202eright to left": r"\u202eright to left",
    "größe ☃": "größe ☃",
    "x" * 1000: "x" * 1000,
}


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> str:
    """A pool for each name, in a file with such a name."""
    return save_named(tmp_path_factory.mktemp("[bold]") / ":smile:[b]\x1b[1m.onnx", NAMES)


def save_named(path, names, activation="Relu") -> str:
    """A model with a pool for each name, no two of which compute the same."""
    nodes, pooled = [CONV], [f"p{index}" for index in range(len(names))]
    for index, name in enumerate(names):
        nodes.append(("Mul", f"c k{index}", f"m{index}"))
        nodes.append((activation, f"m{index}", f"a{index}"))
        nodes.append(("MaxPool", f"a{index}", f"p{index}", {**POOL, "name": name}))
    scales = {f"k{index}": np.float32(2 + index) for index in range(len(names))}
    graph = make_graph(*nodes, ("Concat", " ".join(pooled), "y", {"axis": 1}), **scales)
    return str(save_graph(path, graph))


def check_shown(out: str) -> None:
    """Each name is there; long ones go on in the next line of their column."""
    assert "\x1b" not in out and "\r" not in out
    for shown in NAMES.values():
        assert shown in out or out.count("x") >= 1000, shown
    assert "…" not in out


OPTIONS = {
    "inspect": [],
    "compile": ["-o", "[b]out.tar"],
    "compare": ["--repeat", "1"],
    "tune-sites": ["-o", "sites[b].jsonl"],
}


@pytest.mark.parametrize("command", OPTIONS)
def test_tables(command, named, tmp_path, monkeypatch, capsys):
    from tvm_reorder.relay import measure_sites

    monkeypatch.setattr(measure_sites, "measure_site", lambda *_: dict.fromkeys(Action, [1.0]))
    monkeypatch.chdir(tmp_path)
    assert main([command, named, *OPTIONS[command], "--json", "[i].json"]) == 0
    captured = capsys.readouterr()
    found = json.loads((tmp_path / "[i].json").read_text())
    if command == "tune-sites":
        assert "head[/b]pool (+10)" in captured.out and "1/1 head[/b]pool" in captured.err
        (site,) = found["sites"]
        assert set(site["names"]) == set(NAMES)
        return
    check_shown(captured.out)
    assert {site["name"] for site in found["sites"]} == set(NAMES)
    if command == "compile":
        assert "written: [b]out.tar" in captured.out


def test_bisect_names_its_culprits(tmp_path, monkeypatch, capsys):
    from tvm_reorder.core.monotone import Direction
    from tvm_reorder.relay.activations import ACTIVATIONS, Activation

    monkeypatch.setitem(ACTIVATIONS, "sin", Activation(Direction.RISING, np.sin))
    names = ["head[/b]pool", "esc\x1b[31mape"]
    path = save_named(tmp_path / "model.onnx", names, "Sin")
    assert main(["bisect", path, "--decision", "exchange"]) == 1
    out = capsys.readouterr().out
    assert "  head[/b]pool: exchanged" in out and r"  esc\x1b[31mape: exchanged" in out
    words = shlex.split(out.splitlines()[-1])
    assert "head[/b]pool" in words and "\x1b" not in out


def test_a_site_is_selected_by_its_name_as_it_is_printed(named, tmp_path):
    path = tmp_path / "found.json"
    for name, shown in NAMES.items():
        assert main(["inspect", named, "--only", shown, "--json", str(path)]) == 0
        sites = json.loads(path.read_text())["sites"]
        kept = [site["name"] for site in sites if site["decision"]["basis"] != "selection"]
        assert kept == [name]


@pytest.mark.parametrize("name", ["[/red]", "a\nb", "\x1b[31m", ":heart:"])
def test_errors_are_one_line_and_literal(name, named, fails):
    assert f"'{printable(name)}" in fails("inspect", f"{name}.onnx").replace(r"\\", "\\")
    assert printable(name) in fails("inspect", named, "--json", f"{name}/x.json")
    assert printable(name) in fails("inspect", named, "--only", name)
    assert printable(name) in fails("inspect", named, "--target", name)
    assert printable(name) in fails("inspect", named, "--licence", name)
    assert printable(name) in fails("compare", named, "--inputs", f"{name}.npz")


def test_what_cannot_be_printed_leaves_whole_files(named, tmp_path, monkeypatch, capsys):
    from tvm_reorder.cli import compile as command

    def fail(*_):
        raise ValueError("[/b]")

    monkeypatch.setattr(command, "print_sites", fail)
    package, report = tmp_path / "m.tar", tmp_path / "r.json"
    assert main(["compile", named, "-o", str(package), "--json", str(report)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == [package, report]
    assert len(json.loads(report.read_text())["sites"]) == len(NAMES)


class Terminal(io.StringIO):
    """A terminal that keeps what it is shown."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("name", NAMES)
def test_progress(name, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with output.progress(f"reading {name}"):
        pass
    with output.Bar(2, terminal) as bar:
        bar.describe(name)
        bar.say(name)
    shown = terminal.getvalue()
    assert printable(name)[:20] in shown.replace("\n", "")
    assert "\x1b[31m" not in shown and "new\nline" not in shown


def test_a_stream_that_cannot_encode_a_name(monkeypatch):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert main(["inspect", "absent"]) == 2  # sets the stream up
    say("größe")
    assert written.getvalue() == b"gr\\xf6\\xdfe\n"


def test_reports_of_the_library_are_lines():
    from tvm_reorder.core.report import Report, Site, Status

    report = Report()
    report.add([Site("a\nb\x1b[1m", Status.KEPT, "2x2")])
    assert str(report).splitlines()[1].startswith(r"  a\nb\x1b[1m: kept")
    assert report.as_dict()["sites"][0]["name"] == "a\nb\x1b[1m"
