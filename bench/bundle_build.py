"""Making a bundle (``bundle.py``): the part that needs the compiler, and no GPU."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import tvm
from tvm.topi.nn.winograd_util import winograd_transform_matrices

import tvm_reorder
from tvm_reorder.cli.errors import UsageError
from tvm_reorder.core.report import Report

from .bundle import STORED, Build, Case, Layer, Recipe, transform
from .harness import choose_licence, read_commit, schedules_of
from .networks import Network, load_network
from .paper_builds import build_for, name_layer
from .paper_graph import KernelGraph

_SMALL = 1 << 16  # bytes; weights up to here travel
# A matrix of a dense layer above this stays an input of the network: nothing is folded into it, and
# VGG's compile for minutes otherwise.
_LARGE = 1 << 22
_TILES = (2, 4, 6)  # of Winograd's algorithm


def build_case(
    folder: Path, name: str, batch: int, target: tvm.target.Target, tuned_log: str | None
) -> Case:
    """Build one network in all ways, into a folder of its own.

    Parameters
    ----------
    folder : Path
        Made anew.
    name, batch : str, int
        The network.
    target : tvm.target.Target
        What it is to run on.
    tuned_log : str, optional
        AutoTVM log that all builds take their schedules from.

    Returns
    -------
    Case
        What was written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    network = load_network(name, batch)
    free = {key for key, value in network.params.items() if _stays_input(value)}
    bound = {key: value for key, value in network.params.items() if key not in free}
    maker = _Maker(folder, network._replace(params=bound), target)
    for key in free:
        maker.inputs[key] = maker.contents.add(network.params[key].numpy())
    maker.make_reference()
    with schedules_of(tuned_log):
        graphs = {way: maker.make(*way) for way in _WAYS}
        own = decide(network, target)
        if len(own) > 1:  # else it is stock TVM's build, or the exchanged one
            maker.make("auto", "fused")
    case = Case(
        network=name,
        batch=batch,
        target=str(target),
        schedules="default" if tuned_log is None else Path(tuned_log).stem,
        licence=choose_licence(target),
        inputs=network.inputs,
        builds=maker.builds,
        decided=own,
        layers=_pair_layers(graphs[None, "apart"], graphs["exchange", "apart"], network.mod),
        recipes=maker.contents.write(folder / STORED, maker.builds[0]),
        made={"tvm": tvm.__version__, "commit": read_commit()},
    )
    case.write(folder)
    return case


_WAYS = ((None, "fused"), ("exchange", "fused"), (None, "apart"), ("exchange", "apart"))


def _stays_input(weight: tvm.nd.NDArray) -> bool:
    return len(weight.shape) == 2 and int(np.prod(weight.shape)) * 4 > _LARGE


class _Contents:
    """All weights, by content."""

    def __init__(self):
        self._arrays: dict[str, np.ndarray] = {}

    def add(self, array: np.ndarray) -> str:
        """Keep a weight; its content's name."""
        head = f"{array.dtype}{array.shape}".encode()
        content = hashlib.sha1(head + np.ascontiguousarray(array).data).hexdigest()
        self._arrays.setdefault(content, array)
        return content

    def write(self, path: Path, reference: Build) -> dict[str, Recipe]:
        """Write the small weights; the recipe of each.

        Raises
        ------
        ValueError
            If a large weight is neither one of the reference's nor a transform of one.
        """
        plain = set(reference.weights.values())
        small = {key: array for key, array in self._arrays.items() if array.nbytes <= _SMALL}
        np.savez_compressed(path, **small)
        recipes = {}
        for content, array in self._arrays.items():
            if content in small:
                recipes[content] = Recipe(array.shape)
            elif content in plain:
                recipes[content] = Recipe(array.shape, deviation=float(array.std()))
            else:
                recipes[content] = self._explain(array, plain)
        return recipes

    def _explain(self, array: np.ndarray, plain: set[str]) -> Recipe:
        """The Winograd transform that a weight is."""
        for tile in _TILES if array.ndim == 4 else ():
            if array.shape[:2] != (tile + 2, tile + 2):
                continue
            matrix = _read_matrix(tile)
            for content in plain:
                weight = self._arrays[content]
                if weight.shape != (array.shape[3], array.shape[2], 3, 3):
                    continue
                if np.allclose(transform(matrix, weight), array, 1e-4, 1e-6):
                    return Recipe(array.shape, source=content, matrix=matrix.tolist())
        raise ValueError(
            f"a weight of shape {array.shape} is new but must be one of the network's, "
            "as it is or transformed by Winograd's algorithm"
        )


def _read_matrix(tile: int) -> np.ndarray:
    """TVM's G for filters of 3x3, evaluated: it is an expression there."""
    matrix = winograd_transform_matrices(tile, 3, "float32")[2]
    function = tvm.build(tvm.te.create_schedule(matrix.op), [matrix], "llvm")
    result = tvm.nd.empty(tuple(int(size) for size in matrix.shape))
    function(result)
    return result.numpy()


class _Maker:
    """Builds one network and keeps what the case needs to know."""

    def __init__(self, folder: Path, network: Network, target: tvm.target.Target):
        self.contents = _Contents()
        self.inputs: dict[str, str] = {}
        self.builds: list[Build] = []
        self._folder, self._network, self._target = folder, network, target

    def make_reference(self) -> None:
        """Stock TVM for any CPU, with the weights as they are: what the GPU's results are like."""
        disabled = ("AlterOpLayout",)
        library, _ = build_for(self._network, tvm.target.Target("llvm"), disabled=disabled)
        self._keep(library, None, "reference", {})

    def make(self, decision: str | None, fusing: str) -> str:
        """Build and export; the executor's graph."""
        library, report = build_for(self._network, self._target, decision, fusing == "apart")
        self._keep(library, decision, fusing, {} if report is None else count_actions(report))
        return library.get_graph_json()

    def _keep(self, library, decision: str | None, fusing: str, actions: dict) -> None:
        stem = f"{decision or 'stock'}_{fusing}"
        library.get_lib().export_library(str(self._folder / f"{stem}.so"))
        (self._folder / f"{stem}.json").write_text(library.get_graph_json())
        bound = {name: self.contents.add(w.numpy()) for name, w in library.get_params().items()}
        self.builds.append(Build(decision, fusing, stem, self.inputs | bound, actions))


def decide(network: Network, target: tvm.target.Target) -> dict[str, int]:
    """What the pass does at the network's pools if it is asked nothing, counted."""
    with tvm.transform.PassContext(opt_level=3):
        options = {"target": target, "licence": choose_licence(target)}
        return count_actions(tvm_reorder.reorder(network.mod, network.params, **options)[1])


def count_actions(report: Report) -> dict[str, int]:
    """How often each thing is done, or refused, at the pools of a report."""
    decisions = [site.decision for site in report.sites]
    return dict(Counter("refused" if d is None else str(d.action) for d in decisions))


def _pair_layers(before: str, after: str, mod: tvm.IRModule) -> list[Layer]:
    """The activation layers in front of max pools; none where something else is."""
    try:
        old = KernelGraph(before, mod).before_pools()
        new = KernelGraph(after, mod).behind_pools()
    except (UsageError, RuntimeError):
        return []
    return [
        Layer(
            name_layer(was.operator, number),
            was.operator,
            (was.function, now.function),
            (was.shape, now.shape),
        )
        for number, (was, now) in enumerate(zip(old, new, strict=True))
    ]
