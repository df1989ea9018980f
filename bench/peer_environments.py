"""A virtual environment for each peer, outside the repository, filled on first use.

Peers pin numpy, protobuf and onnx against one another and against TVM: in one environment they
would not all install.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# torch_compile is the same PyTorch.  Of PyTorch any file will do, but the CPU's is 2 GB smaller:
# pip's own settings decide which one it finds.
_ENVIRONMENT_OF = {"ort": "ort", "openvino": "openvino", "torch": "torch", "torch_compile": "torch"}
_REQUIREMENTS = {
    "ort": ("onnxruntime",),
    "openvino": ("openvino",),
    "torch": ("torch==2.13.0", "onnx<1.19", "numpy"),  # onnx reads the weights
}
PEERS = tuple(_ENVIRONMENT_OF)
_INSTALL_S = 1800.0


class PeerError(RuntimeError):
    """A contestant that cannot take part; the message is one line."""


def default_folder() -> Path:
    """Where the environments are if nobody says otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tvm_reorder" / "peers"


def find_python(peer: str, folder: Path) -> Path:
    """The Python of a peer's environment; made and filled if it is not there.

    Parameters
    ----------
    peer : str
        One of `PEERS`.
    folder : pathlib.Path
        Folder of all environments.

    Returns
    -------
    pathlib.Path
        The interpreter.

    Raises
    ------
    PeerError
        If the peer cannot be installed.
    """
    name = _ENVIRONMENT_OF[peer]
    environment = folder / name
    python = environment / "bin" / "python"
    wanted = " ".join(_REQUIREMENTS[name])
    stamp = environment / "installed"  # written last: half an installation has none
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    _run(peer, [sys.executable, "-m", "venv", "--clear", str(environment)])
    _run(peer, [str(python), "-m", "pip", "install", "--quiet", *_REQUIREMENTS[name]])
    stamp.write_text(wanted)
    return python


def _run(peer: str, command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{peer}: not installed: {error}") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
        raise PeerError(f"{peer}: not installed: {errors[-1]}")
