"""Input tensors: read from a file and checked, or drawn from a seed."""

from __future__ import annotations

import numpy as np

from .errors import UsageError

Types = dict[str, tuple[tuple[int, ...], str]]


def draw_inputs(types: Types, seed: int) -> dict[str, np.ndarray]:
    """Random inputs: standard normal floats, integers from 0 to 127, and truth values.

    Parameters
    ----------
    types : dict
        Name to shape and dtype.
    seed : int
        The same seed gives the same inputs.
    """
    random = np.random.default_rng(seed)
    return {name: _draw(random, *kind) for name, kind in types.items()}


def _draw(random, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if "int" in dtype:
        return random.integers(0, 128, shape).astype(dtype)
    return random.standard_normal(shape).astype(dtype)


def read_inputs(path: str, types: Types) -> dict[str, np.ndarray]:
    """Inputs from an ``.npz`` file.

    Raises
    ------
    UsageError
        If the file cannot be read, or a name, shape or dtype is not what the model takes.
    """
    arrays = _read_npz(path)
    for name, array in arrays.items():
        if name not in types:
            raise UsageError(
                f"--inputs {path} has the array {name!r} but must have the model's inputs: "
                + ", ".join(map(repr, types))
            )
        shape, dtype = types[name]
        if array.shape != shape:
            raise UsageError(f"input {name!r} has the shape {array.shape} but must have {shape}")
        if array.dtype != np.dtype(dtype):
            raise UsageError(f"input {name!r} has the dtype {array.dtype} but must have {dtype}")
    missing = [name for name in types if name not in arrays]
    if missing:
        raise UsageError(f"--inputs {path} lacks {missing[0]!r} but must have every input")
    return arrays


def _read_npz(path: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UsageError(f"--inputs {path} does not exist but must be an .npz file") from error
    except IsADirectoryError as error:
        raise UsageError(f"--inputs {path} is a folder but must be an .npz file") from error
    except Exception as error:  # zipfile, zlib and numpy each have their own for a damaged file
        raise UsageError(f"--inputs {path} cannot be read but must be an .npz file") from error


def choose_inputs(args, inputs: dict) -> dict[str, np.ndarray]:
    """Those in the file of ``--inputs``, else random ones of ``--seed``."""
    return read_inputs(args.inputs, inputs) if args.inputs else draw_inputs(inputs, args.seed)
