"""Figure 4: pictures through the network before and after; every class score must stay the same.

Half of the pictures are real: random crops of the two photographs that come with scikit-learn,
scaled to the network's input and normalised as ImageNet classifiers expect it.  The other half is
standard normal noise.  The custom network has no classes; all of its output is compared.
"""

from __future__ import annotations

import numpy as np
from tvm.contrib import graph_executor

from tvm_reorder.cli.errors import UsageError

from .networks import load_network
from .paper_builds import Setting, build

REAL, RANDOM = 50, 50
BUILDS = (("apart", "exchange"), ("fused", "auto"))

# Of ImageNet's red, green and blue, on a scale from 0 to 1.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SMALLEST_SHARE = 0.25  # of a photograph's shorter side that a crop has at least


def compare_pictures(name: str, setting: Setting) -> list[dict]:
    """Compare the scores of all pictures, original against exchanged network.

    Parameters
    ----------
    name : str
        The network; it takes one input of shape (1, 3, height, width).
    setting : Setting
        Where, and the seed of the pictures.

    Returns
    -------
    list of dict
        A row for each of `BUILDS`: how many pictures have all scores equal (``identical``, by
        ``==``; ``identical_bits``), and how many different scores win.

    Raises
    ------
    UsageError
        If the network takes no such input.
    """
    network = load_network(name)
    ((label, shape),) = network.inputs.items()
    if len(shape) != 4 or shape[:2] != (1, 3):
        raise UsageError(f"input of {name} is {shape} but must be (1, 3, height, width)")
    pictures = draw_pictures(shape[2:], setting.seed)
    rows = []
    for fusing, decision in BUILDS:
        # One library at a time: VGG's weights lie several times in memory with each.
        stock, ours = (
            _score(build(network, setting, which, fusing == "apart"), label, pictures, setting)
            for which in (None, decision)
        )
        row = {"fusing": fusing, "decision": decision, "real": REAL, "random": RANDOM}
        rows.append({**setting.place(name, 1), **row, **_compare(stock, ours)})
    return rows


def draw_pictures(size: tuple[int, int], seed: int) -> list[np.ndarray]:
    """The pictures, real ones first, as float32 of shape (1, 3, height, width)."""
    rng = np.random.default_rng(seed)
    photographs = load_photographs()
    real = [_crop(photographs[i % len(photographs)], size, rng) for i in range(REAL)]
    noise = [rng.standard_normal((1, 3, *size), dtype="float32") for _ in range(RANDOM)]
    return real + noise


def load_photographs() -> list[np.ndarray]:
    """scikit-learn's sample images, uint8 of shape (height, width, 3).

    Raises
    ------
    UsageError
        If scikit-learn or Pillow, which it reads them with, is not installed.
    """
    try:
        from sklearn.datasets import load_sample_images

        return load_sample_images().images
    except ImportError as error:
        raise UsageError(
            "pictures are cut from scikit-learn's images, but scikit-learn and Pillow are not "
            "both installed and must be: pip install scikit-learn pillow"
        ) from error


def _crop(photograph: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    from PIL import Image

    height, width, _ = photograph.shape
    side = int(min(height, width) * rng.uniform(_SMALLEST_SHARE, 1))
    top, left = (int(rng.integers(extent - side + 1)) for extent in (height, width))
    image = Image.fromarray(photograph[top : top + side, left : left + side])
    scaled = image.resize(size[::-1], Image.Resampling.BILINEAR)
    values = (np.asarray(scaled, "float32") / 255 - _MEAN) / _DEVIATION
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], "float32")


def _score(library, label: str, pictures: list[np.ndarray], setting: Setting) -> list[np.ndarray]:
    module = graph_executor.GraphModule(library["default"](setting.device))
    scores = []
    for picture in pictures:
        module.run(**{label: picture})
        scores.append(module.get_output(0).numpy())
    return scores


def _compare(stock: list[np.ndarray], ours: list[np.ndarray]) -> dict:
    pairs = list(zip(stock, ours, strict=True))
    return {
        "classes": stock[0].size if stock[0].ndim == 2 else None,
        "identical": sum(bool((a == b).all()) for a, b in pairs),
        "identical_bits": sum(a.tobytes() == b.tobytes() for a, b in pairs),
        "winners": len({int(scores.argmax()) for scores in stock}),
    }
