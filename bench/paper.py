"""The paper's experiments: activation layers, forward pass, pictures, operations, gradients.

    python -m bench.paper [EXPERIMENT ...] [--network NAME ...] [--batch N ...] [--threads 1]
                          [--iterations 50] [--target T] [--seed 0] [--results DIR]

EXPERIMENT is one or more of these; all by default:

tables      Table 1 and Figure 3, each activation layer in front of a max pool (``paper_layers``)
batches     the same at batch 1, 2, 4, 8 and 16
totals      the whole forward pass, operators apart and fused (``paper_totals``)
pictures    Figure 4, class scores of 100 pictures (``paper_pictures``)
operations  evaluations and comparisons, counted (``paper_operations``)
gradients   the backward phase, on small networks of its own (``paper_gradients``)

Every figure of time comes from rounds in which original and exchanged network take turns, each
for 20 ms and more; ``--iterations`` is the number of rounds, 1000 in the paper.  One thread by
default: a second one costs small layers more than it saves.  What is measured is saved at once and
replaces its older row, so runs over parts complete one document, ``paper.json``.  ``--target cuda``
measures the same on a GPU.  Exit status: 1 if a measurement failed, 2 if the input was wrong.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator

from tvm_reorder.cli.errors import UsageError, first_line
from tvm_reorder.cli.lines import say
from tvm_reorder.cli.options import Parser, positive, seed, thread_count

from . import paper_gradients
from .harness import (
    TARGET,
    add_results_option,
    merge_rows,
    read_document,
    run_main,
    save_results,
    use_results,
    use_threads,
    write_results,
)
from .networks import choose_networks
from .paper_builds import Setting
from .paper_layers import measure_layers
from .paper_operations import count_example, count_rows
from .paper_pictures import compare_pictures
from .paper_tables import tabulate
from .paper_totals import measure_totals

STEM = "paper"
NETWORKS = ("vgg16_relu", "vgg19_relu", "custom_sigmoid")
BATCHES = (1, 2, 4, 8, 16)

# Lists of the document, and the fields that tell their rows apart.
_PLACE = ("network", "batch", "threads", "target")
KEYS = {
    "layers": (*_PLACE, "layer"),
    "totals": (*_PLACE, "fusing", "decision"),
    "pictures": (*_PLACE, "fusing"),
    "operations": ("name", "layer"),
    "gradients": ("network", "target"),
}

# A step: what it is called, the list that its rows go to, and what measures them.
Step = tuple[str, str, Callable[[], list[dict]]]


def main() -> int:
    args = _parse()
    use_results(args.results)
    use_threads(args.threads)
    setting = Setting(args.target, args.threads, args.iterations, args.seed)
    document, status, is_new = _read(), 0, False
    # Before anything is built: that there is no such device must not come out after an hour.
    say(f"{args.target}: on {setting.device}", sys.stderr)
    for name, rows, measure in plan(args.experiments, args.network, args.batch, setting):
        say(name, sys.stderr)
        try:
            new = measure()
        except Exception as error:  # one measurement must not cost the others their hours
            say(f"{name}: {first_line(error)}", sys.stderr)
            status = max(status, 2 if isinstance(error, UsageError) else 1)
            continue
        document[rows], is_new = _merge(document[rows], new, KEYS[rows]), True
        save_results(STEM, _head(setting) | document, tabulate(document))
        gc.collect()  # a network holds its weights several times; the next one needs the room
    if is_new:
        write_results(STEM, _head(setting) | document, tabulate(document))
    return status


def _parse():
    parser = Parser(prog="python -m bench.paper", description=__doc__.partition("\n")[0])
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    parser.add_argument(
        "--network", nargs="+", metavar="NAME", help=f"(default: {' '.join(NETWORKS)})"
    )
    parser.add_argument(
        "--batch",
        nargs="+",
        type=positive,
        metavar="N",
        help="sizes for tables, totals and batches (default: 1, for batches 1 2 4 8 16)",
    )
    parser.add_argument("--threads", type=thread_count, default=1, help="of TVM (default: 1)")
    parser.add_argument("--iterations", type=positive, default=50, help="rounds (default: 50)")
    parser.add_argument("--target", default=TARGET, help=f"(default: {TARGET})")
    parser.add_argument("--seed", type=seed, default=0, help="of inputs and pictures (default: 0)")
    add_results_option(parser)
    args = parser.parse_args()
    args.network = list(args.network or NETWORKS)
    args.experiments = args.experiments or list(EXPERIMENTS)
    for name in args.experiments:
        if name not in EXPERIMENTS:
            known = ", ".join(EXPERIMENTS)
            raise UsageError(f"experiment is {name!r} but must be one of {known}")
    for batch in args.batch or [1]:
        choose_networks(args.network, batch)
    return args


def plan(
    experiments: Iterable[str], networks: list[str], batches: list[int] | None, setting: Setting
) -> Iterator[Step]:
    """The steps of some experiments, in their order.

    Parameters
    ----------
    experiments : iterable of str
        Of `EXPERIMENTS`.
    networks : list of str
        Networks; ``gradients`` has its own.
    batches : list of int or None
        Batch sizes of what is timed; None for each experiment's own.
    setting : Setting
        Where and how often.
    """
    for experiment in dict.fromkeys(experiments):
        yield from EXPERIMENTS[experiment](networks, batches, setting)


def _plan_tables(networks, batches, setting, own=(1,)) -> Iterator[Step]:
    for batch in batches or own:
        for name in networks:
            measure = lambda name=name, batch=batch: measure_layers(name, batch, setting)
            yield f"layers of {name}, batch {batch}", "layers", measure


def _plan_batches(networks, batches, setting) -> Iterator[Step]:
    return _plan_tables(networks, batches, setting, own=BATCHES)


def _plan_totals(networks, batches, setting) -> Iterator[Step]:
    for batch in batches or (1,):
        for name in networks:
            measure = lambda name=name, batch=batch: measure_totals(name, batch, setting)
            yield f"forward pass of {name}, batch {batch}", "totals", measure


def _plan_pictures(networks, batches, setting) -> Iterator[Step]:
    for name in networks:
        measure = lambda name=name: compare_pictures(name, setting)
        yield f"pictures through {name}", "pictures", measure


def _plan_operations(networks, batches, setting) -> Iterator[Step]:
    yield "operations of the worked example", "operations", lambda: count_example(setting)
    for name in networks:
        yield f"operations of {name}", "operations", lambda name=name: count_rows(name, setting)


def _plan_gradients(networks, batches, setting) -> Iterator[Step]:
    for name in paper_gradients.CASES:
        measure = lambda name=name: [paper_gradients.compare_gradients(name, setting)]
        yield f"gradients of {name}", "gradients", measure


EXPERIMENTS: dict[str, Callable[..., Iterator[Step]]] = {
    "tables": _plan_tables,
    "batches": _plan_batches,
    "totals": _plan_totals,
    "pictures": _plan_pictures,
    "operations": _plan_operations,
    "gradients": _plan_gradients,
}


def _read() -> dict:
    """The rows of earlier runs, by list."""
    saved = read_document(STEM)
    return {name: saved.get(name, []) for name in KEYS}


def _merge(old: list[dict], new: list[dict], key: tuple[str, ...]) -> list[dict]:
    """As `merge_rows`; a row of operations is of a network or of an example."""
    named = [{**row, "name": row.get("network") or row.get("example")} for row in (*old, *new)]
    merged = merge_rows([], named, key)
    return [{field: row[field] for field in row if field != "name"} for row in merged]


def _head(setting: Setting) -> dict:
    return {"target": setting.target, "seed": setting.seed}


if __name__ == "__main__":
    raise SystemExit(run_main(main))
