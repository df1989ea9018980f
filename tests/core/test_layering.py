"""Imports flow downwards: core needs no TVM, the package imports no dialect, only cli/ prints."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tvm_reorder

ROOT = Path(tvm_reorder.__file__).parent
CORE = sorted((ROOT / "core").glob("*.py"))
CERTIFY = sorted((ROOT / "certify").glob("*.py"))
LIBRARY = sorted([*CORE, *CERTIFY, *(ROOT / "relay").rglob("*.py"), ROOT / "__init__.py"])


def imported(path: Path) -> set[str]:
    """Modules a file imports; relative ones with their leading dots."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.name)
def test_core_imports_neither_tvm_nor_upwards(path):
    for name in imported(path):
        assert name.split(".")[0] != "tvm", name
        assert not name.startswith(".."), name


@pytest.mark.parametrize("path", CERTIFY, ids=lambda p: p.name)
def test_the_certifier_imports_nothing_above_core(path):
    for name in imported(path):
        assert not name.startswith("..") or name.startswith("..core."), name


@pytest.mark.parametrize("name", ["floats", "runs", "names", "store"])
def test_the_accounting_of_a_sweep_needs_no_tvm(name):
    assert run_without("tvm", f"import tvm_reorder.certify.{name}; print(1)") == "1"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_library_code_neither_prints_nor_imports_the_command_line(path):
    tree = ast.parse(path.read_text())
    calls = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and hasattr(n.func, "id")}
    assert "print" not in calls
    assert not any("cli" in name.split(".") for name in imported(path))


def run_without(module: str, code: str) -> str:
    """Standard output of a fresh interpreter in which `module` cannot be imported."""
    block = f"import sys; sys.modules[{module!r}] = None; "
    done = subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_package_imports_without_tvm():
    code = "import tvm_reorder, tvm_reorder.core.checks; print(tvm_reorder.ReorderConfig())"
    assert "ReorderConfig" in run_without("tvm", code)


def test_importing_the_package_imports_no_tvm():
    code = "import tvm_reorder, sys; print('tvm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("entry", ["enabled", "reorder", "ReorderActivations"])
def test_without_tvm_an_entry_names_the_mend(entry):
    code = (
        f"import tvm_reorder\ntry:\n    tvm_reorder.{entry}\n"
        "except ImportError as error:\n    print(error)"
    )
    block = "import sys; sys.modules['tvm'] = None\n"
    done = subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True)
    line = done.stdout.strip()
    assert "no TVM was found" in line and "tvm-reorder[relay]" in line and "\n" not in line


def test_a_tvm_without_relay_is_named(tmp_path):
    (tmp_path / "tvm").mkdir()
    (tmp_path / "tvm" / "__init__.py").write_text("__version__ = '0.25.0'\n")
    code = (
        "import tvm_reorder\ntry:\n    tvm_reorder.enabled\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"],
        capture_output=True,
        text=True,
    )
    assert "TVM 0.25.0 was found, which has no Relay" in done.stdout
