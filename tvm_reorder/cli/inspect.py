"""``tvm-reorder inspect``: every max pool, the verdict, and why."""

from __future__ import annotations

from .options import add_command, reorder_config
from .output import (
    check_outputs,
    note_idle_pass,
    print_sites,
    progress,
    say_setup,
    write_json,
)


def add_parser(subparsers) -> None:
    """Add the command to the command line."""
    add_command(
        subparsers,
        "inspect",
        run,
        "List every max pool of a model and say whether activations can go past it, and why not.",
        """
        tvm-reorder inspect model.onnx
        tvm-reorder inspect vgg16 --target "llvm -mcpu=skylake-avx512"
        tvm-reorder inspect model.onnx --input-shapes "data:[1,3,224,224]" --json report.json
        tvm-reorder inspect model.onnx --opt-level 4     # with TVM's FastMath
        """,
    )


def run(args) -> int:
    """Inspect; the exit status is 0."""
    from .models import open_model
    from .targets import choose_target

    check_outputs(args)
    target = choose_target(args)
    model = open_model(args)
    with progress("inspecting"):
        report = _inspect(model, target, args)
    note_idle_pass(report, args.opt_level)
    found = report.as_dict()
    write_json({"model": args.model, "target": args.target, **found}, args.json)
    if args.json != "-":
        say_setup(args.target)
        if report.has_run:
            print_sites(found)
    return 0


def _inspect(model, target, args):
    import tvm

    from ..relay.pipeline import reorder

    # Asked at the level given, because FastMath (4) changes verdicts.
    with tvm.transform.PassContext(opt_level=args.opt_level):
        return reorder(model.mod, model.params, reorder_config(args, write=False), target=target)[1]
