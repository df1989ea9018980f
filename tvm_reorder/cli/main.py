"""The entry of ``tvm-reorder``: arguments, environment, and one line for each error."""

from __future__ import annotations

import io
import os
import sys
import traceback

from .. import __version__
from ..core.selection import UnknownSite
from .errors import UsageError, first_line, require_relay
from .host import prepare_threads
from .lines import say, say_lines
from .options import Parser
from .quiet import quiet

DONE, DIFFER, FAILED = 0, 1, 2
MEND = 'pip install "tvm-reorder[cli]" brings what the command line needs'


def make_parser() -> Parser:
    """The whole command line; needs no TVM."""
    from . import bisect, certify, compare, compile, inspect, tune_sites

    parser = Parser(
        prog="tvm-reorder",
        description="Move activations past max pooling in Apache TVM, exactly.",
        epilog="exit status: 0 done, 1 results differ, 2 bad usage or input",
    )
    parser.add_argument("--version", action="version", version=f"tvm-reorder {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (inspect, compile, compare, tune_sites, certify, bisect):
        command.add_parser(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        0 done, 1 results differ, 2 bad usage or input.
    """
    argv = sys.argv[1:] if argv is None else argv
    is_verbose = "--verbose" in argv
    _write_any_character()
    try:
        args = make_parser().parse_args(argv)
        os.environ.setdefault("TOPHUB_LOCATION", "NONE")
        prepare_threads(args.threads)
        require_relay()
        with quiet(is_verbose):
            status = args.run(args)
        sys.stdout.flush()
        return status
    except (UsageError, UnknownSite) as error:
        return _fail(str(error), is_verbose)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python says it at exit
        return FAILED
    except KeyboardInterrupt:
        return _fail("interrupted", is_verbose)
    except ModuleNotFoundError as error:
        return _fail(f"the Python package {error.name!r} is missing: {MEND}", is_verbose)
    except Exception as error:
        name = type(error).__name__
        return _fail(f"{name}: {first_line(error)} (--verbose shows where)", is_verbose)


def _write_any_character() -> None:
    """Let a stream that cannot encode a character of a name write its escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, is_verbose: bool) -> int:
    if is_verbose:
        say_lines(traceback.format_exc().rstrip(), sys.stderr)
    say(f"tvm-reorder: error: {message}", sys.stderr)
    return FAILED
