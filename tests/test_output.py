"""Only one file uses rich, without markup; only one prints."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path for folder in ("tvm_reorder", "bench", "scripts") for path in (ROOT / folder).rglob("*.py")
)
OUTPUT = ROOT / "tvm_reorder/cli/output.py"
# The second stands in for nvcc, whose output TVM shows; it runs without this package.
PRINTING = {ROOT / "tvm_reorder/cli/lines.py", ROOT / "scripts/nvcc_by_nvrtc.py"}


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def keywords(call: ast.Call) -> dict:
    return {word.arg: getattr(word.value, "value", None) for word in call.keywords}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_output_goes_one_way(path):
    tree = ast.parse(path.read_text())
    modules = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    uses_rich = any(module.split(".")[0] == "rich" for module in modules)
    assert uses_rich == (path == OUTPUT)
    if path not in PRINTING:
        assert "print" not in {getattr(call.func, "id", "") for call in calls(path)}


def test_nothing_is_markup():
    consoles = [keywords(call) for call in calls(OUTPUT) if name_of(call) == "Console"]
    off = {"markup": False, "emoji": False, "highlight": False}
    assert consoles and all(off.items() <= console.items() for console in consoles)
    columns = [keywords(call) for call in calls(OUTPUT) if name_of(call) == "TextColumn"]
    assert columns and all(column["markup"] is False for column in columns)
    assert not {"from_markup", "render_str", "rule"} & {name_of(call) for call in calls(OUTPUT)}
    for call in calls(OUTPUT):  # a plain string would be markup to these
        if name_of(call) in ("status", "add_row"):
            (argument,) = (a.value if isinstance(a, ast.Starred) else a for a in call.args)
            assert "_to_text" in ast.unparse(argument)
