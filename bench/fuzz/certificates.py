"""Certificates while fuzzing: float16's, which take a second, in a folder of the process's own.

What one graph certifies the next ones find, as in a user's cache; the user's own are not looked at,
so that a graph is judged the same everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from tempfile import TemporaryDirectory
from unittest.mock import patch

from tvm_reorder.certify.certifier import certify
from tvm_reorder.certify.store import FOLDER_VARIABLE
from tvm_reorder.core.certificates import CertificateError
from tvm_reorder.relay import certified

SWEPT = "float16"


@contextmanager
def own_certificates() -> Iterator[None]:
    """Inside the block the pass finds, makes and keeps certificates of this process alone."""
    variables = patch.dict(os.environ, {FOLDER_VARIABLE: _make_folder().name})
    with variables, patch.object(certified, "certify", _certify):
        yield


@lru_cache(maxsize=1)
def _make_folder() -> TemporaryDirectory:
    return TemporaryDirectory(prefix="tvm-reorder-fuzz-")


def _certify(function, target, opt_level: int):
    if function.dtype != SWEPT:
        raise CertificateError(f"the dtype is {function.dtype!r} but must be {SWEPT!r} to be quick")
    return certify(function, target, opt_level)
