"""TVM's warnings left out of a command's output; the package's own are said in a line each."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .lines import note

_OWN = "tvm_reorder"


@contextmanager
def quiet(is_verbose: bool) -> Iterator[None]:
    """No warnings inside the block, such as AutoTVM's that nothing has been tuned.

    Parameters
    ----------
    is_verbose : bool
        Leave everything as it is.
    """
    if is_verbose:
        yield
        return
    own, shown, notes = logging.getLogger(_OWN), logging.lastResort, _Notes()
    propagates = own.propagate
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.lastResort = logging.NullHandler()
        own.propagate = False
        own.addHandler(notes)
        try:
            yield
        finally:
            own.removeHandler(notes)
            own.propagate = propagates
            logging.lastResort = shown


class _Notes(logging.Handler):
    """Says each warning once; a pass that failed is named by the report."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Say a warning."""
        text = record.getMessage()
        if record.exc_info is None and text not in self._said:
            self._said.add(text)
            note(text)
