"""What a file of records holds, and one line on what it holds that cannot be used."""

from __future__ import annotations

import os

from ..core.records import Records, describe_problems, read_records
from ..relay.circumstances import Circumstances
from .lines import note


def read_known(path: str, circumstances: Circumstances, say: bool = True) -> Records:
    """The records that were measured under these circumstances; none if there is no file.

    Parameters
    ----------
    path : str
        The file; what it holds besides stays in it.
    circumstances : Circumstances
        What a record must be for.
    say : bool
        Name the lines that are left out.
    """
    if not os.path.exists(path):
        return Records()
    records, problems = read_records(
        path,
        circumstances.target,
        circumstances.threads,
        circumstances.tvm_version,
        circumstances.processor,
    )
    if problems and say:
        note(describe_problems(path, problems))
    return records
