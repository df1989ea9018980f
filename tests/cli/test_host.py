"""The defaults: this machine's processor and its physical cores."""

import os

import pytest
import tvm

from tvm_reorder.certify.targets import name_target_class
from tvm_reorder.cli import host, targets
from tvm_reorder.cli.host import count_cores, prepare_threads
from tvm_reorder.cli.lines import count
from tvm_reorder.cli.main import main
from tvm_reorder.cli.targets import find_host_target

CODEGEN = tvm.target.codegen


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes a machine out of files; gives the number of cores on it."""

    def make(files: dict[str, str], processors=range(4)) -> int:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(host, "list_processors", lambda: set(processors))
        return count_cores(tmp_path)

    return make


def siblings(*cores: str) -> dict[str, str]:
    """Topology files: each core's processors, such as ``"0,2"``."""
    return {
        f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list": core + "\n"
        for core in cores
        for number in core.split(",")
    }


HYPERTHREADED = siblings("0,2", "1,3")
UNIFIED = {"proc/self/cgroup": "0::/a/b\n"}
OLD = {"proc/self/cgroup": "4:cpu,cpuacct:/a\n3:cpuset:/c\n1:name=systemd:/\n"}


@pytest.mark.parametrize(
    "files, cores",
    [
        ({}, 4),
        (HYPERTHREADED, 2),
        ({**HYPERTHREADED, **UNIFIED, "sys/fs/cgroup/cpu.max": "max 100000"}, 2),
        ({**HYPERTHREADED, **UNIFIED, "sys/fs/cgroup/a/cpu.max": "100000 100000"}, 1),
        ({**UNIFIED, "sys/fs/cgroup/a/b/cpu.max": "250000 100000"}, 2),
        ({**UNIFIED, "sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
        (
            {
                **OLD,
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (
            {
                **OLD,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            4,
        ),
    ],
)
def test_physical_cores_within_the_share(files, cores, machine):
    assert machine(files) == cores


def test_only_processors_that_may_be_used_count(machine):
    assert machine(HYPERTHREADED, processors=[0, 2]) == 1
    assert machine(HYPERTHREADED, processors=[1, 2]) == 2


@pytest.mark.parametrize(
    "given, wanted, expected",
    [
        ({}, None, "3"),
        ({}, 5, "5"),
        ({"TVM_NUM_THREADS": "7"}, None, "7"),
        ({"TVM_NUM_THREADS": "7"}, 2, "2"),
        ({"OMP_NUM_THREADS": "7"}, None, None),
    ],
)
def test_threads(given, wanted, expected, monkeypatch):
    for name in (*host.THREAD_VARIABLES, "TVM_BIND_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(host, "count_cores", lambda: 3)
    prepare_threads(wanted)
    found = os.environ.pop("TVM_NUM_THREADS", None)
    assert found == expected


def test_threads_stay_on_the_processors_that_may_be_used(monkeypatch):
    monkeypatch.delenv("TVM_BIND_THREADS", raising=False)
    monkeypatch.setenv("TVM_NUM_THREADS", "2")
    monkeypatch.setattr(host, "list_processors", lambda: {0})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    prepare_threads(None)
    assert os.environ.pop("TVM_BIND_THREADS") == "0"


# --- the target ---------------------------------------------------------------------------------


@pytest.fixture
def processor(monkeypatch):
    """Sets what LLVM calls this machine's processor, and what Linux says it can do."""

    def make(name: str, flags: str | None):
        found = None if flags is None else set(flags.split())
        monkeypatch.setattr(CODEGEN, "llvm_get_system_cpu", lambda: name)
        monkeypatch.setattr(targets, "_read_flags", lambda: found)

    return make


V2 = "sse4_1 sse4_2"
V3 = f"{V2} avx avx2 bmi1 bmi2 f16c fma abm"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"
ZEN4 = f"{V4} avx512_vnni avx512_bf16"


@pytest.mark.parametrize(
    "name, flags, expected",
    [
        ("znver4", ZEN4, "llvm -mcpu=znver4"),
        ("znver4", None, "llvm -mcpu=znver4"),
        ("znver4", V4, "llvm -mcpu=x86-64-v4"),  # a virtual machine hides instructions
        ("znver4", V3, "llvm -mcpu=x86-64-v3"),
        ("znver9", V3, "llvm -mcpu=x86-64-v3"),  # newer than this LLVM
        ("znver9", V2, "llvm -mcpu=x86-64-v2"),
        ("znver9", "", "llvm"),
        ("", "", "llvm"),
    ],
)
def test_the_processor_of_this_machine(name, flags, expected, processor, capsys):
    processor(name, flags)
    assert find_host_target() == expected
    said = capsys.readouterr().err
    assert (said == "") == expected.endswith(name or "?")
    assert not said or repr(name) in said and said.endswith(f": {expected}\n")


def test_it_is_what_every_command_compiles_for(model, processor, tmp_path, capsys):
    processor("core-avx2", None)
    for options in (["inspect", model], ["compile", model, "-o", str(tmp_path / "m.tar")]):
        assert main(options) == 0
        first = capsys.readouterr().out.splitlines()[0]
        threads = count(tvm.runtime.num_threads(), "thread")
        assert first == f"target llvm -mcpu=core-avx2, {threads}"
    assert main(["inspect", model, "--target", "llvm"]) == 0
    assert capsys.readouterr().out.startswith("target llvm, ")


@pytest.mark.parametrize(
    "processor, expected",
    [
        *((name, "sse2") for name in ("x86-64", "x86-64-v2", "nehalem", "sandybridge", "btver2")),
        *((name, "avx2+fma") for name in ("x86-64-v3", "haswell", "skylake", "alderlake")),
        *((name, "avx2+fma") for name in ("znver1", "znver2", "znver3", "core-avx2")),
        *((name, "avx512") for name in ("x86-64-v4", "skylake-avx512", "cascadelake")),
        *((name, "avx512") for name in ("icelake-server", "sapphirerapids", "znver4")),
    ],
)
def test_the_class_that_certificates_are_for(processor, expected):
    target = tvm.target.Target(f"llvm -mcpu={processor}")
    assert name_target_class(target) == f"llvm x86-64 {expected}"


def test_every_processor_that_llvm_knows_has_a_shipped_class():
    classes = {
        name_target_class(tvm.target.Target(f"llvm -mcpu={name}"))
        for name in CODEGEN.llvm_get_cpu_archlist(tvm.target.Target("llvm"))
    }
    assert classes == {f"llvm x86-64 {name}" for name in ("sse2", "avx2+fma", "avx512")}
