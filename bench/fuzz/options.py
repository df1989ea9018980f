"""The command line of the fuzzer."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tvm_reorder.cli.options import Parser, positive, seed


def make_parser(summary: str) -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="python -m scripts.fuzz", description=summary)
    add = parser.add_argument
    add("--seed", type=seed, default=0, metavar="S", help="of all that is drawn (default: 0)")
    add("--graphs", type=positive, default=1000, metavar="N", help="how many (default: 1000)")
    add("--jobs", type=positive, default=os.cpu_count() or 1, metavar="J",
        help="processes, each with one thread (default: one a core)")  # fmt: skip
    add("--failures", type=Path, default=Path("fuzz-failures"), metavar="DIR",
        help="where failing graphs go, made if there are any (default: fuzz-failures)")  # fmt: skip
    add("--log", metavar="FILE", help="write the run's figures and machine as JSON")
    add("--replay", type=Path, metavar="FILE", help="try a saved graph again, and nothing else")
    add("--verbose", action="store_true", help="show what TVM says, too")
    return parser
