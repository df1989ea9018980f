"""From the command line to a job; whatever cannot work is said before anything is tuned."""

from __future__ import annotations

import argparse
from pathlib import Path

from tvm_reorder.cli.errors import UsageError
from tvm_reorder.cli.models import BUILTINS, Model, load_model
from tvm_reorder.cli.options import Parser, positive, seed
from tvm_reorder.cli.output import check_writable
from tvm_reorder.cli.targets import read_target

from ..harness import add_results_option
from ..networks import NETWORKS, load_network
from ..peak import TARGET
from .job import Job
from .session import TUNERS
from .tracker import Tracker

_RECORDS = Path("records")  # of this machine; those in the repository are in bench/records


def make_parser(summary: str) -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="python -m scripts.tune", description=summary)
    add = parser.add_argument
    add("--model", required=True, help="a file that tvmc reads, or one of " + ", ".join(NETWORKS))
    add("--tuner", required=True, choices=TUNERS, help="each has XGBoost as its cost model")
    add("--trials", type=positive, metavar="N", help="trials of each task")
    add("--target", default=TARGET, help=f"as for tvmc (default: '{TARGET}')")
    add("--threads", type=positive, default=2, metavar="N", help="threads of TVM (default: 2)")
    add("--batch", type=positive, default=1, metavar="N", help="of a built-in network (default: 1)")
    add("--seed", type=seed, default=0, metavar="S", help="of searches and inputs (default: 0)")
    add("--log", metavar="PATH", help="grows by a line a trial (default: records/TUNER.log); "
        "a folder for meta_schedule")  # fmt: skip
    add("--default-blocks", action="store_true", help="autotvm: keep TVM's default channel "
        "blocks; then no layout transform joins the network")  # fmt: skip
    add("--tracker", metavar="HOST:PORT", help="measure on the machines of this RPC tracker")
    add("--key", metavar="K", help="what the machines' servers were started with")
    add("--repeat", type=positive, default=15, metavar="R", help="rounds compared (default: 15)")
    add("--only-compare", action="store_true", help="tune nothing, compare with the log as it is")
    add("--verbose", action="store_true", help="show what TVM says, too")
    add_results_option(parser)
    return parser


def read_job(args: argparse.Namespace) -> Job:
    """The job that the arguments mean.

    Raises
    ------
    UsageError
        If they cannot be met.
    """
    if (args.trials is None) != args.only_compare:
        raise UsageError("--trials or --only-compare must be given, and not both")
    if (args.tracker is None) != (args.key is None):
        raise UsageError("--tracker and --key must be given together")
    if args.default_blocks and args.tuner != "autotvm":
        raise UsageError(f"--default-blocks is given but --tuner is {args.tuner}, not autotvm")
    target = read_target(args.target, must_run_here=args.tracker is None)
    tracker = None if args.tracker is None else Tracker.parse(args.tracker, args.key)
    if tracker is not None:
        tracker.count_servers()
    log = _read_log(args)
    return Job(
        model=read_model(args.model, args.batch),
        target=target,
        trials=args.trials or 0,
        seed=args.seed,
        log=log,
        threads=args.threads,
        default_blocks=args.default_blocks,
        tracker=tracker,
    )


def read_model(name: str, batch: int) -> Model:
    """A built-in network of the benchmarks or of the command line, or a file.

    Raises
    ------
    UsageError
        If there is none, or not at this batch.
    """
    if name in NETWORKS:
        try:
            network = load_network(name, batch)
        except ValueError as error:
            raise UsageError(str(error)) from error
        inputs = {input_name: (shape, "float32") for input_name, shape in network.inputs.items()}
        return Model(name, network.mod, network.params, inputs)
    if not Path(name).exists() and name not in BUILTINS:
        known = ", ".join(NETWORKS)
        raise UsageError(f"--model is {name!r} but must be a file or one of {known}")
    if batch != 1:
        raise UsageError(f"--batch is {batch} but {name} has a batch of its own; leave it out")
    return load_model(name)


def _read_log(args: argparse.Namespace) -> Path:
    is_folder = args.tuner == "meta_schedule"
    if args.log is None:
        blocks = "_default_blocks" if args.default_blocks else ""
        _RECORDS.mkdir(exist_ok=True)
        log = _RECORDS / (f"{args.tuner}{blocks}" + ("" if is_folder else ".log"))
    else:
        log = Path(args.log)
    if is_folder and log.exists() and not log.is_dir():
        raise UsageError(f"--log {log} is a file but must be a folder for meta_schedule")
    inside = is_folder and log.is_dir()
    check_writable(str(log / "database_workload.json" if inside else log), "--log")
    if args.only_compare and not log.exists():
        raise UsageError(f"--log {log} does not exist but must, with --only-compare")
    return log
