"""Tuning on several machines through TVM's own tracker; here all of them are this one."""

import json
import random
import socket
import sys
import time

import pytest

from bench.tuning.tracker import Tracker
from tvm_reorder.cli.errors import UsageError

from .conftest import kill

KEY = "loopback"


def free_port() -> int:
    """One that the system does not hand out by itself to whoever connects somewhere."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError


def wait_until(is_so, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def has_servers(tracker: Tracker, count: int) -> bool:
    try:
        return tracker.count_servers() == count
    except UsageError:
        return count == 0


@pytest.fixture
def tracker(script):
    tracker = Tracker("127.0.0.1", free_port(), KEY)
    options = ["--port", str(tracker.port), "--port-end", str(tracker.port + 1), "--silent"]
    script.keep([sys.executable, "-m", "tvm.exec.rpc_tracker", "--host", tracker.host, *options])
    wait_until(lambda: is_open(tracker))  # a server that finds none tries again in five seconds
    return tracker


def is_open(tracker: Tracker) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((tracker.host, tracker.port)) == 0


def start_server(script, tracker: Tracker):
    # From the port up, the first that is free.
    ports = ["--port", str(free_port()), "--port-end", "32000"]
    options = ["--host", "127.0.0.1", *ports, "--tracker", str(tracker)]
    command = [sys.executable, "-m", "tvm.exec.rpc_server", *options, "--key", KEY, "--silent"]
    return script.keep(command)


def read_log(script) -> list[dict]:
    return [json.loads(line) for line in script.log.read_text().splitlines()]


def test_a_server_that_dies_costs_no_finished_trial(script, tracker):
    servers = [start_server(script, tracker) for _ in range(2)]
    wait_until(lambda: has_servers(tracker, 2))
    process = script.start("--trials", 6, "--tracker", tracker, "--key", KEY)
    before = script.wait_for_lines(2, process)
    kill(servers[0])
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert script.log.read_text().splitlines()[: len(before)] == before
    row = script.row()
    assert [task["trials"] for task in row["tasks"]] == [6, 6]
    # Error 4 and up are runs that failed: the server's death must not count as one.
    assert all(record["result"][1] < 4 for record in read_log(script))
    assert row["tracker"] == {"key": KEY} and row["difference"]["ours"] < 1e-5
    assert json.loads((script.folder / "log.machine.json").read_text())["key"] == KEY


def test_a_server_there_must_be(script, tracker):
    said = script.fails("--trials", 2, "--tracker", tracker, "--key", "nobody")
    assert "--key is 'nobody' but must be that of a server" in said and "rpc_server" in said
    assert not script.log.exists()


def test_a_tracker_there_must_be(script):
    said = script.fails("--trials", 2, "--tracker", f"127.0.0.1:{free_port()}", "--key", KEY)
    assert "cannot be reached" in said and "rpc_tracker" in said
    assert not script.log.exists()


@pytest.mark.parametrize("address", ["host", "host:", ":9190", "host:port", "host:70000"])
def test_an_address_is_host_and_port(address):
    with pytest.raises(UsageError, match="must be HOST:PORT"):
        Tracker.parse(address, KEY)
