"""The model's residuals and the gain demanded for them, on made-up rows; nothing is timed."""

import json
from pathlib import Path

import pytest

import bench
from bench import harness, residuals
from bench.residuals import Residual, find_errors, find_residuals, tabulate
from tvm_reorder.core.cpu_model import find_error_shares

from ..core.workloads import workload

RESULTS = Path(bench.__file__).parent / "results"


class Promises:
    """A model that promises what a row was given."""

    def __init__(self, promised, steps):
        self.promised, self.kept = promised, steps

    def estimate(self, site, action):
        return {"keep": 10.0, "exchange": None}.get(str(action), 10.0 - self.promised)

    def steps(self, site, action):
        return self.kept if str(action) == "keep" else self.kept / 4


@pytest.fixture(autouse=True)
def promises(monkeypatch):
    """The target of a row says what the model promises there."""
    monkeypatch.setattr(residuals, "_make_model", lambda target, threads: Promises(*target))


def row(site, promised, measured, steps=0.0, **fields):
    """A site that takes 10 ms as it is, `steps` of them in expensive steps, and is then fused."""
    return {
        "site": site,
        "threads": 2,
        "schedules": "default",
        "target": (promised, steps),
        "workload": workload().as_dict(),
        "time_ms": {"stock": [10.0, 11.0, 12.0], "fuse": [t - measured for t in (10, 11, 12)]},
        **fields,
    }


def test_a_residual_is_what_was_promised_and_not_saved():
    (found,) = find_residuals([row("a", promised=2.0, measured=0.5, steps=4.0)])
    assert found == Residual("a", "fuse", 2, 2.0, 0.5, kernels=6.0, steps=3.0)
    assert found.shortfall == 1.5


OTHERS = [{"schedules": "tuned"}, {"workload": workload(convolution=None).as_dict()}]


@pytest.mark.parametrize("fields", OTHERS)
def test_rows_that_say_nothing_of_the_model(fields):
    assert not list(find_residuals([row("a", 1.0, 1.0, **fields)]))


def test_ways_that_are_not_possible_have_none():
    """That the model says nothing of, and that were not measured."""
    both = row("a", 1.0, 1.0)
    both["time_ms"]["exchange"] = both["time_ms"]["fuse"]
    assert [r.way for r in find_residuals([both])] == ["fuse"]
    assert not list(find_residuals([row("a", 1.0, 1.0, time_ms={"stock": [1.0]})]))


def test_errors_cover_nine_promises_of_ten():
    cheap = [row(f"c{k}", promised=1.0, measured=1.0 - k / 10) for k in range(11)]
    not_promised = [row("n", promised=-0.1, measured=-5.0)] * 9
    found = list(find_residuals(cheap + [row("s", 3.0, 1.0, steps=4.0)] * 2))
    assert find_errors([*found, *find_residuals(not_promised)]) == find_errors(found)
    errors = find_errors(found)
    assert errors["kernels"] == pytest.approx(0.09)
    # 2 ms short, 0.09 * 6 ms of them the kernels', the rest of the 3 ms that steps should save
    assert errors["steps"] == pytest.approx((2 - 0.54) / 3)
    kept = sum(r.shortfall <= errors["kernels"] * r.kernels + 1e-9 for r in found if not r.steps)
    assert kept == 10
    assert tabulate(found, errors)[-1][-1] == "9.00% of the kernels, 49% of steps"


def test_a_model_that_promises_too_little_has_no_error():
    rows = [row(f"c{k}", 1.0, 2.0) for k in range(3)] + [row("s", 3.0, 4.0, steps=4.0)] * 2
    assert find_errors(find_residuals(rows)) == {"kernels": 0.0, "steps": 0.0}


@pytest.mark.parametrize("lanes, folder", [(16, "."), (8, "avx2"), (4, "avx2")])
def test_the_models_errors_are_the_measured_ones(lanes, folder):
    measured = json.loads((RESULTS / folder / "residuals.json").read_text())
    shares = find_error_shares(lanes)
    assert shares == (round(measured["kernels"], 3), round(measured["steps"], 3))


@pytest.mark.parametrize("folder", [".", "avx2"])
def test_the_command_gives_what_is_in_the_folder(folder, monkeypatch, tmp_path, capsys):
    """Of whatever machine it is; nothing else is touched."""
    monkeypatch.undo()  # the real model
    monkeypatch.setattr(harness, "RESULTS", harness.RESULTS)  # put back at the end
    for name in ("sites.json", "residuals.json"):
        (tmp_path / name).write_text((RESULTS / folder / name).read_text())
    monkeypatch.setattr("sys.argv", ["residuals", "--results", str(tmp_path)])
    assert residuals.main() == 0 and "90 % quantiles" in capsys.readouterr().out
    before, after = (
        json.loads((each / "residuals.json").read_text()) for each in (RESULTS / folder, tmp_path)
    )
    assert before.pop("command") and after.pop("command")
    assert before == after


def test_too_few_sites():
    with pytest.raises(ValueError, match="0 sites with expensive steps were measured"):
        find_errors(find_residuals([row("a", 1.0, 1.0)] * 2))
