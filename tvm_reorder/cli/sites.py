"""The sites that ``--only`` and ``--skip`` name, checked before the long work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.selection import UnknownSite, check_names
from ..relay.names import name_pools
from .errors import UsageError

if TYPE_CHECKING:
    from .models import Model


def check_sites(args, model: Model) -> None:
    """Raise `UsageError` if ``--only`` or ``--skip`` names what is no max pool of the model."""
    pools = [name for name in name_pools(model.mod) if name.is_max_pool]
    try:
        check_names([(name.own, name.build) for name in pools], args.only, args.skip, "--")
    except UnknownSite as error:
        raise UsageError(str(error)) from error
