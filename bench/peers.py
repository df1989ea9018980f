"""Ours against other compilers and frameworks on one machine: time, and whether answers agree.

    python -m bench.peers NETWORK [--threads 2] [--batch 1] [--repeat 15] [--tuned-log FILE]
                          [--peers ort,openvino,torch] [--environments DIR]

One ONNX file, float32 with seeded weights, goes to ONNX Runtime, OpenVINO, PyTorch (``torch``
eager, ``torch_compile`` through Inductor, which needs a C++ compiler), stock TVM and ours; the
latter two also with the schedules of an AutoTVM log, if one is given.  Each has a process of its
own and they take turns, round by round: one computes, the others rest.  Rows of one network, batch
and thread count replace the older ones.  Peers are installed on first use, each into a virtual
environment under DIR; one that cannot take part costs a line and the exit code, not the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from tvm_reorder.cli.lines import say

from .harness import (
    add_results_option,
    merge_rows,
    read_commit,
    read_rows,
    run_main,
    time_in_turns,
    use_results,
    use_threads,
    write_results,
)
from .networks import NETWORKS, Network, choose_networks, draw_inputs, load_network
from .peer_environments import PEERS, PeerError, default_folder, find_python
from .peer_process import WorkerProcess
from .peer_table import best_of, compare_all, say_restless, tabulate
from .to_onnx import to_onnx

STEM = "peers"
KEY = ("network", "batch", "threads")
TVM = ("stock", "ours")

Commands = Mapping[str, list[str]]


def main() -> int:
    args = _parse()
    use_results(args.results)
    use_threads(args.threads)
    read_rows(STEM)  # whatever is wrong with it must not come out after an hour
    network = load_network(args.network, args.batch)
    peers, failed = find_peers(args.peers, args.environments)
    row, failed_later = measure(network, peers, args.threads, args.repeat, args.tuned_log)
    failed += failed_later
    for line in [*failed, *say_restless(row["contestants"])]:
        say(line, sys.stderr)
    row = {"network": args.network, "batch": args.batch, "threads": args.threads, **row}
    row["missing"] = [line.partition(":")[0] for line in failed]
    rows = merge_rows(read_rows(STEM), [row], KEY)
    write_results(STEM, {"rows": rows}, tabulate(rows))
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network", metavar="NETWORK", help="one of bench.networks, no light_ one")
    parser.add_argument("--threads", type=int, default=2, help="threads of each (default: 2)")
    parser.add_argument("--batch", type=int, default=1, help="batch size (default: 1)")
    parser.add_argument("--repeat", type=int, default=15, help="rounds (default: 15)")
    parser.add_argument("--tuned-log", metavar="FILE", help="AutoTVM log for two more builds")
    parser.add_argument(
        "--peers",
        type=lambda text: [name for name in text.split(",") if name],
        default=["ort", "openvino", "torch"],
        metavar="NAMES",
        help=f"of {','.join(PEERS)} (default: ort,openvino,torch)",
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=default_folder(),
        metavar="DIR",
        help="virtual environments of the peers (default: in the user's cache)",
    )
    add_results_option(parser)
    args = parser.parse_args()
    try:
        choose_networks([args.network], args.batch)
    except ValueError as error:
        parser.error(str(error))
    if args.network.startswith("light_"):
        names = ", ".join(name for name in NETWORKS if not name.startswith("light_"))
        parser.error(f"network is {args.network!r} but must be one of {names}")
    for name in args.peers:
        if name not in PEERS:
            parser.error(f"peer is {name!r} but must be one of {', '.join(PEERS)}")
    if args.repeat < 1:
        parser.error(f"repeat is {args.repeat} but must be at least 1")
    if args.tuned_log is not None and not Path(args.tuned_log).is_file():
        parser.error(f"tuned log {args.tuned_log} is not a file")
    return args


def find_peers(names: Iterable[str], environments: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Commands that start the peers' workers, and a line for each that is not to be had."""
    commands, failed = {}, []
    for name in dict.fromkeys(names):
        try:
            commands[name] = worker_command(find_python(name, environments), name)
        except PeerError as error:
            failed.append(str(error))
    return commands, failed


def worker_command(python: str | Path, contestant: str) -> list[str]:
    """What starts the worker of a contestant."""
    return [str(python), "-m", "bench.peer_worker", contestant]


def measure(
    network: Network, peers: Commands, threads: int, repeat: int, tuned_log: str | None = None
) -> tuple[dict, list[str]]:
    """Run one network by every contestant.

    Parameters
    ----------
    network : Network
        The network.
    peers : mapping of str to list of str
        Commands of the peers' workers.
    threads : int
        Threads of each contestant.
    repeat : int
        Rounds; each gives one figure for every contestant.
    tuned_log : str, optional
        AutoTVM log; with it, stock and ours take part a second time.

    Returns
    -------
    row : dict
        Times, versions, differences.
    failed : list of str
        A line for each contestant that did not load.

    Raises
    ------
    PeerError
        If a contestant that had loaded fails later.
    """
    commands = {**peers, **{name: worker_command(sys.executable, name) for name in TVM}}
    logs: dict[str, str | None] = dict.fromkeys(commands)
    if tuned_log is not None:
        log = str(Path(tuned_log).resolve())  # workers run in a folder of their own
        commands |= {f"{name}_tuned": commands[name] for name in TVM}
        logs |= {f"{name}_tuned": log for name in TVM}
    failed = []
    with TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        job = {**_write_files(network, folder), "threads": threads}
        workers, contestants = {}, {}
        for name, command in commands.items():
            worker = stack.enter_context(WorkerProcess(name, command, folder, threads))
            try:
                contestants[name] = worker.load(**job, tuned_log=logs[name])
            except PeerError as error:
                failed.append(str(error))
                worker.close()  # it would hold its memory for nothing
                continue
            workers[name] = worker
        outputs = {name: worker.output() for name, worker in workers.items()}
        times = time_in_turns(workers, repeat) if workers else {}
        for name, worker in workers.items():
            contestants[name] |= {"idle_load": worker.idle_load(), "time_ms": times[name]}
    row = {"commit": read_commit(), "tuned_log": tuned_log, "best_peer": best_of(times, peers)}
    return row | {"contestants": contestants, "differences": compare_all(outputs)}, failed


def _write_files(network: Network, folder: Path) -> dict[str, str]:
    """The model and its input, for every contestant."""
    files = {"model": str(folder / "model.onnx"), "data": str(folder / "data.npy")}
    onnx.save(to_onnx(network), files["model"])
    (data,) = draw_inputs(network).values()
    np.save(files["data"], data)
    return files


if __name__ == "__main__":
    raise SystemExit(run_main(main))
