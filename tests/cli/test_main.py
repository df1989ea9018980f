"""Help, version, and what a pipe sees."""

import subprocess
import sys

import pytest

from tvm_reorder import __version__
from tvm_reorder.cli import main as cli


@pytest.mark.parametrize("command", ["inspect", "compile", "compare"])
def test_help_shows_examples(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert f"examples:\n  tvm-reorder {command}" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"tvm-reorder {__version__}\n"


@pytest.mark.parametrize(
    "module, program, arguments",
    [("cli.main", "tvm-reorder", ["inspect", "vgg16"]), ("tvmc", "tvmc-reorder", ["compile"])],
)
def test_missing_tvm_is_one_line(module, program, arguments):
    code = "import sys; sys.modules['tvm'] = None; from tvm_reorder." + module + " import main; "
    command = [sys.executable, "-c", code + "sys.exit(main())", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{program}: error: no TVM was found: ")
    assert done.stderr.count("\n") == 1


def test_help_imports_no_tvm():
    code = "import sys\nfrom tvm_reorder.cli.main import make_parser\nmake_parser().format_help()\n"
    code += "assert 'tvm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_piped_run_says_nothing_but_its_result(model):
    command = [sys.executable, "-c", "import sys; from tvm_reorder.cli.main import main; "]
    command[-1] += "sys.exit(main())"
    options = ["inspect", model, "--target", "llvm", "--threads", "1"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == "" and done.stdout.startswith("target llvm, 1 thread\n")
    assert "sigmoid" in done.stdout and "\x1b" not in done.stdout


def test_traceback_only_when_verbose(capsys):
    assert cli.main(["inspect", "absent.onnx", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert cli.main(["inspect", "absent.onnx"]) == 2
    assert "Traceback" not in capsys.readouterr().err
