"""Options that the commands share, and the parser that says usage errors in one line."""

from __future__ import annotations

import argparse
import os
import textwrap

from ..core.config import CERTIFY, DECISIONS, ReorderConfig
from .errors import UsageError

SHAPES_HELP = (
    "input shapes, as for tvmc: 'name:[1,3,224,224] other:[1,8]'; other names in double quotes: "
    "'\"my input\":[1,8]'"
)
FORMATS = ("keras", "onnx", "pb", "tflite", "pytorch", "paddle", "relay")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `UsageError` where argparse would exit."""

    def error(self, message: str):
        raise UsageError(f"{message} (see '{self.prog} --help')")


def add_command(
    subparsers, name: str, run, summary: str, examples: str, is_build: bool = True
) -> argparse.ArgumentParser:
    """A command's parser with the options that all commands have.

    Parameters
    ----------
    subparsers
        What ``add_subparsers`` returned.
    name : str
        The command.
    run : callable
        Takes the parsed arguments and returns the exit status.
    summary : str
        What it does, in a sentence.
    examples : str
        Command lines for the end of the help text.
    is_build : bool
        False leaves out the options that say how to build, and what to do at each site.
    """
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=summary,
        epilog="examples:\n" + textwrap.indent(textwrap.dedent(examples).strip(), "  "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a file that tvmc can read (ONNX, TFLite, TorchScript, Relay text, ...) or a "
        "built-in network: vgg16, vgg19, custom",
    )
    add_machine_options(parser)
    parser.add_argument("--input-shapes", metavar="SHAPES", help=SHAPES_HELP)
    parser.add_argument(
        "--model-format",
        choices=FORMATS,
        help="format of the file, if its suffix does not tell",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="also write the result as JSON; '-' is standard output"
    )
    parser.add_argument("--verbose", action="store_true", help="show warnings and tracebacks")
    if not is_build:
        _add_exactness_options(parser)
        add_site_options(parser)
        return parser
    parser.add_argument(
        "-O",
        "--opt-level",
        type=int,
        choices=range(5),
        default=3,
        help="TVM's optimisation level, 0-4 (default: 3)",
    )
    add_reorder_options(parser)
    return parser


def add_machine_options(parser) -> None:
    """What is compiled for, and how many threads run it."""
    parser.add_argument(
        "--target",
        help="compilation target, as for tvmc (default: llvm for the processor of this machine)",
    )
    parser.add_argument(
        "--threads",
        type=thread_count,
        metavar="N",
        help="threads that TVM may use (default: TVM_NUM_THREADS, else one for each physical core)",
    )


def add_timing_options(parser) -> None:
    """The options of the commands that time what they build."""
    parser.add_argument(
        "--repeat",
        type=positive,
        default=10,
        metavar="R",
        help="rounds; each gives one figure for each build (default: 10)",
    )


def add_reorder_options(parser, prefix: str = "") -> None:
    """The options of the pass itself: what is exact, and what is done where it is."""
    _add_exactness_options(parser, prefix)
    add_site_options(parser, prefix)
    parser.add_argument(
        f"--{prefix}decision",
        choices=DECISIONS,
        default="auto",
        help="what to do at each site: what is expected to be fastest (auto, the default), or one "
        "thing wherever it is possible",
    )
    parser.add_argument(
        f"--{prefix}records",
        type=records_file,
        metavar="FILE",
        help="measured sites that 'auto' goes by; 'tvm-reorder tune-sites' makes them",
    )


def _add_exactness_options(parser, prefix: str = "") -> None:
    parser.add_argument(
        f"--{prefix}licence",
        type=licence,
        default="equal",
        metavar="TEXT",
        help="how much of the result may differ: equal (default), strict, nan, "
        "ulp:N, ulp:any (functions that nobody measured on the target too), strict+nan+ulp:...",
    )
    parser.add_argument(
        f"--{prefix}certify",
        choices=CERTIFY,
        default="cached",
        help="certificates of library functions: those shipped and cached (cached, the default), "
        "missing ones made on the spot too (auto), or none (off)",
    )


def add_site_options(parser, prefix: str = "") -> None:
    """Add ``--only`` and ``--skip``."""
    for name, what in (
        ("only", "leave all other sites as they are"),
        ("skip", "leave it as it is"),
    ):
        parser.add_argument(
            f"--{prefix}{name}",
            action="append",
            default=[],
            metavar="SITE",
            help=f"{what}; a name that 'inspect' prints or the build's (max_pool2d_3); repeatable",
        )


def licence(text: str) -> str:
    """The text of a licence that some rule can meet, for argparse's ``type``."""
    try:
        ReorderConfig(licence=text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def records_file(text: str) -> str:
    """The path of a file that can be read, for argparse's ``type``."""
    if not os.path.isfile(text):
        kind = "a folder" if os.path.isdir(text) else "no file"
        raise argparse.ArgumentTypeError(
            f"{text!r} is {kind} but must be a file made by 'tvm-reorder tune-sites'"
        )
    try:
        open(text, "rb").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be read: {error.strerror}") from error
    return text


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse's ``type``."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is given but must be a whole number from 1 up")
    return int(text)


def thread_count(text: str) -> int:
    """A number of threads that this machine has, for argparse's ``type``."""
    count, available = positive(text), os.cpu_count() or 1
    if count > available:
        raise argparse.ArgumentTypeError(
            f"{text!r} is given but must be at most {available}, the cores there are"
        )
    return count


def seed(text: str) -> int:
    """A seed that NumPy takes, for argparse's ``type``."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is given but must be from 0 to {2**32 - 1}")
    return int(text)


def reorder_config(args, write: bool = True, prefix: str = "") -> ReorderConfig:
    """The pass's options out of the parsed arguments."""
    names = ("licence", "decision", "records", "certify", "only", "skip")
    return ReorderConfig(write=write, **{name: getattr(args, prefix + name) for name in names})
