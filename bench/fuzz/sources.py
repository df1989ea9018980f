"""Where graphs come from: the generator of this folder, or ONNX files that others wrote.

``nnsmith`` has NNSmith generate models in an environment of its own (``scripts/nnsmith_env.sh``);
a folder of files does as well.  Either way max pools are put in, see ``onnx_pools.py``.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tvm_reorder.cli.errors import UsageError

from .onnx_pools import draw_model_recipe
from .recipe import draw_recipe

Deal = Callable[[int, int], dict]  # seed and index to recipe
_GENERATE = Path(__file__).with_name("nnsmith_models.py")
_AT_ONCE = 64  # models that one process generates; the solver's memory grows


def open_source(args: Namespace) -> Deal:
    """What deals out the recipes that a command line asks for.

    Raises
    ------
    UsageError
        If a folder holds no models, or NNSmith's environment is not there.
    """
    if args.models is not None:
        files = sorted(args.models.glob("*.onnx"))
        if not files:
            raise UsageError(f"--models {args.models} holds no file NAME.onnx but must hold some")
        return partial(_deal_file, files)
    return draw_recipe if args.source == "random" else _NNSmith(args.nnsmith)


def _deal_file(files: list[Path], seed: int, index: int) -> dict:
    """Each file in turn, again and again with other pools."""
    return draw_model_recipe(files[index % len(files)], seed, index)


class _NNSmith:
    """Generates models as they are needed."""

    def __init__(self, environment: Path):
        self._python = environment / "bin" / "python"
        self._folder = tempfile.TemporaryDirectory(prefix="nnsmith-")
        if not self._python.exists():
            raise UsageError(
                f"--nnsmith {environment} holds no bin/python but must be an environment with "
                "NNSmith: scripts/nnsmith_env.sh makes one"
            )

    def __call__(self, seed: int, index: int) -> dict:
        file = self._path(seed, index)
        if not file.exists():
            self._generate(seed, index - index % _AT_ONCE)
        return draw_model_recipe(file, seed, index)

    def _path(self, seed: int, index: int) -> Path:
        return Path(self._folder.name) / f"{seed}_{index}.onnx"

    def _generate(self, seed: int, first: int) -> None:
        names = [str(self._path(seed, first + n)) for n in range(_AT_ONCE)]
        environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
        command = [str(self._python), str(_GENERATE), str(seed), str(first), *names]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        missing = [name for name in names if not Path(name).exists()]
        if missing:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise UsageError(f"NNSmith generated no model {Path(missing[0]).stem}: {last}")
