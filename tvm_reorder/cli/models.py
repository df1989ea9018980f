"""A model from a file or a built-in name, and every way in which that can go wrong."""

from __future__ import annotations

import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm import relay
from tvm.driver.tvmc import TVMCException, TVMCImportError, frontends

from ..relay.floor_division import mend_floor_division
from .builtin import load_builtin
from .errors import UsageError, first_line
from .import_errors import find_nodes, find_refused
from .input_shapes import parse_shapes, show_shape
from .output import progress
from .sites import check_sites
from .windows import check_windows

BUILTINS = ("vgg16", "vgg19", "custom")
_FILE_KINDS = "a model file or one of " + ", ".join(BUILTINS)


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Parameters
    ----------
    name : str
        As the user gave it.
    mod : tvm.IRModule
        Relay.
    params : dict
        Weights by name.
    inputs : dict
        Name to shape and dtype of the inputs; all shapes are fixed.
    """

    name: str
    mod: tvm.IRModule
    params: dict
    inputs: dict[str, tuple[tuple[int, ...], str]]


def load_model(
    name: str, input_shapes: str | None = None, model_format: str | None = None
) -> Model:
    """Load a model.

    Parameters
    ----------
    name : str
        A path, or the name of a built-in network.
    input_shapes : str, optional
        In tvmc's syntax.
    model_format : str, optional
        tvmc's name of the format; told from the suffix by default.

    Raises
    ------
    UsageError
        If there is no such model, it cannot be read, an input's shape is not known, or a pool is
        wider than its input.
    """
    shapes = None if input_shapes is None else parse_shapes(input_shapes)
    if name in BUILTINS:
        if shapes:
            raise UsageError(f"--input-shapes is given but the input of {name} is fixed; leave out")
        mod, params = load_builtin(name)
    else:
        _check_file(name)
        mod, params = _read(name, model_format, shapes)
    given = [param for param in mod["main"].params if param.name_hint not in params]
    _check_inputs(name, mod, given, shapes)
    inputs = {param.name_hint: _read_type(param, name) for param in given}
    check_windows(name, mod)
    return Model(name, mod, params, inputs)


def _check_file(name: str) -> None:
    path = Path(name)
    try:
        mode = path.stat().st_mode if name else 0
    except FileNotFoundError:
        mode = 0
    except OSError as error:
        raise UsageError(f"model {name!r} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        fault = f"is {kind}" if mode else "does not exist"
        raise UsageError(f"model {name!r} {fault} but must be {_FILE_KINDS}")
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise UsageError(f"model {name!r} cannot be read: {error.strerror}") from error
    if is_empty:
        raise UsageError(f"model {name!r} is an empty file but must be {_FILE_KINDS}")


def _read(name: str, model_format: str | None, shapes: dict | None):
    kind = model_format or _guess_format(name)
    if kind == "onnx" and shapes:
        _check_ranks(name, shapes)
    # tvmc draws the weights of a Relay text from NumPy's global generator.
    state = np.random.get_state()
    np.random.seed(0)
    try:
        with mend_floor_division():
            model = frontends.load_model(name, kind, _to_relay(shapes))
            return relay.transform.InferType()(model.mod), model.params
    except TVMCImportError as error:
        raise UsageError(
            f"model {name!r} is in format {kind}, which needs the Python package '{error}'"
        ) from error
    except TVMCException as error:
        raise UsageError(f"model {name!r}: {first_line(error)}") from error
    except Exception as error:  # importers raise anything
        raise UsageError(_describe_failure(name, kind, shapes, error)) from error
    finally:
        np.random.set_state(state)


def _load_graph(name: str):
    """The graph in an ONNX file; None if it cannot be read, of which the importer says why."""
    try:
        import onnx

        return onnx.load(name, load_external_data=False).graph
    except Exception:
        return None


def _find_unmade_output(name: str) -> str | None:
    """An output of an ONNX model that is neither a node's nor given."""
    graph = _load_graph(name)
    if graph is None:
        return None
    made = {output for node in graph.node for output in node.output}
    made.update(each.name for each in (*graph.input, *graph.initializer))
    return next((each.name for each in graph.output if each.name not in made), None)


def _check_ranks(name: str, shapes: dict[str, list[int | None]]) -> None:
    """The importer takes any shape for an input, also of another rank than the file's."""
    graph = _load_graph(name)
    if graph is None:
        return
    weights = {each.name for each in graph.initializer}
    inputs = {each.name: each.type.tensor_type for each in graph.input if each.name not in weights}
    for given, sizes in shapes.items():
        if given not in inputs:
            raise UsageError(_name_inputs(given, name, list(inputs)))
        declared = inputs[given].shape.dim
        if inputs[given].HasField("shape") and len(declared) != len(sizes):
            raise UsageError(
                f"--input-shapes gives {given!r} {len(sizes)} sizes but {name!r} has "
                f"{len(declared)} there"
            )


def _name_inputs(given: str, model: str, names: list[str]) -> str:
    known = ", ".join(map(repr, names)) or "it has none"
    return f"--input-shapes names {given!r} but must name inputs of {model!r}: {known}"


def _to_relay(shapes: dict | None) -> dict | None:
    if shapes is None:
        return None
    return {
        name: [relay.Any() if size is None else size for size in sizes]
        for name, sizes in shapes.items()
    }


def _describe_failure(name: str, kind: str, shapes: dict | None, error: Exception) -> str:
    """What an importer failed at: one of the model's operators, or the file as a whole."""
    reason = first_line(error)
    if not isinstance(error, tvm.TVMError):
        reason = f"{type(error).__name__}: {reason}"
    if (refused := find_refused(error)) is not None:
        return (
            f"model {name!r}: what TVM's {kind} importer makes of it is refused by the type "
            f"checker at {refused} ({reason})"
        )
    nodes = find_nodes(error)
    if nodes:
        inside = "".join(f", inside {node}" for node in nodes[1:])
        return f"model {name!r}: TVM's {kind} importer fails at {nodes[0]}{inside} ({reason})"
    if isinstance(error, tvm.error.OpNotImplemented):
        return f"model {name!r} has operators that TVM cannot import: {reason}"
    unmade = _find_unmade_output(name) if kind == "onnx" and isinstance(error, KeyError) else None
    if unmade is not None:
        return f"model {name!r} has the output {unmade!r}, but must have outputs that a node makes"
    required = "with these --input-shapes" if shapes else "or need another --model-format"
    return (
        f"model {name!r} cannot be read as {kind} ({reason}) "
        f"but must be a valid {kind} model {required}"
    )


def _guess_format(name: str) -> str:
    try:
        return frontends.guess_frontend(name).name()
    except TVMCException as error:
        known = sorted(
            f".{suffix}" for kind in frontends.ALL_FRONTENDS for suffix in kind.suffixes()
        )
        raise UsageError(
            f"model {name!r} has the suffix {Path(name).suffix!r} but must have one of "
            f"{', '.join(known)}; or give --model-format"
        ) from error


def _check_inputs(name: str, mod: tvm.IRModule, inputs: list, shapes: dict | None) -> None:
    names = [param.name_hint for param in inputs]
    parameters = [param.name_hint for param in mod["main"].params]
    unknown = [given for given in shapes or () if given not in names]
    if unknown:
        raise UsageError(_name_inputs(unknown[0], name, names or parameters))
    if parameters and not names:
        raise UsageError(
            f"model {name!r} is Relay text, which does not tell inputs from weights: name the "
            f"inputs with --input-shapes; its parameters are {', '.join(map(repr, parameters))}"
        )


def _read_type(param, model: str) -> tuple[tuple[int, ...], str]:
    kind = param.checked_type
    if not isinstance(kind, tvm.ir.TensorType):
        raise UsageError(f"input {param.name_hint!r} of {model!r} is {kind} but must be a tensor")
    if not all(isinstance(size, tvm.tir.IntImm) for size in kind.shape):
        sizes = [str(int(s)) if isinstance(s, tvm.tir.IntImm) else "?" for s in kind.shape]
        guesses = [size.replace("?", "224" if axis else "1") for axis, size in enumerate(sizes)]
        example = show_shape(param.name_hint, list(map(int, guesses)))
        raise UsageError(
            f"input {param.name_hint!r} of {model!r} has the shape ({', '.join(sizes)}) but must "
            f"have a fixed one: --input-shapes {shlex.quote(example)}, say"
        )
    return tuple(int(size) for size in kind.shape), kind.dtype


def open_model(args) -> Model:
    """The model of a command line; what ``--only`` and ``--skip`` name must be in it.

    Raises
    ------
    UsageError
        If it cannot be read, or lacks a site that is named.
    """
    with progress(f"reading {args.model}"):
        model = load_model(args.model, args.input_shapes, args.model_format)
    check_sites(args, model)
    return model
