"""``tvm-reorder bisect``: where results differ, the sites that make them differ.

Search
    Let S be the touched sites and F those found so far.  As long as S without F differs from
    stock, the shortest prefix of it (in order of execution) that differs ends in one more culprit;
    halving finds that prefix.  In the end each found site is put back once: one that makes no
    difference beside the others is dropped.  n sites with c culprits take about c log2(n) builds.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from .errors import UsageError
from .lines import say
from .options import add_command, reorder_config, seed
from .output import check_outputs, note_idle_pass, progress, say_setup, write_json


def add_parser(subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "bisect",
        run,
        "Compare a model built with and without the pass and, where results differ, find the "
        "smallest set of sites that makes them differ.",
        """
        tvm-reorder bisect model.onnx
        tvm-reorder bisect model.onnx --target "llvm -mcpu=skylake-avx512" --decision exchange
        tvm-reorder bisect model.onnx --inputs inputs.npz --json -
        """,
    )
    parser.add_argument(
        "--inputs", metavar="FILE.npz", help="the inputs, by name (default: random, see --seed)"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="S", help="seed of the random inputs (default: 0)"
    )


def run(args) -> int:
    """Bisect; the exit status is 1 if results differ."""
    from .models import open_model
    from .targets import choose_target, open_device

    check_outputs(args)
    target = choose_target(args, must_run_here=True)
    device = open_device(target)
    model = open_model(args)
    trial = _Trial(model, target, device, args)
    result = _bisect(trial, reorder_config(args), args)
    note_idle_pass(trial.report, args.opt_level)
    write_json(result, args.json)
    if args.json != "-":
        say_setup(args.target)
        _print(result)
    return 0 if result["equal"] else 1


def find_culprits(sites: Sequence[str], differs: Callable[[Sequence[str]], bool]) -> list[str]:
    """A smallest set of sites without which nothing differs.

    Parameters
    ----------
    sites : sequence of str
        In order of execution; touching all of them makes a difference.
    differs : callable
        Whether touching just these sites makes one.
    """
    found: list[str] = []
    while differs(rest := [site for site in sites if site not in found]):
        low, high = 0, len(rest)  # the first `low` sites are innocent, the first `high` are not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if differs(rest[:middle]) else (middle, high)
        found.append(rest[high - 1])
    for site in list(found):
        others = [each for each in found if each != site]
        if others and not differs([each for each in sites if each not in others]):
            found = others
    return sorted(found, key=list(sites).index)


class _Trial:
    """Builds the model with some of its sites touched and compares it with stock."""

    def __init__(self, model, target, device, args):
        from .builds import build_stock
        from .inputs import choose_inputs

        self.report = None
        self.builds = 0
        self._model, self._target, self._device, self._args = model, target, device, args
        self._inputs = choose_inputs(args, model.inputs)
        with progress("building the stock model"):
            self._stock = self._run(build_stock(model, target, args))

    def differences(self, config):
        """How each output differs from stock; `report` says what was done."""
        from .builds import build_ours
        from .measure import compare_outputs

        with progress(f"build {self.builds}"):
            library, self.report = build_ours(self._model, self._target, self._args, config)
            return [compare_outputs(*pair) for pair in zip(self._stock, self._run(library))]

    def find_nan(self):
        """Where a NaN arises in the stock build; None if none does."""
        from .nan_origin import find_nan

        with progress("looking for a NaN"):
            return find_nan(self._model, self._inputs, self._target, self._device, self._args)

    def _run(self, library):
        from .builds import named_failure
        from .measure import Runner

        self.builds += 1
        with named_failure(self._args, "run"):
            return Runner(library, self._inputs, self._device).outputs()


def _bisect(trial: _Trial, config, args) -> dict:
    whole = trial.differences(config)
    report = trial.report
    equal = all(difference.equal for difference in whole)
    touched = [site.name for site in report.exchanged]
    culprits = []
    if not equal and not touched:
        raise UsageError("results differ though no site was touched: stock does not repeat itself")

    def differs(sites: Sequence[str]) -> bool:
        if not sites:
            return False
        skip = (*config.skip, *(name for name in touched if name not in sites))
        return not all(d.equal for d in trial.differences(replace(config, skip=skip)))

    if not equal:
        culprits = find_culprits(touched, differs)
    origin = None if equal else trial.find_nan()
    mended = origin is not None and origin.licence is not None
    if mended:
        licence = replace(config, licence=origin.licence)
        mended = all(difference.equal for difference in trial.differences(licence))
    return {
        "model": args.model,
        "target": args.target,
        "equal": equal,
        "touched": len(touched),
        "builds": trial.builds,
        "outputs": [asdict(difference) for difference in whole],
        "culprits": [site.as_dict() for site in report.sites if site.name in culprits],
        "nan": None if origin is None else {**asdict(origin), "explanation": str(origin)},
        "avoid": _say_command(culprits, args.licence, args) if culprits else None,
        "avoid_by_licence": _say_command([], origin.licence, args) if mended else None,
    }


def _say_command(skipped: list[str], licence: str, args) -> str:
    """The command line that leaves sites alone, or takes another licence."""
    given = [args.model, "--target", args.target, "-O", str(args.opt_level)]
    given += ["--licence", licence, "--decision", args.decision, "--certify", args.certify]
    given += [] if args.threads is None else ["--threads", str(args.threads)]
    for option in ("records", "input_shapes", "model_format"):
        value = getattr(args, option)
        given += [] if value is None else [f"--{option.replace('_', '-')}", value]
    for name in args.only:
        given += ["--only", name]
    for name in (*args.skip, *skipped):
        given += ["--skip", name]
    return f"tvm-reorder compile {shlex.join(given)} -o OUT.tar"


def _print(result: dict) -> None:
    if result["equal"]:
        noun = "site" if result["touched"] == 1 else "sites"
        say(f"all outputs equal; {result['touched']} {noun} touched")
        return
    for index, output in enumerate(result["outputs"]):
        if not output["equal"]:
            figures = [output["max_abs_diff"], output["max_ulp"]]
            largest, ulp = ("not finite" if f is None else f"{f:g}" for f in figures)
            say(f"output_{index} differs: largest difference {largest}, ulp {ulp}")
    if result["nan"]:
        say(result["nan"]["explanation"])
    count, builds = len(result["culprits"]), result["builds"]
    say(f"{count} of {result['touched']} touched sites responsible, {builds} builds:")
    for site in result["culprits"]:
        chain = " > ".join(site["chain"]) or "-"
        say(f"  {site['name']}: {site['status']}, {chain}, {site['window']}")
        say(f"    rule {site['rule'] or '-'}; {site['explanation']}")
    say("to leave them as they are:")
    say(f"  {result['avoid']}")
    if result["avoid_by_licence"]:
        say("or to have equal results where a NaN arises:")
        say(f"  {result['avoid_by_licence']}")
