"""apache/tvm's own tests of Relay have the same outcome with the pass on as without.

No package brings these tests, so they are taken from a checkout of apache/tvm at the release that
is installed (0.19: the tag v0.19.0), whose folder an environment variable names:

    TVM_REORDER_TVM_TESTS=/path/to/tvm/tests/python/relay python -m pytest -m full \
        tests/relay/test_tvms_own_tests.py -s

Each file runs in processes of its own, as TVM is and with the pass on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import tvm_reorder

FOLDER = os.environ.get("TVM_REORDER_TVM_TESTS")
FILES = [
    "test_pass_fuse_ops.py",
    "test_pass_alter_op_layout.py",
    "test_pass_convert_op_layout.py",
    "test_pass_fold_scale_axis.py",
    "test_backend_graph_executor.py",
    "test_build_module.py",
    "test_autotvm_task_extraction.py",
    "test_auto_scheduler_task_extraction.py",
]
BUILDING = FILES[4:]  # the others run single passes for the most part
PLUGIN = "tests.relay.tvms_tests_plugin"
ROOT = Path(tvm_reorder.__file__).parent.parent
HOURS = 3600

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        not FOLDER,
        reason="TVM_REORDER_TVM_TESTS is not set but must name a checkout's tests/python/relay: "
        "no package brings TVM's own tests",
    ),
]


def run(file: str, outcomes: Path, decision: str | None) -> dict:
    """Outcomes by test, and what the pass did."""
    path = Path(FOLDER) / file
    assert path.is_file(), f"{path} is no file but must be one of apache/tvm's tests"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "TVM_REORDER_OUTCOMES": str(outcomes),
        **({"TVM_REORDER_DECISION": decision} if decision else {}),
    }
    # Neither the settings nor the plugins of whatever lies around the folder.
    alone = ["-c", os.devnull, "--rootdir", FOLDER, "-p", "no:cacheprovider", "-p", PLUGIN]
    command = [sys.executable, "-m", "pytest", "-q", *alone, str(path)]
    done = subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=4 * HOURS
    )
    assert outcomes.is_file(), done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads(outcomes.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """What a file gives with TVM as it is, run once."""
    known = {}

    def find(file: str) -> dict:
        if file not in known:
            known[file] = run(file, tmp_path_factory.mktemp("stock") / "outcomes.json", None)
        return known[file]

    return find


@pytest.mark.parametrize("decision", ["auto", "exchange", "fuse"])
@pytest.mark.parametrize("file", FILES)
def test_outcomes_are_the_same(file, decision, stock, tmp_path):
    before = stock(file)["outcomes"]
    ours = run(file, tmp_path / "outcomes.json", decision)
    after = ours["outcomes"]
    counts = Counter(outcome.partition(" ")[0] for outcome in before.values())
    what = {name: ours[name] for name in ("runs", "sites", "exchanged", "fused")}
    print(f"\n{file}, {decision}: {len(before)} tests, {dict(counts)}; the pass: {what}")
    assert before and not ours["errors"]
    assert ours["runs"] or file not in BUILDING
    other = {test: (before.get(test), after.get(test)) for test in before.keys() | after.keys()}
    assert {test: pair for test, pair in other.items() if pair[0] != pair[1]} == {}
