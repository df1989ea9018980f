"""The options, shared by the Python API, the command line and the tvmc plug-in."""

from __future__ import annotations

from dataclasses import dataclass

from .licence import EQUAL, Licence


@dataclass(frozen=True)
class ReorderConfig:
    """Options of the pass.

    Parameters
    ----------
    licence : Licence or str
        How much of the result may differ; see `tvm_reorder.core.licence`.
    any_producer : bool
        Exchange whatever computes the chain's input; by default a convolution or dense layer must.
    opt_level : int
        Lowest ``PassContext`` opt_level at which the pass runs (1, like operator fusion).
    write : bool
        False leaves the module as it is and only reports.

    Raises
    ------
    ValueError
        If an option has no meaning or no rule can meet the licence.
    """

    licence: Licence | str = EQUAL
    any_producer: bool = False
    opt_level: int = 1
    write: bool = True

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
