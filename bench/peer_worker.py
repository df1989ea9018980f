"""A contestant in a process of its own, asked and answering in lines of JSON.

    python -m bench.peer_worker NAME

Requests are ``{"do": "load", ...}`` with the fields of a `Job`, ``{"do": "run", "number": N}`` and
``{"do": "save", "file": PATH}``.  A failure is answered with ``{"error": "one line"}``, and the
worker goes on; it ends with its standard input.  Peers run this without TVM.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from typing import TextIO

import numpy as np

from .peer_contestants import CONTESTANTS, Contestant, Job, Loaded


class Worker:
    """Carries out requests for one contestant.

    Parameters
    ----------
    contestant : Contestant
        The contestant.
    """

    def __init__(self, contestant: Contestant):
        self._contestant = contestant
        self._loaded: Loaded | None = None

    def answer(self, request: dict) -> dict:
        """The reply to one request.

        Raises
        ------
        ValueError
            If nothing of the kind can be done, or nothing is loaded yet.
        """
        actions = {"load": self._load, "run": self._run, "save": self._save}
        do = request.pop("do", None)
        if do not in actions:
            raise ValueError(f"do is {do!r} but must be one of {', '.join(actions)}")
        if do != "load" and self._loaded is None:
            raise ValueError(f"{do} before load")
        return actions[do](**request)

    def _load(self, **job) -> dict:
        start = time.perf_counter()
        self._loaded = self._contestant.load(Job(**job))
        self._loaded.run()  # what compiles on its first run belongs to the loading
        return {
            "load_s": time.perf_counter() - start,
            "versions": {name: version(name) for name in self._contestant.packages},
            "settings": self._loaded.settings,
        }

    def _run(self, number: int) -> dict:
        """Mean of `number` runs after one that is not counted: the caches are the neighbours'."""
        self._loaded.run()
        start = time.perf_counter()
        for _ in range(number):
            self._loaded.run()
        return {"ms": (time.perf_counter() - start) * 1e3 / number}

    def _save(self, file: str) -> dict:
        np.save(file, self._loaded.read(self._loaded.run()))
        return {"file": file}


def serve(contestant: Contestant, requests: Iterable[str], replies: TextIO) -> None:
    """Answer every line of `requests` with one of `replies`."""
    worker = Worker(contestant)
    for line in requests:
        try:
            reply = worker.answer(json.loads(line))
        except Exception as error:  # the caller decides who goes on
            words = " ".join(str(error).split()) or "no message"
            reply = {"error": f"{type(error).__name__}: {words[:300]}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def take_stdout() -> TextIO:
    """Standard output for us alone; what libraries print goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


if __name__ == "__main__":
    serve(CONTESTANTS[sys.argv[1]], sys.stdin, take_stdout())
