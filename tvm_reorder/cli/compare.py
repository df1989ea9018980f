"""``tvm-reorder compare``: stock against exchanged, on results, kernels and time."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict

from .lines import count, say
from .options import add_command, add_timing_options, reorder_config, seed
from .output import (
    check_outputs,
    note_idle_pass,
    print_sites,
    print_table,
    progress,
    say_setup,
    write_json,
)


def add_parser(subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "compare",
        run,
        "Build a model with and without the pass, compare the results and time both in turns.",
        """
        tvm-reorder compare custom
        tvm-reorder compare vgg16 --target "llvm -mcpu=skylake-avx512" --threads 1 --repeat 20
        tvm-reorder compare model.onnx --inputs inputs.npz --json - | jq .ratio
        """,
    )
    parser.add_argument(
        "--inputs", metavar="FILE.npz", help="the inputs, by name (default: random, see --seed)"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="S", help="seed of the random inputs (default: 0)"
    )
    add_timing_options(parser)


def run(args) -> int:
    """Compare; the exit status is 1 if the results differ."""
    result, report = _compare(args)
    note_idle_pass(report, args.opt_level)
    write_json(result, args.json)
    if args.json != "-":
        say_setup(args.target)
        _print(result, report.has_run)
    return 0 if result["equal"] else 1


def _compare(args):
    from ..core.turns import time_in_turns
    from .builds import named_failure
    from .inputs import choose_inputs
    from .measure import Runner, compare_outputs, summarise
    from .models import open_model
    from .nan_origin import find_nan
    from .targets import choose_target, open_device

    check_outputs(args)
    target = choose_target(args, must_run_here=True)
    device = open_device(target)
    model = open_model(args)
    inputs = choose_inputs(args, model.inputs)
    stock_library, reordered_library, report = _build_both(model, target, args)
    with named_failure(args, "run"):
        stock = Runner(stock_library, inputs, device)
        reordered = Runner(reordered_library, inputs, device)
        pairs = list(zip(stock.outputs(), reordered.outputs()))
    differences = [compare_outputs(*pair) for pair in pairs]
    equal = all(difference.equal for difference in differences)
    origin = None
    if not equal:
        with progress("looking for a NaN"):
            origin = find_nan(model, inputs, target, device, args)
    with progress("timing"):
        times = time_in_turns({"stock": stock, "reordered": reordered}, args.repeat)
    result = {
        "model": args.model,
        "target": str(target),
        **report.as_dict(),
        "outputs": [
            {"name": f"output_{index}", **asdict(difference)}
            for index, difference in enumerate(differences)
        ],
        "equal": equal,
        "nan": None if origin is None else {**asdict(origin), "explanation": str(origin)},
        "kernels": {"stock": stock.kernels, "reordered": reordered.kernels},
        "time_ms": times,
        "rounds": times.describe(),
        "ratio": summarise(times["stock"])[0] / summarise(times["reordered"])[0],
        **_circumstances(target, args),
    }
    return result, report


def _build_both(model, target, args):
    from .builds import build_ours, build_stock

    with progress("building the stock model"):
        stock = build_stock(model, target, args)
    with progress("building the exchanged model"):
        return stock, *build_ours(model, target, args, reorder_config(args))


def _circumstances(target, args) -> dict:
    import numpy
    import tvm

    from .. import __version__
    from ..relay.circumstances import read_processor

    return {
        "opt_level": args.opt_level,
        "threads": tvm.runtime.num_threads(),
        "machine": {
            "architecture": platform.machine(),
            "processor": read_processor(target),
            "cores": os.cpu_count(),
        },
        "versions": {
            "tvm_reorder": __version__,
            "tvm": tvm.__version__,
            "llvm": tvm.target.codegen.llvm_version_major(),
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
    }


def _print(result: dict, has_run: bool) -> None:
    if has_run:
        print_sites(result)
    columns = ("output", "equal", "bit-equal", "largest difference", "ulp")
    print_table("results", columns, map(_make_row, result["outputs"]))
    times = (
        _say_speed(name, result["kernels"][name], result["time_ms"][name])
        for name in ("stock", "reordered")
    )
    print_table("speed", ("", "kernels", "median ms", "spread ms"), times)
    rounds = count(len(result["time_ms"]["stock"]), "round")
    threads = count(result["threads"], "thread")
    say(
        f"whole network: stock / reordered {result['ratio']:.3f} ({rounds}, {threads}); "
        f"results {'equal' if result['equal'] else 'DIFFER'}"
    )
    if result["nan"]:
        say(result["nan"]["explanation"])


def _make_row(output: dict) -> tuple[str, ...]:
    figures = ("not finite" if (x := output[key]) is None else f"{x:g}" for key in _FIGURES)
    return output["name"], _say(output["equal"]), _say(output["bit_equal"]), *figures


def _say_speed(name: str, kernels: int, times: list[float]) -> tuple[str, ...]:
    from .measure import summarise

    median, spread = summarise(times)
    return name, str(kernels), f"{median:.3f}", f"{spread:.3f}"


_FIGURES = ("max_abs_diff", "max_ulp")


def _say(yes: bool) -> str:
    return "yes" if yes else "NO"
