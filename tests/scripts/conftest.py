"""The tuning script in a process of its own, with a model that takes no time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.models import save_network

ROOT = Path(__file__).parents[2]
# In the child, before the script: trials of a millisecond, searches of a few candidates.
_SMALL = """
import sys
from bench.harness import run_main
from bench.tuning import auto_scheduler, job, meta_schedule
job.MEASURE.update(min_repeat_ms=1, repeat=1)
auto_scheduler.SEARCH.update(evolutionary_search_population=8, evolutionary_search_num_iters=1)
meta_schedule.SEARCH.update(population_size=32, init_min_unmeasured=8, genetic_num_iters=1)
from scripts import tune
sys.exit(run_main(tune.main))
"""


class Script:
    """Runs ``scripts.tune`` on a tiny network; log and results in a folder of the test."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.model = save_network(folder / "tiny.onnx", size=16, channels=16)
        self.log = folder / "log"
        self.started: list[subprocess.Popen] = []

    def start(self, *options) -> subprocess.Popen:
        """Start it; all that it starts belongs to its process group."""
        given = [str(option) for option in options]
        defaults = {"--model": self.model, "--tuner": "autotvm", "--log": self.log}
        defaults |= {"--results": self.folder / "results", "--repeat": 1, "--threads": 1}
        for name, value in defaults.items():
            given += [] if name in given else [name, str(value)]
        return self.keep([sys.executable, "-c", _SMALL, *given])

    def keep(self, command: list[str]) -> subprocess.Popen:
        """Start something that will not outlive the test."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)
        self.started.append(process)
        return process

    def run(self, *options) -> tuple[int, str]:
        """Run it to its end: status and stderr."""
        process = self.start(*options)
        _, said = process.communicate(timeout=240)
        return process.returncode, said

    def fails(self, *options) -> str:
        """Run it; it must end with status 2 and one line."""
        status, said = self.run(*options)
        assert status == 2 and said.count("\n") == 1, said
        return said

    def row(self) -> dict:
        """The only row of the results."""
        (row,) = json.loads((self.folder / "results" / "tuned.json").read_text())["rows"]
        return row

    def wait_for_lines(self, count: int, process: subprocess.Popen) -> list[str]:
        """The lines of the log as soon as there are so many."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            if len(lines) >= count:
                return lines
            time.sleep(0.05)
        raise AssertionError(process.communicate()[1])


def kill(process: subprocess.Popen) -> None:
    """Kill a process and all that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


@pytest.fixture
def script(tmp_path):
    script = Script(tmp_path)
    yield script
    for process in script.started:
        kill(process)
        process.stdout.close()
        process.stderr.close()
