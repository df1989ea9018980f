"""Networks built here, measured on a GPU elsewhere, where there is TVM's runtime alone.

    python -m bench.gpu_bundle build DIR [NETWORK ...] [--batch 1 ...] [--target "cuda -arch=sm_90"]
                                         [--tuned-log FILE]
    python -m bench.gpu_bundle run DIR [NETWORK ...] [--repeat 15] [--inputs 10] [--results DIR]

``build`` needs a TVM with CUDA code generation (``scripts/cuda_env.sh``) and no GPU: each network
is built as stock TVM does it, with every pool exchanged, and as the pass decides where that is a
mixture, with operators fused and with each one a kernel of its own.  What is finished is not built
again.  ``run`` needs ``libtvm_runtime.so``, TVM's Python and the GPU (``TVM_USE_RUNTIME_LIB=1``,
``TVM_LIBRARY_PATH``): it compares results bit by bit, times builds in turns, every kernel and each
activation layer, and saves what it has after each network, as ``cuda.json`` and ``cuda.md``.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain
from pathlib import Path
from statistics import median

from tvm_reorder.cli.errors import UsageError, first_line
from tvm_reorder.cli.lines import say
from tvm_reorder.cli.options import positive

from .bundle import CASE
from .harness import (
    add_results_option,
    merge_rows,
    read_document,
    run_main,
    save_results,
    use_results,
    write_results,
)
from .ratio import Ratio
from .wording import say_result

STEM = "cuda"
NETWORKS = ("custom_relu", "custom_sigmoid", "custom_tanh", "vgg16_relu", "resnet18")
_PLACE = ("network", "batch", "target", "schedules")
# Lists of the document, and the fields that tell their rows apart.
KEYS = {
    "rows": (*_PLACE, "fusing", "decision"),
    "layers": (*_PLACE, "layer"),
    "kernels": (*_PLACE, "fusing", "build"),
}


def main() -> int:
    args = _parse()
    return args.run(args)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    build = commands.add_parser("build", help="compile networks into a folder")
    build.set_defaults(run=_build)
    build.add_argument("--batch", nargs="+", type=positive, default=[1], metavar="N")
    build.add_argument("--target", default="cuda -arch=sm_90", help="(default: %(default)s)")
    build.add_argument("--tuned-log", metavar="FILE", help="AutoTVM log for every build")
    run = commands.add_parser("run", help="compare and time what is in a folder")
    run.set_defaults(run=_run)
    run.add_argument("--repeat", type=positive, default=15, help="rounds (default: 15)")
    run.add_argument("--inputs", type=positive, default=10, help="to compare for (default: 10)")
    add_results_option(run)
    for command in (build, run):
        command.add_argument("folder", type=Path, metavar="DIR")
        command.add_argument("names", nargs="*", metavar="NETWORK")
    return parser.parse_args()


def _build(args: argparse.Namespace) -> int:
    from tvm_reorder.cli.targets import check_buildable, read_target

    from .bundle_build import build_case
    from .networks import choose_networks

    target = read_target(args.target)
    check_buildable(target)
    names = args.names or list(NETWORKS)
    for batch in args.batch:
        choose_networks(names, batch)
    failed = []
    for batch in args.batch:
        for name in names:
            folder = args.folder / f"{name}-{batch}"
            if (folder / CASE).exists():
                continue
            try:
                case = build_case(folder, name, batch, target, args.tuned_log)
                say(f"{folder}: {len(case.builds)} builds, {len(case.layers)} layers")
            except Exception as error:  # one network must not cost the others
                failed.append(name)
                say(f"{folder}: {first_line(error)}", sys.stderr)
            gc.collect()
    return 1 if failed else 0


def _run(args: argparse.Namespace) -> int:
    folders = sorted(path.parent for path in args.folder.glob(f"*/{CASE}"))
    if args.names:
        folders = [each for each in folders if each.name.rpartition("-")[0] in args.names]
    if not folders:
        raise UsageError(f"{args.folder} holds no network that was asked for but must: build it")
    use_results(args.results)
    saved = read_document(STEM)
    document = {rows: saved.get(rows, []) for rows in KEYS}
    failed = False
    for rows, what, measure in chain.from_iterable(map(partial(_plan, args), folders)):
        try:
            new = measure()
        except Exception as error:  # one measurement must not cost the others
            failed = True
            say(f"{what}: {first_line(error)}", sys.stderr)
            continue
        document[rows] = merge_rows(document[rows], new, KEYS[rows])
        save_results(STEM, document, tabulate(document))
        for line in tabulate({name: [] for name in KEYS} | {rows: new})[1:]:
            say(" ".join(line), sys.stderr)
    write_results(STEM, document, tabulate(document))
    return 1 if failed else 0


def _plan(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str, Callable]]:
    """The measurements of one network: the list of their rows, a name, and what measures."""
    from . import bundle_run

    opened = cache(lambda: bundle_run.OpenCase(folder))  # once, and not before it is measured
    for fusing in ("fused", "apart"):
        compare = lambda fusing=fusing: bundle_run.measure_networks(
            opened(), fusing, args.repeat, args.inputs
        )
        yield "rows", f"{folder.name}, {fusing}", compare
    yield (
        "layers",
        f"{folder.name}, layers",
        lambda: bundle_run.measure_layers(opened(), args.repeat),
    )
    yield "kernels", f"{folder.name}, kernels", lambda: bundle_run.time_kernels(opened(), "fused")
    gc.collect()  # VGG's weights lie on the GPU once for each build


def tabulate(document: dict) -> list[list[str]]:
    """A line for each network and layer, header first; kernels are in the JSON alone."""
    header = ["network", "batch", "schedules", "operators", "what", "results", "kernels"]
    header += ["stock us", "ours us", "stock / ours (quartiles)", "off the CPU's"]
    rows = map(_tabulate_network, document["rows"])
    return [header, *rows, *map(_tabulate_layer, document["layers"])]


def _start(row: dict, fusing: str, what: str, result: str) -> list[str]:
    return [row["network"], str(row["batch"]), row["schedules"], fusing, what, result]


def _tabulate_network(row: dict) -> list[str]:
    kernels, far = row["kernels"], row["from_cpu"]
    actions = ", ".join(f"{action} {count}" for action, count in sorted(row["actions"].items()))
    return [
        *_start(row, row["fusing"], f"{row['decision']} ({actions})", _say_result(row)),
        f"{kernels['stock']} -> {kernels['ours']}",
        *_say_times(row["time_ms"]["stock"], row["time_ms"]["ours"]),
        "-" if far is None else f"{far:.1e}",
    ]


def _say_result(row: dict) -> str:
    return say_result(row) if row["equal"] else f"DIFFER by {row.get('max_ulp')} ulp"


def _tabulate_layer(row: dict) -> list[str]:
    result = "bit-equal" if row["bit_equal"] else "DIFFER"
    times = _say_times(row["before_ms"], row["after_ms"])
    return [*_start(row, "apart", row["layer"], result), "-", *times, f"{row['saved']:.0%} less"]


def _say_times(before: list[float], after: list[float]) -> list[str]:
    medians = [f"{median(times) * 1e3:.2f}" for times in (before, after)]
    return [*medians, str(Ratio.of(before, after))]


if __name__ == "__main__":
    raise SystemExit(run_main(main))
