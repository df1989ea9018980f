"""A model built as stock TVM builds it, and with the pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tvm
from tvm import relay

from ..core.config import ReorderConfig
from ..relay.floor_division import mend_floor_division
from ..relay.pipeline import enabled
from ..relay.sites import climb, read_operands
from .errors import UsageError, first_line
from .models import Model


def build_stock(model: Model, target: tvm.target.Target, args):
    """The library that `relay.build` makes without the pass.

    Raises
    ------
    UsageError
        If the model does not compile.
    """
    with named_failure(args), mend_floor_division():
        return _build(model, target, args)


def build_ours(model: Model, target: tvm.target.Target, args, config: ReorderConfig):
    """The library that `relay.build` makes with the pass, and the pass's report.

    Raises
    ------
    UsageError
        If the model does not compile.
    """
    with named_failure(args), enabled(config) as report:
        return _build(model, target, args), report


def _build(model: Model, target, args):
    require_straight(model, args)
    with tvm.transform.PassContext(opt_level=args.opt_level):
        return relay.build(model.mod, target=target, params=model.params)


def require_straight(model: Model, args) -> None:
    """Check that the graph executor can run a model.

    Raises
    ------
    UsageError
        If it has control flow.
    """
    inside = climb(model.mod["main"].body, read_operands)
    if any(isinstance(expr, relay.If) for expr in inside):  # a Loop has one, too
        raise UsageError(
            f"model {args.model!r} has an If or a Loop but must be without control flow: TVM's "
            "graph executor runs none; relay.vm.compile does, in a tvm_reorder.enabled() block"
        )


@contextmanager
def named_failure(args, verb: str = "compile") -> Iterator[None]:
    """Raise `UsageError` where TVM fails inside the block.

    Parameters
    ----------
    args
        The parsed command line.
    verb : str
        What the model does not do then.
    """
    try:
        yield
    except tvm.TVMError as error:
        raise UsageError(
            f"model {args.model!r} does not {verb} for {args.target!r}: {first_line(error)}"
        ) from error
