"""The options, shared by the Python API, the command line and the tvmc plug-in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from .decision import Action
from .licence import EQUAL, Licence

DECISIONS = ("auto", *(str(action) for action in Action))
CERTIFY = ("auto", "cached", "off")


@dataclass(frozen=True)
class ReorderConfig:
    """Options of the pass.

    Parameters
    ----------
    licence : Licence or str
        How much of the result may differ; see `tvm_reorder.core.licence`.
    opt_level : int
        Lowest ``PassContext`` opt_level at which the pass runs (1, like operator fusion).
    write : bool
        False leaves the module as it is and only reports.
    decision : str
        ``"auto"`` decides at every site whether it pays; ``"keep"``, ``"exchange"`` and ``"fuse"``
        do that wherever it is exact and possible, whether it pays or not.
    records : str or None
        File of measured sites (``tvm-reorder tune-sites``) that ``"auto"`` goes by.
    certify : str
        Where certificates of functions that no proof covers come from: ``"cached"`` takes those
        shipped and those in the user's cache, ``"auto"`` also makes missing ones on the spot
        (seconds each) and caches them, ``"off"`` takes none.
    only, skip : sequence of str
        Names of sites, the model's own or the build's (``max_pool2d_3``): touch only these, if
        there are any, and leave those as they are.

    Raises
    ------
    ValueError
        If an option has no meaning or no rule can meet the licence.
    """

    licence: Licence | str = EQUAL
    opt_level: int = 1
    write: bool = True
    decision: str = "auto"
    records: str | None = None
    certify: str = "cached"
    only: Sequence[str] = ()
    skip: Sequence[str] = ()

    def __post_init__(self):
        if isinstance(self.licence, str):
            object.__setattr__(self, "licence", Licence.parse(self.licence))
        if not isinstance(self.licence, Licence):
            raise ValueError(f"licence is {self.licence!r} but must be a Licence or its text")
        if self.licence.bitwise:
            raise ValueError(
                "licence is 'bitwise' but must be 'equal', 'strict' or 'ulp:N': "
                "no rule keeps the sign of zero, max(+0, -0) depends on the order"
            )
        if not isinstance(self.opt_level, int) or not 0 <= self.opt_level <= 4:
            raise ValueError(f"opt_level is {self.opt_level!r} but must be an integer from 0 to 4")
        if self.decision not in DECISIONS:
            raise ValueError(
                f"decision is {self.decision!r} but must be one of " + ", ".join(DECISIONS)
            )
        if self.certify not in CERTIFY:
            raise ValueError(
                f"certify is {self.certify!r} but must be one of " + ", ".join(CERTIFY)
            )
        if self.records is not None:
            object.__setattr__(self, "records", os.fspath(self.records))
        for option in ("only", "skip"):
            object.__setattr__(self, option, _read_names(option, getattr(self, option)))


def _read_names(option: str, names: Sequence[str]) -> tuple[str, ...]:
    is_list = not isinstance(names, str) and isinstance(names, Sequence)
    if not is_list or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{option} is {names!r} but must be a sequence of sites' names")
    return tuple(names)
