"""``tvm-reorder tune-sites``: every distinct site built in each way, timed, and recorded."""

from __future__ import annotations

import os
from statistics import median

from .errors import UsageError, first_line
from .lines import note, say
from .options import add_command, add_timing_options
from .output import check_outputs, print_table, progress, say_setup, write_json
from .steps import Steps


def add_parser(subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "tune-sites",
        run,
        "Time every distinct max pool of a model kept, exchanged and fused, and record it for "
        "--records. What FILE has already is not timed again.",
        """
        tvm-reorder tune-sites model.onnx -o sites.jsonl
        tvm-reorder tune-sites vgg16 --target "llvm -mcpu=skylake-avx512" --threads 1 -o sites.jsonl
        tvm-reorder compile model.onnx --records sites.jsonl -o model.tar
        """,
        is_build=False,
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        help="the records, a line of JSON for each site; new ones are added at the end",
    )
    add_timing_options(parser)
    parser.add_argument(
        "--force", action="store_true", help="time again what FILE has already; the later counts"
    )


def run(args) -> int:
    """Tune; the exit status is 0 if every site has a record in the end."""
    from ..relay.circumstances import read_circumstances
    from .known import read_known
    from .models import open_model
    from .targets import choose_target, open_device

    check_outputs(args)
    target = choose_target(args, must_run_here=True)
    device = open_device(target)
    circumstances = read_circumstances(target)
    model = open_model(args)
    _check_records(args.output)
    sites, pools = _find_sites(model, target, args)
    known = read_known(args.output, circumstances)
    pending = [site for site in sites if args.force or known.times(site.workload) is None]
    if len(pending) < len(sites):
        note(f"{len(sites) - len(pending)} of {len(sites)} sites are in {args.output} already")
    failures = _tune(pending, target, device, circumstances, args)
    records = read_known(args.output, circumstances, say=False)
    result = [_describe(site, records) for site in sites]
    write_json(_as_json(result, args, circumstances), args.json)
    if args.json != "-":
        say_setup(args.target)
        _print(result, pools, circumstances)
    if failures:
        raise UsageError(f"{len(failures)} of {len(sites)} sites have no record: {failures[0]}")
    return 0


def _check_records(path: str) -> None:
    """Raise `UsageError` if there is something else than records, which new ones would damage."""
    if not os.path.exists(path):
        return
    try:
        with open(path, "rb") as file:
            begin = file.read(1)
    except OSError as error:
        raise UsageError(f"--output {path} cannot be read: {error.strerror}") from error
    if begin not in (b"", b"{"):
        raise UsageError(
            f"--output {path} holds no records but must be a file of them or a new one"
        )


def _find_sites(model, target, args):
    """The distinct sites, and how many max pools the model has."""
    from ..core.config import ReorderConfig
    from ..core.selection import is_left_out
    from ..relay.extract import extract_sites
    from ..relay.pipeline import reorder

    exactness = {name: getattr(args, name) for name in ("licence", "certify")}
    config = ReorderConfig(**exactness, write=False, only=args.only, skip=args.skip)
    with progress("looking for sites"):
        prepared, report = reorder(model.mod, model.params, config, target=target)
        sites = extract_sites(prepared, report)
    left = {site.name for site in report.sites if is_left_out(site)}
    return [site for site in sites if not left.issuperset(site.names)], len(report.sites)


def _tune(pending, target, device, circumstances, args) -> list[str]:
    """Measure and record; gives a line for each site that cannot be measured."""
    from ..relay.measure_sites import count_steps

    steps = Steps(len(pending), count_steps(args.repeat))
    try:
        with steps:
            failures = [
                _tune_site(site, target, device, circumstances, args, steps) for site in pending
            ]
    except KeyboardInterrupt:
        raise UsageError(
            f"interrupted: {steps.finished} of {len(pending)} sites were added to {args.output}; "
            "the same command goes on from there"
        ) from None
    return [failure for failure in failures if failure]


def _tune_site(site, target, device, circumstances, args, steps) -> str | None:
    from ..core.config import ReorderConfig
    from ..core.records import Record, append_record
    from ..relay.measure_sites import measure_site

    steps.begin(site.name)
    try:
        config = ReorderConfig(licence=args.licence, certify=args.certify)
        times = measure_site(site, target, config, args.repeat, steps.advance, device)
    except Exception as error:  # whatever a compiler raises; the other sites go on
        return f"{site.name}: {first_line(error)}"
    record = Record(
        workload=site.workload.as_dict(),
        target=circumstances.target,
        threads=circumstances.threads,
        tvm=circumstances.tvm_version,
        processor=circumstances.processor,
        times_ms=times,
    )
    try:
        append_record(args.output, record)
    except OSError as error:
        raise UsageError(f"--output {args.output} cannot be written: {error.strerror}") from error
    steps.finish(f"{site.name}: {_say_times(times)}")
    return None


def _describe(site, records) -> dict:
    """What is known of a site now, as JSON values."""
    from ..core.decision import choose

    times = records.times(site.workload) or {}
    decision = choose(site.workload, tuple(times), "auto", records)
    return {
        "name": site.name,
        "names": list(site.names),
        "workload": site.workload.as_dict(),
        "summary": _summarise_workload(site.workload),
        "time_ms": {str(action): samples for action, samples in times.items()},
        "decision": str(decision) if times else None,
    }


def _summarise_workload(workload) -> str:
    chain = " > ".join(workload.chain) or "no step"
    conv = workload.convolution
    if conv is None:
        return f"{chain}, {workload.window}, {workload.planes} planes"
    kernel = "x".join(map(str, conv.kernel))
    return f"{kernel} conv {conv.in_channels} -> {conv.channels}, {chain}, {workload.window}"


def _say_times(times) -> str:
    return ", ".join(f"{action} {median(samples):.3f} ms" for action, samples in times.items())


def _print(sites: list[dict], pools: int, circumstances) -> None:
    from ..core.decision import Action

    if not sites:
        say("no max pool in this model" if not pools else _NOTHING_TO_TUNE.format(pools))
        return
    columns = ("where", "workload", *(f"{action} ms" for action in Action), "decision")
    print_table("sites, median times", columns, map(_make_row, sites))
    say(
        f"{len(sites)} distinct of {pools} max pools; "
        f"target {circumstances.target}, threads {circumstances.threads}"
    )


def _make_row(site: dict) -> tuple[str, ...]:
    from ..core.decision import Action

    figures = (site["time_ms"].get(str(action)) for action in Action)
    medians = (f"{median(samples):.3f}" if samples else "-" for samples in figures)
    return site["name"], site["summary"], *medians, site["decision"] or "no record"


_NOTHING_TO_TUNE = "none of the {} max pools can be done in another way; inspect says why"


def _as_json(sites: list[dict], args, circumstances) -> dict:
    return {
        "model": args.model,
        "records": args.output,
        "target": circumstances.target,
        "threads": circumstances.threads,
        "tvm": circumstances.tvm_version,
        "processor": circumstances.processor,
        "sites": [{key: v for key, v in site.items() if key != "summary"} for site in sites],
    }
