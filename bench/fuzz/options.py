"""The command line of the fuzzer."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tvm_reorder.cli.options import Parser, positive, seed

SOURCES = ("random", "nnsmith")
NNSMITH = Path(".nnsmith")


def make_parser(summary: str) -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="python -m scripts.fuzz", description=summary)
    add = parser.add_argument
    add("--seed", type=seed, default=0, metavar="S", help="of all that is drawn (default: 0)")
    add("--graphs", type=positive, default=1000, metavar="N", help="how many (default: 1000)")
    add("--jobs", type=positive, default=os.cpu_count() or 1, metavar="J",
        help="processes, each with one thread (default: one a core)")  # fmt: skip
    add("--source", choices=SOURCES, default="random",
        help="where graphs come from: drawn here, or NNSmith's with max pools put in")  # fmt: skip
    add("--models", type=Path, metavar="DIR",
        help="ONNX files to put max pools into, instead of a source")  # fmt: skip
    add("--nnsmith", type=Path, default=NNSMITH, metavar="DIR",
        help="the environment that scripts/nnsmith_env.sh made (default: .nnsmith)")  # fmt: skip
    add("--failures", type=Path, default=Path("fuzz-failures"), metavar="DIR",
        help="where failing graphs go, made if there are any (default: fuzz-failures)")  # fmt: skip
    add("--log", metavar="FILE", help="write the run's figures and machine as JSON")
    add("--replay", type=Path, metavar="FILE", help="try a saved graph again, and nothing else")
    add("--verbose", action="store_true", help="show what TVM says, too")
    return parser
