"""Records: what a file keeps, and what a damaged or foreign line does to it (nothing)."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_reorder.core.decision import Action, choose
from tvm_reorder.core.records import (
    Record,
    Records,
    append_record,
    describe_problems,
    read_records,
)
from tvm_reorder.core.workload import OPTIONAL, Home

from .workloads import workload

SITE = workload()
TIMES = {Action.KEEP: [2.0, 2.5], Action.EXCHANGE: [1.5, 1.25], Action.FUSE: [1.0, 1.0]}
RECORD = Record(SITE.as_dict(), "llvm", 2, "0.19.0", "znver4", TIMES)
HERE = {"target": "llvm", "threads": 2, "tvm_version": "0.19.0", "processor": "znver4"}


@pytest.fixture
def read(tmp_path):
    """Reads a file of the lines given."""

    def run(*lines: str | bytes, end: bytes = b"\n", **other):
        encoded = [line if isinstance(line, bytes) else line.encode() for line in lines]
        path = tmp_path / "records.jsonl"
        path.write_bytes(b"\n".join(encoded) + end)
        return read_records(path, **HERE | other)

    return run


def changed(**values) -> str:
    """The record's line with other values; None leaves one out."""
    fields = json.loads(RECORD.as_line()) | values
    return json.dumps({key: value for key, value in fields.items() if value is not None})


def test_a_record_survives_its_line():
    assert Record.from_line(RECORD.as_line()) == RECORD
    assert Record.from_line(RECORD.as_line().encode()) == RECORD
    assert "\n" not in RECORD.as_line() and RECORD.key == SITE.key


@pytest.mark.parametrize(
    "field, value",
    [("ends", "both"), ("base_dtype", "int8"), ("home", Home.ALONE), ("is_reduction", True)],
)
def test_what_is_written_only_where_it_says_something_is_read_again(field, value):
    assert field in OPTIONAL and value != OPTIONAL[field]
    site = replace(SITE, **{field: value})
    record = replace(RECORD, workload=site.as_dict())
    assert Record.from_line(record.as_line()).key == site.key != SITE.key
    assert field not in SITE.as_dict() and len(OPTIONAL) == 4


def test_times_of_a_workload(read):
    records, problems = read(RECORD.as_line())
    assert problems == [] and len(records) == 1
    assert records.times(workload()) == TIMES
    assert records.times(workload(size=112)) is None
    assert choose(SITE, Action, "auto", records).action is Action.FUSE


def test_the_later_of_two_records_counts(read):
    records, _ = read(RECORD.as_line(), changed(times_ms={"keep": [1.0]}))
    assert records.times(SITE) == {Action.KEEP: [1.0]} and len(records) == 1


def test_an_empty_file_and_blank_lines(read):
    assert read(b"", end=b"")[1] == [] and read(b"", b" \r", b"")[1] == []
    assert len(read(b"", RECORD.as_line(), b"")[0]) == 1


BAD = {
    "hello": "'hello' but must be a line of JSON",
    RECORD.as_line()[:-9]: "but must be a line of JSON",
    b"\xff\xfe\x00": "but must be a line of JSON",
    "[" * 100_000: "but must be a line of JSON",
    "[1, 2]": "is [1, 2] but must be a JSON object",
    "null": "is None but must be a JSON object",
    "{}": "has no 'workload'",
    changed(tvm=None): "has no 'tvm'",
    changed(workload=[]): "has the workload [] but must have one with chain, convolution",
    changed(workload={"chain": []}): "but must have one with chain, convolution",
    changed(target=""): "has the target '' but must have a text",
    changed(target=3): "has the target 3 but",
    changed(processor=[]): "has the processor [] but",
    changed(threads=0): "has the threads 0 but must have 1 or more",
    changed(threads=True): "has the threads True but",
    changed(threads=2.0): "has the threads 2.0 but",
    changed(times_ms=[]): "has the times_ms [] but must have those of 'keep'",
    changed(times_ms={"fuse": [1.0]}): "but must have those of 'keep'",
    changed(times_ms={"keep": [1.0], "melt": [1.0]}): "times of 'melt' but must have those of keep",
    changed(times_ms={"keep": []}): "has the times [] of 'keep' but must have positive",
    changed(times_ms={"keep": 1.0}): "has the times 1.0 of 'keep'",
    changed(times_ms={"keep": [0]}): "has the times [0] of 'keep'",
    changed(times_ms={"keep": [-1.0]}): "has the times [-1.0] of 'keep'",
    changed(times_ms={"keep": [True]}): "has the times [True] of 'keep'",
    changed(times_ms={"keep": ["1"]}): "has the times ['1'] of 'keep'",
    changed(times_ms={"keep": [float("nan")]}): "has the times [nan] of 'keep'",
    changed(times_ms={"keep": [float("inf")]}): "has the times [inf] of 'keep'",
    changed(times_ms={"keep": [10**400]}): "of 'keep' but must have positive milliseconds",
    changed(tvm="0.18.0"): "is for TVM '0.18.0' but must be for '0.19.0'",
    changed(threads=1): "is for a thread count of 1 but must be for 2",
    changed(target="llvm -mcpu=x"): "is for the target 'llvm -mcpu=x' but must be for 'llvm'",
    changed(processor="znver1"): "is for the processor 'znver1' but must be for 'znver4'",
}


@pytest.mark.parametrize("line, said", BAD.items(), ids=range(len(BAD)))
def test_a_bad_line_is_named_and_loses_only_itself(read, tmp_path, line, said):
    records, problems = read(RECORD.as_line(), line, changed(workload=workload(size=8).as_dict()))
    assert len(records) == 2 and records.times(SITE) == TIMES
    (problem,) = problems
    assert problem.startswith(f"{tmp_path / 'records.jsonl'} line 2 ") and said in problem
    assert "\n" not in problem and len(problem) < 400


def test_any_processor_will_do_unless_one_is_asked_for(read):
    assert len(read(changed(processor="znver1"), processor=None)[0]) == 1


def test_a_workload_that_is_another_is_never_taken_for_this_one(read):
    foreign = SITE.as_dict() | {"window": "rubbish", "planes": "many"}
    records, problems = read(changed(workload=foreign))
    assert problems == [] and records.times(SITE) is None


def test_one_warning_names_the_first_lines_and_counts_the_others(read, tmp_path):
    path = tmp_path / "records.jsonl"
    assert describe_problems(path, []) == ""
    _, problems = read("a", RECORD.as_line(), "b")
    text = describe_problems(path, problems)
    assert text.startswith(f"{path}: 2 lines skipped: line 1 is 'a")
    assert "; line 3 is 'b" in text and "more" not in text
    text = describe_problems(path, read(*"abcdef")[1])
    assert "line 3 is" in text and "line 4" not in text and text.endswith("; and 3 more")
    assert describe_problems(path, problems[:1]).startswith(f"{path}: 1 line skipped: line 1")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_records(tmp_path / "absent", **HERE)


def test_appending(tmp_path):
    path = tmp_path / "records.jsonl"
    append_record(path, RECORD)
    append_record(path, RECORD)
    assert path.read_text() == 2 * (RECORD.as_line() + "\n")


@pytest.mark.parametrize("cut", [1, 2, 50, -1])
def test_a_kill_while_appending_loses_that_line_only(tmp_path, cut):
    path = tmp_path / "records.jsonl"
    append_record(path, RECORD)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:cut])
    other = workload(size=8)
    append_record(path, Record(other.as_dict(), "llvm", 2, "0.19.0", "znver4", TIMES))
    records, problems = read_records(path, **HERE)
    assert records.times(SITE) == TIMES and records.times(other) == TIMES
    # cut at the line's end, the line is whole
    assert len(problems) == (cut != -1) and all("line 2" in problem for problem in problems)


def test_what_cannot_be_written_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        append_record(tmp_path, RECORD)
    with pytest.raises(FileNotFoundError):
        append_record(tmp_path / "absent" / "file", RECORD)
    assert os.listdir(tmp_path) == []


def test_what_is_not_finite_is_never_written():
    broken = Record(SITE.as_dict(), "llvm", 2, "0.19.0", "znver4", {Action.KEEP: [float("nan")]})
    with pytest.raises(ValueError):
        broken.as_line()


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_arbitrary_bytes_are_refused_in_one_line(line):
    with pytest.raises(ValueError, match="but must"):
        Record.from_line(line)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(leaves, lambda x: st.lists(x) | st.dictionaries(st.text(max_size=5), x))


@given(st.sampled_from(sorted(json.loads(RECORD.as_line()))), values)
def test_whatever_stands_in_a_field_is_read_or_refused(field, value):
    try:
        record = Record.from_line(changed(**{field: value}))
    except ValueError as error:
        assert "but must" in str(error) and "\n" not in str(error)
        return
    assert Record.from_line(record.as_line()) == record
    assert Records([record]).times(SITE) in (TIMES, None, record.times_ms)
