"""Which TVM is there, and the one line that mends a missing or a wrong one."""

from __future__ import annotations

import importlib
import importlib.util

MEND = (
    'pip install "tvm-reorder[relay]" brings TVM 0.19 with Relay '
    "(in an environment without another tvm), or use your own build of TVM 0.17-0.19"
)


class RelayMissing(ImportError):
    """No TVM with Relay can be imported; the message is one line with the mend."""


def require_relay() -> None:
    """Check that ``tvm.relay`` can be imported.

    Raises
    ------
    RelayMissing
        If there is no TVM, its library does not load, or it has no Relay (0.20 and later).
    """
    try:
        tvm = importlib.import_module("tvm")
    except ModuleNotFoundError as error:
        if error.name != "tvm":
            raise RelayMissing(f"TVM needs the package {error.name!r}: {MEND}") from error
        raise RelayMissing(f"no TVM was found: {MEND}") from error
    except (ImportError, OSError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RelayMissing(f"TVM was found but does not load ({first}): {MEND}") from error
    if importlib.util.find_spec("tvm.relay") is None:
        version = getattr(tvm, "__version__", "of unknown version")
        raise RelayMissing(f"TVM {version} was found, which has no Relay: {MEND}")
