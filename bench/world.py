"""Beyond the paper: valleys, scales of both signs, other ranks, integers, half precision.

    python -m bench.world [--threads 2] [--batch 1] [--repeat 15] [--decision auto]
                          [--results DIR] [NAME ...]

Both builds of a network run in one process, round by round in turns, and their outputs are
compared.  A row is saved as soon as it is measured and replaces its older one (same network, batch,
threads and decision).  NAME is one of ``bench.world_networks.NETWORKS``; all by default.
"""

from __future__ import annotations

import argparse
import sys
from statistics import median

import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.cli.lines import say
from tvm_reorder.cli.measure import Runner, compare_outputs
from tvm_reorder.cli.options import positive, thread_count
from tvm_reorder.core.config import DECISIONS

from .harness import (
    TARGET,
    add_results_option,
    merge_rows,
    read_commit,
    read_rows,
    run_main,
    save_results,
    time_in_turns,
    use_results,
    use_threads,
    write_results,
)
from .ratio import Ratio
from .wording import say_result
from .world_networks import NETWORKS, WorldNetwork

STEM = "world"
KEY = ("network", "batch", "threads", "wanted")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks (default: all)")
    parser.add_argument("--threads", type=thread_count, default=2, help="threads of TVM")
    parser.add_argument("--batch", type=positive, default=1, help="batch size (default: 1)")
    parser.add_argument("--repeat", type=positive, default=15, help="rounds (default: 15)")
    parser.add_argument(
        "--decision", choices=DECISIONS, default="auto", help="what is done at each site"
    )
    add_results_option(parser)
    args = parser.parse_args()
    names = choose_networks(args.names)
    use_results(args.results)
    use_threads(args.threads)
    rows = read_rows(STEM)
    for name in names:
        row = measure_network(name, NETWORKS[name](args.batch), args.repeat, args.decision)
        row |= {"batch": args.batch, "threads": args.threads}
        rows = merge_rows(rows, [row], KEY)
        save_results(STEM, {"rows": rows}, tabulate(rows))
        say(f"{name}: {_ratio(row)}", sys.stderr)
    write_results(STEM, {"rows": rows}, tabulate(rows))
    return 0 if all(row["equal"] or row["licence"] != "equal" for row in rows) else 1


def choose_networks(names: list[str]) -> list[str]:
    """The networks named, or all.

    Raises
    ------
    ValueError
        If there is none of a name.
    """
    for name in names:
        if name not in NETWORKS:
            raise ValueError(f"network is {name!r} but must be one of {', '.join(NETWORKS)}")
    return names or list(NETWORKS)


def measure_network(name: str, network: WorldNetwork, repeat: int, wanted: str = "auto") -> dict:
    """Build, compare and time one network.

    Parameters
    ----------
    name : str
        What the row is called.
    network : WorldNetwork
        The network.
    repeat : int
        Rounds; each gives one figure for either build.
    wanted : str
        ``ReorderConfig.decision``.

    Returns
    -------
    dict
        The row; times in ms, ``difference`` the largest of all outputs, None if one is not finite.

    Raises
    ------
    Exception
        What the pass failed with: TVM's build goes on then, and would be stock against stock.
    """
    stock = _build(network)
    with tvm_reorder.enabled(decision=wanted, licence=network.licence) as report:
        ours = _build(network)
    if report.errors:
        raise report.errors[-1]
    inputs, device = network.draw(), tvm.cpu()
    runners = {"stock": Runner(stock, inputs, device), "ours": Runner(ours, inputs, device)}
    pairs = zip(runners["ours"].outputs(), runners["stock"].outputs())
    differences = [compare_outputs(*pair) for pair in pairs]
    worst = [difference.max_abs_diff for difference in differences]
    times = time_in_turns(runners, repeat)
    return {
        "network": name,
        "wanted": wanted,
        "licence": network.licence,
        "commit": read_commit(),
        "equal": all(difference.equal for difference in differences),
        "bit_equal": all(difference.bit_equal for difference in differences),
        "difference": None if None in worst else max(worst),
        "kernels": {build: runner.kernels for build, runner in runners.items()},
        "sites": report.as_dict()["sites"],
        "decisions": [str(site.decision or site.refusal) for site in report.sites],
        "time_ms": times,
        "rounds": times.describe(),
    }


def _build(network: WorldNetwork):
    with tvm.transform.PassContext(opt_level=3):
        return relay.build(network.mod, target=TARGET)


def tabulate(rows: list[dict]) -> list[list[str]]:
    """Ratios are stock / ours, with the quartiles of the rounds' own ratios."""
    header = ["network", "batch", "threads", "results", "kernels", "stock ms", "ours ms"]
    header += ["stock / ours (quartiles)", "decision"]
    return [header, *map(_tabulate_row, rows)]


def _tabulate_row(row: dict) -> list[str]:
    kernels, times = row["kernels"], row["time_ms"]
    return [
        row["network"],
        str(row["batch"]),
        str(row["threads"]),
        _say_results(row),
        f"{kernels['stock']} -> {kernels['ours']}",
        f"{median(times['stock']):.3f}",
        f"{median(times['ours']):.3f}",
        str(_ratio(row)),
        "; ".join(row["decisions"]),
    ]


def _say_results(row: dict) -> str:
    is_allowed = not row["equal"] and row["licence"] != "equal"
    return say_result(row) + (f", allowed by {row['licence']}" if is_allowed else "")


def _ratio(row: dict) -> Ratio:
    return Ratio.of(row["time_ms"]["stock"], row["time_ms"]["ours"])


if __name__ == "__main__":
    raise SystemExit(run_main(main))
