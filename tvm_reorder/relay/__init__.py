"""The pass on TVM Relay: TVM's IR on one side, core facts and plans on the other."""

from .environment import require_relay

require_relay()
