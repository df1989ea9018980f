"""``tvm-reorder certify``: every value of a dtype through a function as a target computes it."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time

from ..certify.names import DEFAULTS, show_usage
from ..core.files import written_beside
from .errors import UsageError
from .lines import note, say
from .options import FORMATS, SHAPES_HELP, add_machine_options, add_site_options
from .output import check_outputs, print_table, progress, say_setup
from .steps import Steps

_DTYPES = ("float32", "float16", "bfloat16")
_EXAMPLES = """
examples:
  tvm-reorder certify sigmoid tanh --target "llvm -mcpu=skylake-avx512"
  tvm-reorder certify tanh --opt-level 4           # with TVM's FastMath
  tvm-reorder certify leaky_relu:0.2 elu:1 --dtype float16
  tvm-reorder certify --model model.onnx --json certificates.json
"""


def add_parser(subparsers) -> None:
    """Add the command to the command line."""
    summary = "Walk every value of a dtype through a function as compiled: where does it turn?"
    parser = subparsers.add_parser(
        "certify",
        help=summary,
        description=summary + " What is found is kept as a certificate, which the pass goes by.",
        epilog=_list_functions() + _EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "functions",
        nargs="*",
        metavar="OP",
        help="a function, its constants behind colons: sigmoid, leaky_relu:0.01, clip:0:6",
    )
    parser.add_argument("--model", metavar="FILE", help="also what stands above its max pools")
    add_site_options(parser)
    parser.add_argument("--input-shapes", metavar="SHAPES", help=f"of the model; {SHAPES_HELP}")
    parser.add_argument("--model-format", choices=FORMATS, help="if its suffix does not tell")
    add_machine_options(parser)
    parser.add_argument(
        "--dtype", default="float32", help=f"{', '.join(_DTYPES)} (default: float32)"
    )
    parser.add_argument("-O", "--opt-level", type=int, choices=range(5), default=3)
    parser.add_argument(
        "--json", metavar="FILE", help="write the certificates, a list; '-' is standard output"
    )
    parser.add_argument("--force", action="store_true", help="walk again what is certified already")
    parser.add_argument("--verbose", action="store_true", help="show warnings and tracebacks")


def _list_functions() -> str:
    names = textwrap.fill(", ".join(map(show_usage, DEFAULTS)), 96)
    return "functions:\n" + textwrap.indent(names, "  ") + "\n"


def run(args) -> int:
    """Certify; the exit status is 0."""
    from ..core.certificates import CertificateError
    from .targets import choose_target

    check_outputs(args)
    target = choose_target(args, must_run_here=True)
    try:
        functions = _read_functions(args, target)
        rows = _certify_all(functions, target, args)
    except CertificateError as error:
        raise UsageError(str(error)) from error
    _write_json(rows, args.json)
    if args.json != "-":
        say_setup(args.target)
        _print(rows)
    return 0


def _read_functions(args, target) -> list:
    """The functions asked for, each once."""
    from ..certify.certifier import at_level, require_format, require_one_kernel
    from ..certify.functions import build_function
    from ..certify.targets import require_runs_here

    require_format(args.dtype)
    require_runs_here(target)
    if not args.functions and args.model is None:
        raise UsageError("nothing is given but an OP or --model must be (see 'certify --help')")
    if args.model is None and (args.only or args.skip):
        option = "--only" if args.only else "--skip"
        raise UsageError(f"{option} is given but must go with --model, whose sites it names")
    functions = [build_function(text, args.dtype) for text in args.functions]
    if args.model is not None:
        functions += _read_model(args, target)
    for function in functions:
        require_one_kernel(function, args.opt_level)
    by_text = {f"{f.text} {f.dtype}": f for f in (at_level(f, args.opt_level) for f in functions)}
    return list(by_text.values())


def _read_model(args, target) -> list:
    import tvm

    from ..relay.candidates import find_candidates
    from .models import open_model

    model = open_model(args)
    with progress("looking for functions"), tvm.transform.PassContext(opt_level=args.opt_level):
        found = find_candidates(model.mod, model.params, target, args.only, args.skip)
    if not found:
        raise UsageError(
            f"--model {args.model} has no function above a max pool to certify but must have one "
            "(steps that a proof covers, such as relu, need no certificate)"
        )
    return found


def _certify_all(functions, target, args) -> list[dict]:
    from ..certify.certifier import count_blocks

    blocks = [count_blocks(function.dtype) for function in functions]
    steps = Steps(len(functions), max(blocks))
    rows: list[dict] = []
    try:
        with steps:
            for function in functions:
                steps.begin(function.text)
                rows.append(_certify_one(function, target, args, steps))
                steps.finish(_summarise(rows[-1]))
    except KeyboardInterrupt:
        raise UsageError(
            f"interrupted: {steps.finished} of {len(functions)} functions are certified; "
            "the same command goes on from there"
        ) from None
    return rows


def _certify_one(function, target, args, steps) -> dict:
    from ..certify.certifier import certify, make_key
    from ..certify.progress import open_state
    from ..certify.store import find_certificate, save_certificate, user_path

    key = make_key(function, target)
    found = None if args.force else find_certificate(key)
    if found is not None:
        return {"certificate": found, "seconds": None, "where": "known already"}
    begun = time.monotonic()
    state = open_state(key, args.opt_level)
    known = len(state.load())
    made = certify(function, target, args.opt_level, on_block=steps.advance, state=state)
    seconds = time.monotonic() - begun
    try:
        where = str(save_certificate(made))
    except OSError as error:
        where = "not kept"
        note(f"{user_path(key)} cannot be written: {error.strerror}")
    return {"certificate": made, "seconds": None if known else seconds, "where": where}


def _summarise(row: dict) -> str:
    found = row["certificate"]
    return f"{found.op}: {found.direction}, {found.steps} wrong steps, {found.worst_ulp} ulp"


def _print(rows: list[dict]) -> None:
    print_table("certificates", _COLUMNS, map(_make_row, rows))
    first = rows[0]["certificate"]
    say(f"{first.target}, TVM {first.tvm}, LLVM {first.llvm}, {first.libm or 'libm unknown'}")


_COLUMNS = ("op", "direction", "steps", "worst step", "worst ulp", "turning point")
_COLUMNS += ("counterexample", "s", "values/s", "where")


def _make_row(row: dict) -> tuple[str, ...]:
    found, seconds = row["certificate"], row["seconds"]
    return (
        found.op,
        found.direction,
        f"{found.steps:,}",
        str(found.worst_step_ulp),
        str(found.worst_ulp),
        _decimal(found.turning_point) if found.turning_point else "-",
        ", ".join(f"f({_decimal(x)}) = {_decimal(y)}" for x, y in found.counterexample) or "-",
        f"{seconds:.1f}" if seconds else "-",
        f"{found.values / seconds:.3g}" if seconds else "-",
        row["where"],
    )


def _decimal(text: str) -> str:
    return f"{float.fromhex(text):.9g}"


def _write_json(rows: list[dict], path: str | None) -> None:
    """The list of certificates, one a line; the form in which the package ships its own."""
    if path is None:
        return
    lines = (json.dumps(row["certificate"].as_dict()) for row in rows)
    text = "[\n" + ",\n".join(lines) + "\n]\n"
    if path == "-":
        sys.stdout.write(text)
        return
    with written_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
