"""One tiny model for all, the environment of the commands, and how a command fails."""

import os

import pytest

os.environ.setdefault("TOPHUB_LOCATION", "NONE")
os.environ.setdefault("TVM_NUM_THREADS", "2")

from tvm_reorder.cli.main import main  # noqa: E402

from ..models import save_network  # noqa: E402


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    """Convolution, sigmoid, max pool."""
    return str(save_network(tmp_path_factory.mktemp("models") / "model.onnx", ("Sigmoid",)))


@pytest.fixture
def fails(capsys):
    """Runs the command line, which must fail in one line; gives that line."""

    def run(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        lines = captured.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("tvm-reorder: error: ")
        return lines[0]

    return run
