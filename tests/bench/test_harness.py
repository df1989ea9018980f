"""Results grow by machine: what is of another one, or cut short, is neither shown nor replaced."""

import pytest

from bench import harness, machine
from bench.harness import read_rows, run_main, save_results, use_results
from tvm_reorder.cli.errors import UsageError


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", harness.RESULTS)  # as it was, afterwards
    use_results(tmp_path / "new" / "folder")
    return tmp_path / "new" / "folder"


def save(rows: list[dict]) -> None:
    save_results("table", {"rows": rows}, [["n"], *([str(row["n"])] for row in rows)])


def test_a_folder_is_made(results):
    assert read_rows("table") == []
    save([{"n": 1}])
    assert read_rows("table") == [{"n": 1}]


def test_rows_of_another_machine_are_left_as_they_are(results, monkeypatch):
    save([{"n": 1}])
    before = (results / "table.json").read_text()
    there = {**machine.describe_machine(), "processor": "Another 9000"}
    monkeypatch.setattr(harness, "describe_machine", lambda: there)
    line = r"table.json is of .* but must be of this machine, Another 9000 .*--results"
    with pytest.raises(UsageError, match=line):
        read_rows("table")
    with pytest.raises(UsageError, match=line):
        save([{"n": 2}])
    assert (results / "table.json").read_text() == before


def test_another_gpu_is_another_machine():
    here = machine.describe_machine()
    there = {**here, "gpu": {"name": "GPU 1"}}
    assert machine.is_same_machine(here, {**here, "commit": "other", "threads": "1"})
    assert not machine.is_same_machine(here, there)
    assert machine.name_machine(there).endswith("with GPU 1")


@pytest.mark.parametrize("text", ['{"machine": {"cores"', "[1]", "{}", '{"machine": 3}'])
def test_a_result_cut_short(results, text):
    results.mkdir(parents=True)
    (results / "table.json").write_text(text)
    with pytest.raises(UsageError, match="table.json is no whole result"):
        save([{"n": 2}])
    assert (results / "table.json").read_text() == text


@pytest.mark.parametrize(
    "error, status, line",
    [
        (UsageError("the thing is wrong"), 2, "error: the thing is wrong"),
        (ValueError("network is 'x'\nmore"), 2, "error: network is 'x'"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_a_user_did_wrong_is_one_line(capsys, error, status, line):
    def main():
        raise error

    assert run_main(main) == status
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(line) and captured.err.count("\n") == 1


def test_without_a_status_all_is_well():
    assert run_main(lambda: None) == 0 and run_main(lambda: 1) == 1
