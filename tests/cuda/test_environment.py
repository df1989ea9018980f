"""``scripts/cuda_env.sh``: what it refuses, and what it makes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "cuda_env.sh"
_MINUTES = 60


def run(*arguments, **environment) -> subprocess.CompletedProcess:
    """The script, started by this Python."""
    values = {**os.environ, "PYTHON": sys.executable, "TVM_HOME": "", **environment}
    command = ["bash", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=values, timeout=15 * _MINUTES
    )


def test_it_is_a_script_that_bash_can_read():
    done = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.access(SCRIPT, os.X_OK)


def test_it_says_what_it_does():
    done = run("--help")
    assert done.returncode == 0 and "scripts/cuda_env.sh [DIR]" in done.stdout
    assert "set -e" not in done.stdout


@pytest.mark.parametrize(
    "arguments, environment, said",
    [
        (["a", "b"], {}, "2 arguments are given but must be at most one"),
        (["--force"], {}, "argument is '--force' but must be a folder"),
        (["file"], {}, "'file' is a file but must be a folder"),
        (["full"], {}, "'full' has other files in it but must be empty"),
        (["new"], {"TVM_HOME": "full"}, "TVM_HOME is 'full' but must have python/tvm"),
        (["new"], {"PYTHON": "no-such-python"}, "PYTHON is 'no-such-python' but must be"),
        (["new"], {"PYTHON": "./old"}, "Python is 3.8 but must be 3.10 to 3.12"),
    ],
)
def test_what_it_refuses(arguments, environment, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    (tmp_path / "old").write_text("#!/bin/sh\necho 3.8\n")
    (tmp_path / "old").chmod(0o755)
    done = run(*arguments, **environment)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("cuda_env.sh: error: ") and said in line
    assert not (tmp_path / "new").exists() and (tmp_path / "full" / "precious").exists()


def test_without_packages_nothing_looks_finished(tmp_path):
    """An installation that breaks off: the next one must not take it for a whole one."""
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    done = run(tmp_path / "new", **nowhere)
    assert done.returncode == 2 and "the packages cannot be installed" in done.stderr
    left = [path.name for path in (tmp_path / "new").iterdir()]
    assert "installed" not in left and "made_by_tvm_reorder_cuda_env" in left


@pytest.mark.cuda_env
def test_the_kernels_are_right_in_an_environment_from_the_package_index(tmp_path):
    """Makes the environment, in the user's cache, and runs this folder's tests in it."""
    if sys.version_info >= (3, 13):
        pytest.skip("tilelang has no package for this Python")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "tvm_reorder" / "cuda-tests"
    if not (folder / "installed").exists() and not _has_index(tmp_path):
        pytest.skip("no package index answers")
    done = run(folder)
    assert done.returncode == 0, done.stderr
    assert "with Relay and CUDA" in done.stdout
    command = [folder / "bin" / "python-cuda", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-m", "not cuda_env and not full", "tests/cuda/test_kernels.py"]
    tests = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert tests.returncode == 0, tests.stdout
    assert " passed" in tests.stdout and "no CUDA code generation" not in tests.stdout


def _has_index(folder: Path) -> bool:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
    done = subprocess.run([*command, "typing_extensions"], capture_output=True)
    return done.returncode == 0
