"""What measured times depend on besides the site, written the same way whoever asks."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm.target import Target, codegen


@dataclass(frozen=True)
class Circumstances:
    """Target, threads, TVM and machine.

    Parameters
    ----------
    target : str
        What `describe_target` gives.
    threads : int
        Threads that TVM uses.
    tvm_version : str
        Version of TVM.
    processor : str
        What the code runs on: LLVM's name of this machine's processor, or the GPU's name.
    """

    target: str
    threads: int
    tvm_version: str
    processor: str


def read_circumstances(target: Target | str | None = None) -> Circumstances:
    """The circumstances of a build for `target` (the one in scope, else llvm) on this machine."""
    if target is None:
        target = Target.current(allow_none=True) or "llvm"
    target = Target(target)
    return Circumstances(
        describe_target(target),
        tvm.runtime.num_threads(),
        tvm.__version__,
        read_processor(target),
    )


def read_processor(target: Target) -> str:
    """What code for a target runs on here: the first GPU for cuda, else the processor.

    Of a machine without a GPU it is ``"no GPU"``: no record was measured there.
    """
    if target.kind.name != "cuda":
        return str(codegen.llvm_get_system_cpu())
    gpu = tvm.cuda(0)
    return str(gpu.device_name) if gpu.exist else "no GPU"


def describe_target(target: Target) -> str:
    """Kind and attributes of a target, without what says nothing about the code made for it.

    tvmc adds the machine's own triple to a target and `relay.build` does not; the keys follow from
    the kind.
    """
    attributes = {name: str(value) for name, value in target.attrs.items()}
    if attributes.get("mtriple") == str(codegen.llvm_get_system_triple()):
        del attributes["mtriple"]
    options = (f"-{name}={value}" for name, value in sorted(attributes.items()))
    return " ".join([target.kind.name, *options])
