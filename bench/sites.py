"""Each distinct site of the networks by itself: stock, exchanged, fused, and what auto takes.

    python -m bench.sites [--threads 2] [--batch 1] [--repeat 15] [--tuned-log FILE] [NAME ...]

All builds of a site run in one process, round by round in turns.  Layout transforms at a site's
borders do not count: inside a network its neighbours share the blocked layout.

Columns
    stock, exchange, fuse, auto
        Median milliseconds of the whole site; a dash where that cannot be done there.
    ideal
        What cannot be beaten: the convolution's multiply-adds at the measured float32 peak, then
        bias and activation on the pooled values alone, at their measured cost (``core/cost.py``).
        No byte read or written counts.
    saving reached
        (stock - auto) / (stock - ideal): the part of the theoretical saving that auto reaches.
    GFLOP/s, of peak
        Of auto's kernels, a multiply-add counted as two, everything else they do included.

NAME is one of ``bench.networks.NETWORKS``.  A site's row is saved as soon as it is measured and
replaces its older one (same workload, threads and schedules).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from statistics import median

import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.cli.errors import first_line
from tvm_reorder.cli.lines import say
from tvm_reorder.core.config import ReorderConfig
from tvm_reorder.core.cost import evaluation_ns
from tvm_reorder.core.decision import Action
from tvm_reorder.relay.extract import ExtractedSite, extract_sites
from tvm_reorder.relay.floor_division import mend_floor_division
from tvm_reorder.relay.measure_sites import SiteRunner, build_site, draw_inputs

from .harness import (
    add_options,
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
from .networks import choose_networks, load_network
from .peak import TARGET, measure_peak
from .ratio import Ratio

STEM = "sites"
KEY = ("key", "threads", "schedules")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    args = add_options(parser).parse_args()
    names = choose_networks(args.names, args.batch)
    use_results(args.results)
    use_threads(args.threads)
    peak = measure_peak(args.threads)
    common = {"target": TARGET, "threads": args.threads, "peak_gflops": peak}
    rows, failed = read_rows(STEM), []
    for site in find_sites(names, args.batch):
        try:
            row = measure(site, args.repeat, args.tuned_log, args.records)
        except Exception as error:  # one site must not cost the others their hours
            failed.append(site.name)
            say(f"{site.name}: {first_line(error)}", sys.stderr)
            continue
        rows = merge_rows(rows, [{**row, **common}], KEY)
        save_results(STEM, {"rows": rows}, tabulate(rows), peak)
        say(f"{site.name}: {_ratio(row, 'auto')}", sys.stderr)
    write_results(STEM, {"rows": rows}, tabulate(rows), peak)
    return 1 if failed else 0


def find_sites(names: Iterable[str], batch: int) -> list[ExtractedSite]:
    """The distinct sites of some networks, each named after all the places it stands in."""
    found: dict[str, ExtractedSite] = {}
    for name in names:
        network = load_network(name, batch)
        mod, report = tvm_reorder.reorder(
            network.mod, network.params, target=TARGET, decision="keep", write=False
        )
        for site in extract_sites(mod, report):
            places = tuple(f"{name}/{place}" for place in site.names)
            known = found.get(site.workload.key)
            names_so_far = () if known is None else known.names
            found[site.workload.key] = replace(known or site, names=names_so_far + places)
    return list(found.values())


def measure(
    site: ExtractedSite, repeat: int, tuned_log: str | None = None, records: str | None = None
) -> dict:
    """Build one site in every way and time the builds in turns.

    Parameters
    ----------
    site : ExtractedSite
        The site.
    repeat : int
        Rounds; each gives one figure for every build.
    tuned_log : str, optional
        AutoTVM log that all builds take their schedules from.
    records : str, optional
        File of measured sites for auto to decide by.

    Returns
    -------
    dict
        The row.
    """
    with schedules_of(tuned_log):
        libraries, decision = _build_all(site, records)
    inputs = draw_inputs(site.mod)
    runners = {
        build: SiteRunner(library, inputs)
        for build, library in libraries.items()
        if library is not None
    }
    convolution = site.workload.convolution
    times = time_in_turns(runners, repeat)
    return {
        "site": site.name,
        "places": list(site.names),
        "key": site.workload.key,
        "workload": site.workload.as_dict(),
        "what": _describe(site),
        "multiply_adds": None if convolution is None else convolution.multiply_adds,
        "evaluations_ns": evaluation_ns(site.workload.chain) * site.workload.pooled,
        "schedules": "default" if tuned_log is None else "tuned",
        "tuned_log": tuned_log,
        "records": records,
        "commit": read_commit(),
        "decision": None if decision is None else _describe_decision(decision),
        "time_ms": times,
        "rounds": times.describe(),
    }


def _build_all(site: ExtractedSite, records: str | None):
    """The libraries by name, None for what cannot be done at the site, and auto's decision."""
    target, config = tvm.target.Target(TARGET), ReorderConfig()
    with tvm_reorder.enabled(decision="auto", records=records) as report:
        auto = _build(site.mod)
    if report.errors:
        raise report.errors[-1]
    libraries = {
        "stock": _build(site.mod),
        "exchange": build_site(site.mod, target, config, Action.EXCHANGE),
        "fuse": build_site(site.mod, target, config, Action.FUSE),
        "auto": auto,
    }
    return libraries, report.sites[0].decision


def _build(mod: tvm.IRModule):
    with mend_floor_division(), tvm.transform.PassContext(opt_level=3):
        return relay.build(mod, TARGET)


def _describe(site: ExtractedSite) -> str:
    chain = " > ".join(site.workload.chain)
    conv = site.workload.convolution
    if conv is None:
        return f"{chain}, {site.workload.window}"
    kernel = "x".join(map(str, conv.kernel))
    shape = f"{conv.batch}x{conv.in_channels}x{conv.height}x{conv.width}"
    return f"{shape}, {kernel} conv to {conv.channels}, {chain}, {site.workload.window}"


def _describe_decision(decision) -> dict:
    return {
        "action": str(decision.action),
        "basis": decision.basis,
        "gain": decision.gain,
        "note": decision.note,
    }


def tabulate(rows: list[dict]) -> list[list[str]]:
    """Ratios are over stock, with the quartiles of the rounds' own ratios."""
    header = ["site", "what", "threads", "schedules", "stock ms", "exchange ms", "fuse ms"]
    header += ["auto ms", "ideal ms", "stock / exchange", "stock / fuse", "stock / auto"]
    header += ["auto's decision", "saving reached", "GFLOP/s", "of peak"]
    peaks: dict[int, float] = {}
    for row in rows:  # whatever else ran during a measurement can only have made it lower
        peaks[row["threads"]] = max(row["peak_gflops"], peaks.get(row["threads"], 0.0))
    return [header, *(_tabulate_row(row, peaks[row["threads"]]) for row in rows)]


def _tabulate_row(row: dict, peak: float) -> list[str]:
    builds = ("stock", "exchange", "fuse", "auto")
    times = {build: median(row["time_ms"][build]) for build in builds if build in row["time_ms"]}
    decision, ideal = row["decision"], ideal_ms(row, peak)
    share = None if ideal is None else (times["stock"] - times["auto"]) / (times["stock"] - ideal)
    gflops = None if ideal is None else 2 * row["multiply_adds"] / times["auto"] / 1e6
    return [
        row["site"],
        row["what"],
        str(row["threads"]),
        row["schedules"],
        *(f"{times[build]:.3f}" if build in times else "-" for build in builds),
        "-" if ideal is None else f"{ideal:.3f}",
        *(_ratio(row, build) for build in ("exchange", "fuse", "auto")),
        "-" if decision is None else f"{decision['action']} by {decision['basis']}",
        "-" if share is None else f"{share:.0%}",
        "-" if gflops is None else f"{gflops:.1f}",
        "-" if gflops is None else f"{gflops / peak:.0%}",
    ]


def ideal_ms(row: dict, peak: float) -> float | None:
    """Milliseconds that no kernel can beat at `peak` GFLOP/s; None without one convolution."""
    if row["multiply_adds"] is None:
        return None
    return 2 * row["multiply_adds"] / peak / 1e6 + row["evaluations_ns"] / row["threads"] / 1e6


def _ratio(row: dict, build: str) -> str:
    times = row["time_ms"]
    return str(Ratio.of(times["stock"], times[build])) if build in times else "-"


if __name__ == "__main__":
    raise SystemExit(run_main(main))
