"""One tiny model for all, and the environment of the commands."""

import os

import pytest

os.environ.setdefault("TOPHUB_LOCATION", "NONE")
os.environ.setdefault("TVM_NUM_THREADS", "2")

from ..models import save_network  # noqa: E402


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    """Convolution, sigmoid, max pool."""
    return str(save_network(tmp_path_factory.mktemp("models") / "model.onnx", ("Sigmoid",)))
