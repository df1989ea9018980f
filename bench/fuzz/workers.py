"""One process a core, each with one thread of TVM; a compiler that dies takes only one along."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait

from .trial import Outcome, examine, refuse

Job = list[dict]


def examine_all(jobs: Iterator[Job], count: int) -> Iterator[Outcome]:
    """Outcomes of groups of recipes, as they come in.

    A group during which the process dies is tried again graph by graph; a graph that kills it is a
    failure if ours was being built, and invalid if stock TVM was.
    """
    again: list[Job] = []
    workers = [Worker() for _ in range(count)]
    try:
        yield from _deal(jobs, again, workers)
    finally:
        for worker in workers:
            worker.stop()


def _deal(jobs, again, workers) -> Iterator[Outcome]:
    def feed(worker) -> None:
        job = again.pop() if again else next(jobs, None)
        if job is not None:
            worker.give(job)

    for worker in workers:
        feed(worker)
    while busy := {worker.connection: worker for worker in workers if worker.job is not None}:
        for ready in wait(list(busy)):
            worker = busy[ready]
            said = worker.hear()
            if isinstance(said, str):
                continue  # the phase it is in
            if said is None:
                said = _bury(worker, again)
            if said is not None:
                yield said
            for idle in workers:
                if idle.job is None:
                    feed(idle)


def _bury(worker: Worker, again: list[Job]) -> Outcome | None:
    """What a group means that killed its process; None if it is to be tried in parts."""
    job, phase = worker.job, worker.phase
    worker.restart()
    if len(job) > 1:
        again.extend([recipe] for recipe in job)
        return None
    if phase == "stock":
        return refuse("the process died in stock TVM")
    failure = {"recipe": job[0], "verdict": "ours crashes", "detail": "the process died"}
    return Outcome(Counter({"ours crashes": 1}), failures=[failure])


class Worker:
    """A process that examines groups.

    Attributes
    ----------
    connection : Connection
        Its end of the pipe.
    job : list of dict or None
        What it is at.
    phase : str
        What it last said that it does.
    """

    def __init__(self):
        self.job: Job | None = None
        self.restart()

    def restart(self) -> None:
        """Start the process, again."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.job, self.phase = None, ""

    def give(self, job: Job) -> None:
        """Let it examine a group."""
        self.job, self.phase = job, ""
        self.connection.send(job)

    def hear(self) -> Outcome | str | None:
        """A phase, the outcome of its job, or None if it died."""
        try:
            said = self.connection.recv()
        except (EOFError, ConnectionResetError):
            return None
        if isinstance(said, str):
            self.phase = said
        else:
            self.job = None
        return said

    def stop(self) -> None:
        """End the process."""
        self.connection.close()
        self._process.terminate()
        self._process.join()


def _work(connection: Connection) -> None:
    from ..quiet import quiet

    with quiet():
        while True:
            try:
                job = connection.recv()
            except (EOFError, KeyboardInterrupt):
                return
            connection.send(examine(job, connection.send))
