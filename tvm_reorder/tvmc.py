"""``tvmc-reorder``: tvmc itself, with the pass in reach.

``compile`` and ``tune`` gain ``--reorder`` and its options, and the composite target ``reorder``
(``--target "reorder, llvm"``).  tvmc runs the parsers registered with it in order, so one that is
registered last can add to the commands that are there.  What they compile runs under plain tvmc.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

from .cli.errors import UsageError, require_relay
from .cli.lines import say, say_lines
from .cli.options import add_reorder_options, reorder_config
from .cli.output import check_writable
from .core.files import written_beside
from .core.printable import printable
from .core.selection import UnknownSite


def main(argv: list[str] | None = None) -> int:
    """Run tvmc with the pass available.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        tvmc's exit status; 2 if there is no TVM with Relay.
    """
    try:
        require_relay()
    except UsageError as error:
        say(f"tvmc-reorder: error: {error}", sys.stderr)
        return 2
    plug_in()
    from tvm.driver.tvmc.main import _main

    return _main(sys.argv[1:] if argv is None else argv) or 0


def plug_in() -> None:
    """Make the pass known to tvmc in this process; a second call changes nothing."""
    import tvm
    from tvm.driver.tvmc import composite_target
    from tvm.driver.tvmc.main import REGISTERED_PARSER, register_parser

    from .relay.passes import PASS_NAME, ReorderActivations

    composite_target.REGISTERED_CODEGEN["reorder"] = {
        "config_key": None,
        "pass_default": False,
        "default_target": None,
        "pass_pipeline": reorder_partition,
    }
    # Where tvmc looks up the names given to --disabled-pass.
    tvm.register_func(
        f"relay._transform.{PASS_NAME}", lambda: ReorderActivations().as_pass(), override=True
    )
    if _extend_commands not in REGISTERED_PARSER:
        register_parser(_extend_commands)


def reorder_partition(mod, params=None, mod_name: str = "default", **options):
    """The composite target ``reorder`` of ``tvmc.compile``: the exchange as a partitioning.

    tvmc does not tell it what is compiled for: call ``tvmc.compile`` with the target in scope
    (``with tvm.target.Target("llvm -mcpu=...")``), or use `enabled` around it.

    Parameters
    ----------
    mod : tvm.IRModule
        The model.
    params : dict, optional
        Its weights.
    mod_name : str
        Given by tvmc; not needed.
    **options
        Options written behind the target's name; there are none, so any is an error.
    """
    from tvm.driver.tvmc import TVMCException

    from .relay.pipeline import reorder

    if options:
        raise TVMCException(
            f"target 'reorder' has the option {next(iter(options))!r} but must have none; "
            "use --reorder with --reorder-licence and the like"
        )
    exchanged, report = reorder(mod, params)
    _say_summary(report)
    return exchanged


def _extend_commands(subparsers, main_parser, json_params) -> None:
    for name, wrapper in _WRAPPERS.items():
        parser = subparsers.choices[name]
        group = parser.add_argument_group("tvm_reorder: activations past max pooling")
        group.add_argument("--reorder", action="store_true", help="run the pass")
        add_reorder_options(group, prefix="reorder-")
        group.add_argument(
            "--reorder-report", metavar="FILE", help="write what happened at each pool, as JSON"
        )
        parser.set_defaults(func=partial(wrapper, parser.get_default("func")))


def _with_pass(drive, args: argparse.Namespace):
    """tvmc's own command inside a block in which the pass is on.

    The composite target becomes the switch: a partitioning function is not told what is compiled
    for, and tvmc's tune calls none.
    """
    from tvm.driver.tvmc import TVMCException

    from .relay.pipeline import enabled

    first, _, rest = (args.target or "").partition(",")
    if rest and first.strip() == "reorder":
        args.reorder, args.target = True, rest.strip()
    if not args.reorder:
        _refuse_options_alone(args)
        return drive(args)
    try:
        check_writable(args.reorder_report, "--reorder-report")
    except UsageError as error:
        raise TVMCException(printable(error)) from error
    try:
        with enabled(reorder_config(args, prefix="reorder_")) as report:
            status = drive(args)
    except UnknownSite as error:
        raise TVMCException(printable(f"--reorder-{error}")) from error
    _say_summary(report)
    _write_report(report, args.reorder_report)
    return status


def _as_compiled(drive, args: argparse.Namespace):
    """tvmc's ``run``, where the pass has nothing left to do."""
    if args.reorder:
        said = "tvm_reorder: a package runs as it was compiled; the pass acts at compile time"
        say(said, sys.stderr)
    return drive(args)


_WRAPPERS = {"compile": _with_pass, "tune": _with_pass, "run": _as_compiled}


def _refuse_options_alone(args: argparse.Namespace) -> None:
    from tvm.driver.tvmc import TVMCException

    given = {
        "--reorder-licence": args.reorder_licence != "equal",
        "--reorder-decision": args.reorder_decision != "auto",
        "--reorder-only": bool(args.reorder_only),
        "--reorder-skip": bool(args.reorder_skip),
        "--reorder-records": args.reorder_records is not None,
        "--reorder-certify": args.reorder_certify != "cached",
        "--reorder-report": args.reorder_report is not None,
    }
    for option, is_given in given.items():
        if is_given:
            raise TVMCException(f"{option} is given but must go with --reorder")


def _say_summary(report) -> None:
    say_lines(f"tvm_reorder: {report}", sys.stderr)


def _write_report(report, path: str | None) -> None:
    if path is None:
        return
    if path == "-":
        say_lines(report.to_json())
        return
    with written_beside(path) as temporary:
        temporary.write_text(report.to_json() + "\n", encoding="utf-8")
