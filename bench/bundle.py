"""A bundle: networks built here, to be run where there is TVM's runtime alone.

A folder with one folder for each network and batch, which holds

``case.json``    what was built: the builds, the kernels of the activation layers, the weights
``*.so, *.json`` kernels and executor's graph of each build
``weights.npz``  small weights

Large weights do not travel: they are drawn where the network runs, normal, of the deviation that
they had here.  A convolution that TVM computes by Winograd's algorithm gets its weights transformed
at compile time; such weights are drawn and transformed.  Each weight is known by its content, so
all builds of a network take the same ones.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

CASE = "case.json"
STORED = "weights.npz"


@dataclass(frozen=True)
class Recipe:
    """How to come by a weight of a network.

    Parameters
    ----------
    shape : tuple of int
        Of the weight.
    deviation : float or None
        Standard deviation of what is drawn; None if nothing is.
    source : str or None
        The weight of a convolution that this one is the Winograd transform of.
    matrix : list of list of float or None
        The G of that transform.
    """

    shape: tuple[int, ...]
    deviation: float | None = None
    source: str | None = None
    matrix: list[list[float]] | None = None


@dataclass(frozen=True)
class Build:
    """One build of a network.

    Parameters
    ----------
    decision : str or None
        What the pass did; None for stock TVM.
    fusing : str
        ``"fused"``, ``"apart"``, or ``"reference"`` for a build for the CPU.
    stem : str
        Of its files.
    weights : dict of str to str
        Content of each weight, by the name of the executor's input.
    actions : dict of str to int
        What was done at the network's pools, counted.
    """

    decision: str | None
    fusing: str
    stem: str
    weights: dict[str, str]
    actions: dict[str, int]


@dataclass(frozen=True)
class Layer:
    """An activation layer in front of a max pool, as a kernel of the builds with operators apart.

    Parameters
    ----------
    name, operator : str
        As the paper calls it, and Relay.
    functions : tuple of str
        Its kernels in the original build and in the exchanged one.
    shapes : tuple of tuple of int
        What they read, and write.
    """

    name: str
    operator: str
    functions: tuple[str, str]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Case:
    """A network of a bundle.

    Parameters
    ----------
    network, batch, target, schedules, licence
        What was built, and for what.
    inputs : dict
        Shapes of the inputs by name.
    builds : list of Build
        The reference first.
    decided : dict of str to int
        What the pass does at the pools on its own, counted.
    layers : list of Layer
        None where a max pool does not stand behind an activation.
    recipes : dict of str to Recipe
        Of every weight, by content.
    made : dict
        By which TVM, and from which commit.
    """

    network: str
    batch: int
    target: str
    schedules: str
    licence: str
    inputs: dict[str, tuple[int, ...]]
    builds: list[Build]
    decided: dict[str, int]
    layers: list[Layer]
    recipes: dict[str, Recipe]
    made: dict[str, str | None]

    def write(self, folder: Path) -> None:
        """Into its folder, last of all: a folder without it is not finished."""
        (folder / CASE).write_text(json.dumps(asdict(self), indent=1) + "\n")


def read_case(folder: Path) -> Case:
    """The network in a folder."""
    fields = json.loads((folder / CASE).read_text())
    fields["builds"] = [Build(**build) for build in fields["builds"]]
    fields["layers"] = [Layer(**layer) for layer in fields["layers"]]
    fields["recipes"] = {content: Recipe(**each) for content, each in fields["recipes"].items()}
    return Case(**fields)


class Weights:
    """The weights of a network in a bundle, by content, each made once.

    Parameters
    ----------
    folder : Path
        The network's.
    recipes : dict of str to Recipe
        Of all of them.
    """

    def __init__(self, folder: Path, recipes: dict[str, Recipe]):
        self._folder, self._recipes = folder, recipes
        self._made: dict[str, np.ndarray] = {}

    def __getitem__(self, content: str) -> np.ndarray:
        if content not in self._made:
            self._made[content] = self._make(content, self._recipes[content])
        return self._made[content]

    def _make(self, content: str, recipe: Recipe) -> np.ndarray:
        if recipe.source is not None:
            return transform(np.asarray(recipe.matrix, "float32"), self[recipe.source])
        if recipe.deviation is None:
            return self._stored[content]
        generator = np.random.default_rng(int(content[:12], 16))
        return generator.standard_normal(tuple(recipe.shape), "float32") * np.float32(
            recipe.deviation
        )

    @cached_property
    def _stored(self) -> dict[str, np.ndarray]:
        with np.load(self._folder / STORED) as file:
            return dict(file)


def transform(matrix: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """G·w·Gᵀ of each filter of an OIHW weight, as TVM's CUDA kernels take it: two axes, I, O."""
    rows = np.tensordot(matrix, weight.transpose(2, 3, 1, 0), axes=(1, 0))
    return np.ascontiguousarray(np.tensordot(matrix, rows, axes=(1, 1)).swapaxes(0, 1))
