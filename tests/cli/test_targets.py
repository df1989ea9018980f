"""Targets and the devices that their code runs on, with and without a GPU."""

import pytest
import tvm

from tvm_reorder.cli import targets
from tvm_reorder.cli.errors import UsageError
from tvm_reorder.cli.targets import open_device, read_target

CUDA = "cuda -arch=sm_90"


@pytest.fixture
def machine(monkeypatch):
    """Sets whether TVM has CUDA and whether there is a GPU."""

    def make(has_cuda: bool, has_gpu: bool):
        monkeypatch.setattr(targets, "_has", lambda function: has_cuda)
        monkeypatch.setattr(tvm.runtime.Device, "exist", has_gpu)

    return make


def test_llvm_runs_on_the_processor():
    assert open_device(read_target("llvm", must_run_here=True)) == tvm.cpu()


def test_cuda_runs_on_the_first_gpu(machine):
    machine(has_cuda=True, has_gpu=True)
    assert open_device(read_target(CUDA, must_run_here=True)) == tvm.cuda(0)


@pytest.mark.parametrize(
    "has_cuda, said",
    [(True, "no driver or no GPU answers"), (False, "this TVM was built without CUDA")],
)
def test_what_is_missing_for_cuda_is_named(has_cuda, said, machine):
    machine(has_cuda, has_gpu=False)
    wanted = f"no CUDA GPU that TVM can use: {said}"
    with pytest.raises(UsageError, match=wanted):
        read_target(CUDA, must_run_here=True)
    with pytest.raises(UsageError, match=wanted):
        open_device(read_target(CUDA))


def test_without_a_gpu_to_ask_the_architecture_is_wanted(machine):
    machine(has_cuda=True, has_gpu=False)
    with pytest.raises(UsageError, match="'cuda' but must name its architecture"):
        read_target("cuda")
    assert read_target(CUDA).attrs["arch"] == "sm_90"


def test_other_targets_do_not_run_here():
    assert read_target("c").kind.name == "c"
    with pytest.raises(UsageError, match="must be a cuda or llvm target, to be run here"):
        read_target("c", must_run_here=True)
