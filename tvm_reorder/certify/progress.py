"""What an interrupted sweep keeps: the blocks done, in a file beside the certificates.

The file says what it is about; one of another function, target or version is overwritten.  It is
removed when the certificate is made.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..core.certificates import CertificateKey
from .runs import Extent, Summary
from .store import user_path, write_whole

_SECONDS_BETWEEN = 1.0


@dataclass
class SweepState:
    """The file of one sweep.

    Parameters
    ----------
    path : pathlib.Path
        Where.
    key : CertificateKey
        What is swept.
    details : tuple
        What else decides a block: opt_level, block size, whether scalar code is walked.
    """

    path: Path
    key: CertificateKey
    details: tuple
    _saved_at: float = field(default=0.0, init=False)

    @property
    def _identity(self) -> list:
        return [*self.key, *map(str, self.details)]

    def load(self) -> dict[int, Summary]:
        """Blocks done, by first place; none if there is no file or it is another's."""
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if data["identity"] != self._identity:
                return {}
            return {int(start): _read(values) for start, values in data["blocks"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def save(self, blocks: dict[int, Summary], now: bool = False) -> None:
        """Keep the blocks, at most once a second unless `now`; a full disk is no reason to stop."""
        if not now and time.monotonic() - self._saved_at < _SECONDS_BETWEEN:
            return
        self._saved_at = time.monotonic()
        text = json.dumps({"identity": self._identity, "blocks": blocks})
        try:
            write_whole(self.path, text)
        except OSError:
            pass

    def remove(self) -> None:
        """The sweep is done."""
        self.path.unlink(missing_ok=True)


def open_state(key: CertificateKey, *details: object) -> SweepState:
    """The state of a sweep, beside the user's own certificates."""
    return SweepState(user_path(key).with_suffix(".part"), key, details)


def _read(values: list) -> Summary:
    extents = [None if value is None else Extent(*map(int, value)) for value in values[:3]]
    return Summary(*extents, *map(int, values[3:]))
