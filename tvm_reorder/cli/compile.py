"""``tvm-reorder compile``: a package for ``tvmc run``, compiled with the pass."""

from __future__ import annotations

from ..core.files import written_beside
from .errors import UsageError, first_line
from .lines import say
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
    parser = add_command(
        subparsers,
        "compile",
        run,
        "Compile a model with the pass into a package that plain 'tvmc run' runs.",
        """
        tvm-reorder compile model.onnx -o model.tar
        tvm-reorder compile model.onnx -o model.tar --target "llvm -mcpu=skylake-avx512"
        tvmc run --print-time model.tar
        """,
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT.tar", required=True, help="the package to write"
    )


def run(args) -> int:
    """Compile; the exit status is 0."""
    from .models import open_model
    from .targets import check_buildable, choose_target

    check_outputs(args)
    target = choose_target(args)
    check_buildable(target)
    model = open_model(args)
    with progress("compiling"):
        report = _compile(model, args)
    note_idle_pass(report, args.opt_level)
    write_json({"model": args.model, "target": args.target, **report.as_dict()}, args.json)
    if args.json != "-":
        say_setup(args.target)
        if report.has_run:
            print_sites(report.as_dict())
        say(f"written: {args.output}")
    return 0


def _compile(model, args):
    import tvm
    from tvm.driver.tvmc.compiler import compile_model
    from tvm.driver.tvmc.model import TVMCModel

    from ..relay.pipeline import enabled
    from .builds import require_straight

    require_straight(model, args)
    try:
        with enabled(reorder_config(args)) as report, written_beside(args.output) as temporary:
            compile_model(
                TVMCModel(model.mod, model.params),
                args.target,
                opt_level=args.opt_level,
                package_path=str(temporary),
            )
    except (RuntimeError, OSError) as error:
        is_compiler = isinstance(error, tvm.TVMError)
        hint = "" if is_compiler else "; for another machine, 'tvmc-reorder compile' can cross-link"
        raise UsageError(
            f"model {args.model!r} does not {'compile' if is_compiler else 'link'} for "
            f"{args.target!r}: {first_line(error)}{hint}"
        ) from error
    return report
