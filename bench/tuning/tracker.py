"""Other machines that measure, through TVM's own RPC tracker.

    python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port 9190
    python -m tvm.exec.rpc_server --tracker HOST:9190 --key K        # on each machine

A machine may go away while it measures.  Such a trial has not failed: it is made again on what is
left, and counts only when it fails as often as `job.RUN_ATTEMPTS` says with a server still there.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from tvm import rpc

from tvm_reorder.cli.errors import UsageError

_CONNECT_S = 5


@dataclass(frozen=True)
class Tracker:
    """A tracker and the machines of one kind that it knows.

    Parameters
    ----------
    host : str
        Of the tracker.
    port : int
        Of the tracker.
    key : str
        What the machines' servers were started with.
    """

    host: str
    port: int
    key: str

    @classmethod
    def parse(cls, address: str, key: str) -> Tracker:
        """From ``HOST:PORT``.

        Raises
        ------
        UsageError
            If the address is no such thing.
        """
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise UsageError(f"--tracker is {address!r} but must be HOST:PORT")
        return cls(host, int(port), key)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def count_servers(self) -> int:
        """How many servers have the key.

        Raises
        ------
        UsageError
            If there is no tracker, or no such server.
        """
        servers = self._connect().summary()["server_info"]
        # A server reports itself as "server:KEY".
        keys = [server["key"].partition(":")[2] for server in servers]
        if self.key not in keys:
            raise UsageError(
                f"--key is {self.key!r} but must be that of a server at {self} (there: "
                f"{', '.join(sorted(set(keys))) or 'none'}); start one with 'python -m "
                f"tvm.exec.rpc_server --tracker {self} --key {self.key}'"
            )
        return keys.count(self.key)

    def open_session(self) -> rpc.RPCSession:
        """A machine, for as long as the session lives.

        Raises
        ------
        UsageError
            If there is none.
        """
        self.count_servers()
        return self._connect().request(self.key)

    def _connect(self) -> rpc.TrackerSession:
        try:
            # TVM itself would try for five minutes.
            socket.create_connection((self.host, self.port), _CONNECT_S).close()
            return rpc.connect_tracker(self.host, self.port)
        except (OSError, RuntimeError) as error:
            raise UsageError(
                f"--tracker {self} cannot be reached ({error}) but must be a running "
                f"'python -m tvm.exec.rpc_tracker --port {self.port} --port-end {self.port + 1}'"
            ) from error
