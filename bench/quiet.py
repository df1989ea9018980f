"""TVM kept quiet, while the script itself goes on saying what matters."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def quiet(is_verbose: bool = False) -> Iterator[TextIO]:
    """A block in which TVM, its C++ and the processes that it starts write nothing to stderr.

    auto_scheduler prints a stack trace for each schedule that it rejects, and each tuner names each
    kernel that is not tuned yet.

    Parameters
    ----------
    is_verbose : bool
        Let them.

    Yields
    ------
    TextIO
        What stderr was.
    """
    if is_verbose:
        yield sys.stderr
        return
    sys.stderr.flush()
    disabled, kept = logging.root.manager.disable, os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with warnings.catch_warnings(), os.fdopen(os.dup(kept), "w", buffering=1) as shown:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        os.dup2(nowhere, 2)
        try:
            yield shown
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
            logging.disable(disabled)
