"""Activations go past max pooling in Apache TVM Relay, exactly, where it pays.

Importing this package imports no TVM; the first use of an entry does, and says in one line what is
missing if it cannot.
"""

from importlib import import_module

from .core.config import ReorderConfig
from .core.decision import Action, Decision
from .core.licence import Licence
from .core.monotone import Direction
from .core.refusal import Reason, Refusal
from .core.report import Report, Site, Status

__version__ = "0.1.0"

_NEEDS_RELAY = {
    "enabled": "relay.pipeline",
    "reorder": "relay.pipeline",
    "ReorderActivations": "relay.passes",
    "register_activation": "relay.activations",
    "seed_task": "relay.op.conv2d_max_pool2d",
}

__all__ = [
    "Action",
    "Decision",
    "Direction",
    "Licence",
    "Reason",
    "Refusal",
    "ReorderConfig",
    "Report",
    "Site",
    "Status",
    *_NEEDS_RELAY,
]


def __getattr__(name: str):
    if name not in _NEEDS_RELAY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_NEEDS_RELAY[name]}", __name__), name)
