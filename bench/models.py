"""Whole networks, stock against ours: results, kernels, time.

    python -m bench.models [--threads 2] [--batch 1] [--repeat 15] [--tuned-log FILE] [NAME ...]
                           [--records FILE] [--target T] [--results DIR] [--processes 3]

Both builds of a network run in one process, round by round in turns.  Where a buffer lies in memory
differs from process to process, and with it the time; so a network is built and timed in several
processes, one after the other, and its row is that of the process with the median ratio.  It is
saved as soon as it is measured and replaces its older one (same network, batch, threads, schedules
and target), so runs over some of the networks complete one table.  NAME is one of
``bench.networks.NETWORKS``; all that exist at this batch by default.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from statistics import median

import numpy as np
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.cli.errors import first_line
from tvm_reorder.cli.lines import say
from tvm_reorder.cli.measure import Runner, compare_outputs
from tvm_reorder.cli.options import positive
from tvm_reorder.cli.targets import open_device, read_target
from tvm_reorder.relay.floor_division import mend_floor_division

from .harness import (
    TARGET,
    add_options,
    choose_licence,
    merge_rows,
    read_commit,
    read_rows,
    run_main,
    save_results,
    schedules_of,
    time_in_turns,
    use_results,
    use_threads,
    write_results,
)
from .networks import NETWORKS, Network, choose_networks, draw_inputs, load_network
from .peak import measure_peak
from .ratio import Ratio
from .wording import say_result

STEM = "models"
KEY = ("network", "batch", "threads", "schedules", "target")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser)
    parser.add_argument("--target", default=TARGET, help=f"compilation target (default: {TARGET})")
    parser.add_argument(
        "--processes", type=positive, default=3, help="processes to time each in (default: 3)"
    )
    args = parser.parse_args()
    names = choose_networks(args.names, args.batch)
    use_results(args.results)
    use_threads(args.threads)
    kind = read_target(args.target, must_run_here=True).kind.name
    peak = measure_peak(args.threads) if kind == "llvm" else None
    common = {"target": args.target, "threads": args.threads, "peak_gflops": peak}
    rows, failed = read_rows(STEM), []
    for name in names:
        try:
            row = measure_in_processes(
                args.processes,
                measure_network,
                *(name, args.batch, args.repeat, args.tuned_log, args.records, args.target),
            )
        except Exception as error:  # one network must not cost the others their hours
            failed.append(name)
            say(f"{name}: {first_line(error)}", sys.stderr)
            continue
        rows = merge_rows(rows, [{**row, **common}], KEY)
        save_results(STEM, {"rows": rows}, tabulate(rows), peak)
        say(f"{name}: {_ratio(row)}", sys.stderr)
    write_results(STEM, {"rows": rows}, tabulate(rows), peak)
    return 1 if failed else 0


def measure_in_processes(count: int, measure: Callable[..., dict], *args) -> dict:
    """The row of the process with the median ratio, and the ratios of all of them.

    Parameters
    ----------
    count : int
        New processes, one after the other.
    measure : callable
        Makes a row; a function of a module.
    args
        What it is called with.
    """
    rows = []
    for _ in range(count):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            rows.append(process.submit(measure, *args).result())
    rows.sort(key=lambda row: _ratio(row).median)
    return {**rows[(count - 1) // 2], "process_ratios": [_ratio(row).median for row in rows]}


def measure_network(
    name: str,
    batch: int,
    repeat: int,
    tuned_log: str | None = None,
    records: str | None = None,
    target: str | tvm.target.Target = TARGET,
) -> dict:
    """Build, compare and time one network.

    Parameters
    ----------
    name : str
        The network.
    batch : int
        Its batch.
    repeat : int
        Rounds; each gives one figure for either build.
    tuned_log : str, optional
        AutoTVM log that both builds take their schedules from.
    records : str, optional
        File of measured sites to decide by.
    target : str or tvm.target.Target
        What to build for; it must run here.

    Returns
    -------
    dict
        The row.

    Raises
    ------
    Exception
        What the pass failed with: TVM's build goes on then, and would be stock against stock.
    """
    network = load_network(name, batch)
    with schedules_of(tuned_log):
        stock, stock_s = _build(network, target)
        options = {"decision": "auto", "records": records, "licence": choose_licence(target)}
        with tvm_reorder.enabled(**options) as report:
            ours, ours_s = _build(network, target)
    if report.errors:
        raise report.errors[-1]
    inputs = draw_inputs(network)
    device = open_device(tvm.target.Target(target))
    runners = {"stock": Runner(stock, inputs, device), "ours": Runner(ours, inputs, device)}
    times = time_in_turns(runners, repeat)
    return {
        "network": name,
        "batch": batch,
        "schedules": "default" if tuned_log is None else "tuned",
        "tuned_log": tuned_log,
        "records": records,
        "licence": choose_licence(target),
        "commit": read_commit(),
        **_compare(runners["stock"].outputs(), runners["ours"].outputs()),
        "kernels": {build: runner.kernels for build, runner in runners.items()},
        "actions": dict(Counter(map(_action, report.sites))),
        "sites": report.as_dict()["sites"],
        "build_s": {"stock": stock_s, "ours": ours_s},
        "time_ms": times,
        "rounds": times.describe(),
    }


def _build(network: Network, target: str | tvm.target.Target):
    start = time.perf_counter()
    with mend_floor_division(), tvm.transform.PassContext(opt_level=3):
        library = relay.build(network.mod, target=target, params=network.params)
    return library, time.perf_counter() - start


def _compare(stock: list[np.ndarray], ours: list[np.ndarray]) -> dict:
    """How the outputs differ; `difference` is relative to the largest value of the output."""
    differences = [compare_outputs(*pair) for pair in zip(ours, stock)]
    relative = [
        None if d.max_abs_diff is None else d.max_abs_diff / float(np.abs(output).max())
        for d, output in zip(differences, stock)
    ]
    return {
        "equal": all(difference.equal for difference in differences),
        "bit_equal": all(difference.bit_equal for difference in differences),
        "difference": None if None in relative else max(relative),
        "distinct_values": min(int(np.unique(output).size) for output in stock),
    }


def _action(site) -> str:
    return "refused" if site.decision is None else str(site.decision.action)


def tabulate(rows: list[dict]) -> list[list[str]]:
    """Ratios are stock / ours, with the quartiles of the rounds' own ratios."""
    names = list(NETWORKS)
    order = {name: index for index, name in enumerate(names)}
    rows = sorted(
        rows,
        key=lambda row: (
            order.get(row["network"], len(names)),
            row["batch"],
            row["threads"],
            row["schedules"],
        ),
    )
    header = [
        "network",
        "target",
        "batch",
        "threads",
        "schedules",
        "fused",
        "exchanged",
        "kept",
        "refused",
    ]
    header += ["results", "kernels", "stock ms", "ours ms", "stock / ours (quartiles)"]
    header += ["processes"]
    return [header, *map(_tabulate_row, rows)]


def _tabulate_row(row: dict) -> list[str]:
    actions, kernels, times = row["actions"], row["kernels"], row["time_ms"]
    return [
        row["network"],
        row["target"],
        str(row["batch"]),
        str(row["threads"]),
        row["schedules"],
        *(str(actions.get(name, 0)) for name in ("fuse", "exchange", "keep", "refused")),
        say_result(row),
        f"{kernels['stock']} -> {kernels['ours']}",
        f"{median(times['stock']):.3f}",
        f"{median(times['ours']):.3f}",
        str(_ratio(row)),
        " ".join(f"{ratio:.3f}" for ratio in row.get("process_ratios", ())) or "-",
    ]


def _ratio(row: dict) -> Ratio:
    return Ratio.of(row["time_ms"]["stock"], row["time_ms"]["ours"])


if __name__ == "__main__":
    raise SystemExit(run_main(main))
