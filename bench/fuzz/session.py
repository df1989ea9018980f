"""A run of the fuzzer: progress, summary, failures shrunk and saved, a log; and replaying."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tvm_reorder.cli.errors import UsageError
from tvm_reorder.cli.lines import say, say_lines
from tvm_reorder.cli.output import Bar, check_writable
from tvm_reorder.core.files import written_beside

from ..machine import describe_machine
from .recipe import GROUP, TARGETS
from .run import fit_target
from .shrink import shrink
from .sources import Deal, open_source
from .trial import FAILURES, Outcome, examine
from .workers import examine_all

_FIELDS = {"seed", "index", "decision", "licence", "opt_level", "executor", "target", "values"}
_MOST_SHRUNK = 20  # one cause makes many failures


def run(args: Namespace, stream: TextIO) -> int:
    """Fuzz; the exit status is 1 if something failed, 130 after Ctrl-C.

    Parameters
    ----------
    args : Namespace
        As parsed.
    stream : TextIO
        For the progress.
    """
    check_writable(args.log, "--log")
    if args.failures.exists() and not args.failures.is_dir():
        raise UsageError(f"--failures {args.failures} is a file but must be a folder")
    args.machine = describe_machine()  # with the commit at which the run began
    begun, outcome, is_interrupted = time.perf_counter(), Outcome(), False
    saved: list[Path] = []
    jobs, deal = min(args.jobs, -(-args.graphs // GROUP)), open_source(args)
    with Bar(args.graphs, stream) as bar:
        try:
            for each in examine_all(_deal_groups(deal, args.seed, args.graphs), jobs):
                outcome.add(each)
                saved += [_save_failure(failure, args.failures) for failure in each.failures]
                _write_log(args, outcome, time.perf_counter() - begun, saved)
                bar.describe(_say_short(outcome))
                bar.move_to(outcome.graphs.total())
        except KeyboardInterrupt:
            is_interrupted = True  # what is done is summarised and saved all the same
    seconds = time.perf_counter() - begun
    files = _save_failures(outcome, args.failures)
    say_lines(summarise(outcome, seconds))
    for failure, file in zip(outcome.failures, files):
        say(f"{failure['verdict']}: {failure['detail']}")
        say(f"  {file}")
    _write_log(args, outcome, seconds, files)
    if is_interrupted:
        return 130
    return 1 if outcome.failures else 0


def summarise(outcome: Outcome, seconds: float) -> str:
    """What was exercised, in a few lines."""
    graphs = outcome.graphs.total()
    lines = [f"{graphs} graphs in {seconds:.0f} s, {graphs / seconds:.1f} graphs/s"]
    for verdict, count in outcome.graphs.most_common():
        lines.append(f"  {count:6} {verdict}")
    lines.append(f"{outcome.sites.total()} max pools")
    lines += [f"  {count:6} {status}" for status, count in outcome.sites.most_common()]
    checked, left = outcome.checked["checked"], outcome.checked["open"]
    lines.append(f"{checked} results held against the reference, which leaves {left} open")
    failed = sum(outcome.graphs[verdict] for verdict in FAILURES)
    lines.append(f"{failed} failures" if failed else "no difference")
    return "\n".join(lines)


def replay(path: Path) -> int:
    """Try a saved graph again; the exit status is 1 if it still fails.

    Raises
    ------
    UsageError
        If the file is not one that `run` saved.
    """
    outcome = examine([_read_recipe(path)])
    for failure in outcome.failures:
        say(f"{failure['verdict']}: {failure['detail']}")
    if not outcome.failures:
        say(f"no difference ({', '.join(outcome.graphs)})")
    return 1 if outcome.failures else 0


def _read_recipe(path: Path) -> dict:
    required = "a file that scripts.fuzz saved"
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"--replay {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--replay {path} is no JSON ({error}) but must be {required}") from error
    recipe = document.get("shrunk") if isinstance(document, dict) else None
    missing = _FIELDS - set(recipe) if isinstance(recipe, dict) else {"shrunk"}
    if not missing and not {"steps", "onnx"} & set(recipe):
        missing = {"steps"}
    if missing:
        raise UsageError(f"--replay {path} lacks {min(missing)!r} but must be {required}")
    return recipe


def _deal_groups(deal: Deal, seed: int, graphs: int) -> Iterator[list[dict]]:
    for first in range(0, graphs, GROUP):
        yield [deal(seed, k) for k in range(first, min(first + GROUP, graphs))]


def _say_short(outcome: Outcome) -> str:
    sites = outcome.sites
    return (
        f"{outcome.graphs.total()} graphs, {sites['exchanged']} exchanged, {sites['fused']} fused, "
        f"{len(outcome.failures)} failed"
    )


def _save_failures(outcome: Outcome, folder: Path) -> list[Path]:
    """A file for each failure, the first ones shrunk; in processes of their own, for a crash."""
    files = []
    for number, failure in enumerate(outcome.failures):
        recipe, verdict = failure["recipe"], failure["verdict"]
        shrunk = recipe
        if number < _MOST_SHRUNK and verdict != "ours crashes":
            shrunk = shrink(recipe, lambda each, v=verdict: examine([each]).graphs[v] > 0)
        files.append(_save_failure({**failure, "shrunk": shrunk}, folder))
    return files


def _save_failure(failure: dict, folder: Path) -> Path:
    """The file of a failure, also of one that is still to be shrunk: a killed run keeps it."""
    recipe = failure["recipe"]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"seed{recipe['seed']}_graph{recipe['index']}.json"
    _write(file, {"shrunk": recipe, **failure, "machine": describe_machine()})
    return file


def _write_log(args, outcome: Outcome, seconds: float, files: list[Path]) -> None:
    """The log, also of a run that is not at its end: a killed one keeps it."""
    if args.log is None:
        return
    document = {
        "source": args.source if args.models is None else "models",
        "seed": args.seed,
        "jobs": args.jobs,
        "seconds": round(seconds, 1),
        "graphs": dict(outcome.graphs.most_common()),
        "sites": dict(outcome.sites.most_common()),
        "reference": dict(outcome.checked),
        "invalid": dict(outcome.invalid.most_common()),
        "run as": {target: fit_target(target) for target in TARGETS},
        "drawn": dict(sorted(outcome.drawn.items())),
        "failures": [str(file) for file in files],
        "machine": args.machine,
    }
    _write(Path(args.log), document)


def _write(path: Path, document: dict) -> None:
    with written_beside(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
