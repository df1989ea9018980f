"""Models by NNSmith, one a file; run by the Python of NNSmith's own environment.

    .nnsmith/bin/python bench/fuzz/nnsmith_models.py SEED FIRST FILE FILE ...

Model k of a seed goes to the file at place k - FIRST.  A seed for which NNSmith finds no model, or
whose export fails, is followed by the next one.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
import warnings

import numpy as np
import onnx
import torch
from nnsmith.abstract.extension import activate_ext
from nnsmith.graph_gen import model_gen
from nnsmith.materialize import Model
from nnsmith.narrow_spec import auto_opset

_NODES = (4, 12)
_RANKS = [3, 4, 4, 4, 5]  # mostly what a 2-D pool reads
_SMALL = 1024  # elements of a tensor at most
_EACH_MS = 5000
_TRIES = 50


def main(seed: int, first: int, files: list[str]) -> None:
    """Write all models."""
    # The exporter by tracing, which NNSmith was written for; torch's new one folds and renames.
    export = torch.onnx.export
    torch.onnx.export = lambda *a, **options: export(*a, **{**options, "dynamo": False})
    with contextlib.redirect_stdout(io.StringIO()):
        kind = Model.init("onnx", backend_target="cpu")
        kind.add_seed_setter()
        operators = auto_opset(kind, None, vulops=True)
        activate_ext(opset=operators, factory=None)
        for number, file in enumerate(files):
            onnx.save(_make(kind, operators, seed, first + number), file)


def _make(kind, operators, seed: int, index: int) -> onnx.ModelProto:
    for attempt in range(_TRIES):
        numbers = random.Random(f"nnsmith {seed} {index} {attempt}")
        chosen = numbers.getrandbits(31)
        random.seed(chosen)
        np.random.seed(chosen)
        torch.manual_seed(chosen)
        with contextlib.suppress(Exception):  # unsolvable, or not exportable
            generated = model_gen(
                opset=operators,
                method="symbolic-cinit",
                seed=chosen,
                max_elem_per_tensor=_SMALL,
                max_nodes=numbers.randint(*_NODES),
                timeout_ms=_EACH_MS,
                rank_choices=_RANKS,
            )
            model = kind.from_gir(generated.make_concrete())
            model.refine_weights()
            return model.onnx_model
    raise RuntimeError(f"no model after {_TRIES} tries")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
