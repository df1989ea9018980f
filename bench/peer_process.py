"""The caller's end of a worker: starts it, asks it, and watches that it rests between its turns."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np

from .peer_environments import PeerError

_ROOT = Path(__file__).parent.parent
# Threads spin for a while after a turn in the hope of more work; the next turn waits for them.
_LOOK_S = 0.01
_QUIET_LOOKS = 3
_MOST_LOOKS = 300


class WorkerProcess:
    """A long-lived process that runs one contestant.

    Parameters
    ----------
    name : str
        The contestant's name in messages and files.
    command : list of str
        What starts the worker.
    folder : pathlib.Path
        For its files: what it says on standard error, and outputs.
    threads : int
        Threads of the worker, in the variables that libraries read before their first use.
    """

    def __init__(self, name: str, command: list[str], folder: Path, threads: int):
        self.name = name
        self._log, self._output = folder / f"{name}.log", folder / f"{name}.npy"
        count = {"OMP_NUM_THREADS": str(threads), "TVM_NUM_THREADS": str(threads)}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=_ROOT,
                env={**os.environ, **count},
            )
        self._rest = _Rest(self._process.pid)

    def load(self, **job) -> dict:
        """Versions, settings and seconds of the loading; `job` has the fields of a `Job`."""
        return self._ask(do="load", **job)

    def output(self) -> np.ndarray:
        """The output of one run."""
        return np.load(self._ask(do="save", file=str(self._output))["file"])

    def milliseconds(self, number: int) -> float:
        """Mean time of a run out of `number`, after one that is not counted."""
        self._rest.end()
        milliseconds = self._ask(do="run", number=number)["ms"]
        self._rest.begin()
        return milliseconds

    def idle_load(self) -> float | None:
        """Processors kept busy between the turns, 1 for a whole one; None if that is not known."""
        return self._rest.load()

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _ask(self, **request) -> dict:
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; why is read below
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"{self.name}: ended with {self._process.wait()}: {self._last_words()}")
        reply = json.loads(line)
        if "error" in reply:
            raise PeerError(f"{self.name}: {reply['error']}")
        return reply

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "no message")


class _Rest:
    """Processor time that a process takes while it should rest."""

    def __init__(self, pid: int):
        self._stat, self._tasks = Path(f"/proc/{pid}/stat"), Path(f"/proc/{pid}/task")
        self._start: tuple[float, float] | None = None
        self._busy_s = self._rest_s = 0.0

    def begin(self) -> None:
        """Wait until no thread wants a processor, within reason, and start the clock."""
        quiet = 0
        for _ in range(_MOST_LOOKS):
            time.sleep(_LOOK_S)
            quiet = 0 if self._is_running() else quiet + 1
            if quiet == _QUIET_LOOKS:
                break
        self._start = self._now()

    def end(self) -> None:
        now = self._now()
        if self._start is None or now is None:
            return
        self._busy_s += now[0] - self._start[0]
        self._rest_s += now[1] - self._start[1]
        self._start = None

    def load(self) -> float | None:
        return self._busy_s / self._rest_s if self._rest_s else None

    def _is_running(self) -> bool:
        """True if a thread runs or waits for a processor; False where there is no /proc."""
        return any(_read_fields(path / "stat")[:1] == ["R"] for path in self._tasks.glob("*"))

    def _now(self) -> tuple[float, float] | None:
        """Processor seconds of all threads, and the clock; None where there is no /proc."""
        fields = _read_fields(self._stat)
        if not fields:
            return None
        ticks = int(fields[11]) + int(fields[12])  # user and system
        return ticks / os.sysconf("SC_CLK_TCK"), time.monotonic()


def _read_fields(stat: Path) -> list[str]:
    """What stands behind the name, which may have spaces; empty if the file is not there."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:  # the thread has ended meanwhile, or there is no /proc
        return []
