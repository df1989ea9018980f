"""Random graphs, stock TVM against ours and a reference; what differs is shrunk and saved.

    python -m scripts.fuzz [--seed 0] [--graphs 1000] [--jobs 2] [--failures DIR] [--log FILE]
    python -m scripts.fuzz --source nnsmith [--nnsmith DIR] ...        models by NNSmith
    python -m scripts.fuzz --models DIR ...                            ONNX files of a folder
    python -m scripts.fuzz --replay FILE

Graph k of seed s is the same on every machine.  Exit status: 0 no difference, 1 some, 2 bad usage
or input, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys

os.environ["TVM_NUM_THREADS"] = "1"  # a process a core; TVM reads it when it is imported
os.environ["TVM_BIND_THREADS"] = "0"  # or it binds each of them to the first core
os.environ.setdefault("TOPHUB_LOCATION", "NONE")

from bench.fuzz.options import make_parser  # noqa: E402
from bench.fuzz.session import replay, run  # noqa: E402
from bench.harness import run_main  # noqa: E402
from bench.quiet import quiet  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    args = make_parser(__doc__.partition("\n")[0]).parse_args(arguments)
    with quiet(args.verbose) as stderr:
        return replay(args.replay) if args.replay else run(args, stderr)


if __name__ == "__main__":
    sys.exit(run_main(main))
