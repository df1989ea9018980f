"""How many threads suit this machine: one for each physical core that the process may use.

TVM's own choice is half of the logical processors on x86, which is one core of two on a machine
without hyper-threading, and it knows of no container's share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .errors import UsageError

THREAD_VARIABLES = ("TVM_NUM_THREADS", "OMP_NUM_THREADS")  # those that TVM reads
_MOST_THREADS = 1024  # more of them than cores are allowed, but TVM starts as many as it is told


def prepare_threads(wanted: int | None) -> None:
    """Set TVM's thread count, before TVM is imported.

    Parameters
    ----------
    wanted : int or None
        What the user asked for; by default the environment says, or else the machine.

    Raises
    ------
    UsageError
        If the environment names no number of threads that could be started.
    """
    if wanted is not None:
        os.environ[THREAD_VARIABLES[0]] = str(wanted)
    elif os.environ.get(THREAD_VARIABLES[0]):
        _check_threads(os.environ[THREAD_VARIABLES[0]])
    elif not any(map(os.environ.get, THREAD_VARIABLES)):
        os.environ[THREAD_VARIABLES[0]] = str(count_cores())
    if len(list_processors()) < (os.cpu_count() or 1):
        # TVM would bind its threads to the first processors, those that others may use.
        os.environ.setdefault("TVM_BIND_THREADS", "0")


def _check_threads(text: str) -> None:
    most = max(_MOST_THREADS, os.cpu_count() or 1)
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise UsageError(
            f"{THREAD_VARIABLES[0]} is {text!r} but must be a whole number from 1 to {most}"
        )


def list_processors() -> set[int]:
    """Logical processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def count_cores(root: Path = Path("/")) -> int:
    """Physical cores that this process may use, at least 1.

    Parameters
    ----------
    root : Path
        Where ``sys`` and ``proc`` are.
    """
    cores = {_name_core(number, root) for number in list_processors()}
    return max(1, int(min([len(cores), *_read_shares(root)])))


def _name_core(processor: int, root: Path) -> str:
    """The same for logical processors of one core."""
    folder = root / f"sys/devices/system/cpu/cpu{processor}/topology"
    return _read(folder / "thread_siblings_list") or str(processor)


def _read_shares(root: Path) -> Iterator[float]:
    """Processors' worth of time that control groups allow, of each group the process is in."""
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):  # in a container the mount is the group itself
            yield from _read_share(mount / folder, is_unified=not controllers)


def _read_share(folder: Path, is_unified: bool) -> Iterator[float]:
    if is_unified:
        figures = (_read(folder / "cpu.max") or "").split()
    else:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        figures = [_read(folder / name) or "" for name in names]
    if len(figures) == 2 and all(map(str.isdecimal, figures)) and int(figures[1]):
        yield int(figures[0]) / int(figures[1])


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
