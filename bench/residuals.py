"""How far the CPU model's promises are from what was measured, and the gain to demand for it.

    python -m bench.residuals [--results DIR]

Reads the rows of ``bench.sites`` with default schedules, of any machine, and asks the model anew;
times nothing.  Of each site with a convolution and each way of doing it that can be done there:

    saved(way)  = time as it is - time that way
    residual    = saved, as the model promises - saved, as measured

A positive residual is a promise not kept.  Ways of which the model promises nothing are not taken,
so they do not count.  The model has two parts, so its error has two:

kernels
    Where the moved steps cost nothing (ReLU, bias), the residual over the expected time of the
    site's kernels.
steps
    Elsewhere, what is left of the residual, over the steps' own time that was to be saved.

The pass rewrites a site only if the model promises more than the 90 % quantiles of both errors
together; see ``CpuModel.error`` in ``tvm_reorder/core/cpu_model.py``, which holds both numbers.

Where a site has no convolution, what was timed contains operators above it that the model does not
know, so nothing can be said of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from statistics import median, quantiles

import tvm

from tvm_reorder.core.cpu_model import CpuModel
from tvm_reorder.core.decision import Action
from tvm_reorder.core.workload import SiteWorkload
from tvm_reorder.relay.op.conv2d_max_pool2d import make_model

from .harness import add_results_option, read_any_document, run_main, use_results, write_results
from .sites import STEM as SITES

STEM = "residuals"
QUANTILE = 90  # percent of the promises that the demanded gain covers


@dataclass(frozen=True)
class Residual:
    """A promise of the model beside what came of it; times in ms.

    Parameters
    ----------
    site, way : str
        Where, and what was done there: ``"exchange"`` or ``"fuse"``.
    threads : int
        Threads of TVM.
    promised, measured : float
        Time saved.
    kernels : float
        Expected time of the site's kernels as they are, without the moved steps.
    steps : float
        Expected time saved of the moved steps alone.
    """

    site: str
    way: str
    threads: int
    promised: float
    measured: float
    kernels: float
    steps: float

    @property
    def shortfall(self) -> float:
        """Promised, but not saved."""
        return self.promised - self.measured


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_results_option(parser)
    args = parser.parse_args()
    use_results(args.results)
    document = read_any_document(SITES)
    residuals = list(find_residuals(document.get("rows", [])))
    errors = find_errors(residuals)
    results = {"quantile": QUANTILE, **errors, "rows": [asdict(r) for r in residuals]}
    machine = document["machine"]
    write_results(STEM, results, tabulate(residuals, errors), machine.get("peak_gflops"), machine)
    return 0


def find_residuals(rows: Iterable[dict]) -> Iterator[Residual]:
    """One for each way that is a rewrite, of each row with a convolution and default schedules."""
    for row in rows:
        workload = SiteWorkload.from_dict(row["workload"])
        if row["schedules"] != "default" or workload.convolution is None:
            continue
        model = _make_model(row["target"], row["threads"])
        kept = model.estimate(workload, Action.KEEP)
        steps = model.steps(workload, Action.KEEP)
        for way in (Action.EXCHANGE, Action.FUSE):
            promised = model.estimate(workload, way)
            if str(way) not in row["time_ms"] or promised is None:
                continue
            pairs = zip(row["time_ms"]["stock"], row["time_ms"][str(way)], strict=True)
            yield Residual(
                row["site"],
                str(way),
                row["threads"],
                kept - promised,
                median(was - now for was, now in pairs),
                kept - steps,
                steps - model.steps(workload, way),
            )


def _make_model(target: str, threads: int) -> CpuModel:
    """The model of a machine with so many threads, whatever this one has."""
    with tvm.target.Target(target):
        return replace(make_model(), threads=threads)


def find_errors(residuals: Iterable[Residual]) -> dict[str, float]:
    """The 90 % quantiles of both relative errors.

    Raises
    ------
    ValueError
        If there are not at least two residuals of either kind.
    """
    residuals = [each for each in residuals if each.promised > 0]
    kernels = _quantile([r.shortfall / r.kernels for r in residuals if not r.steps], "without")
    steps = [(r.shortfall - kernels * r.kernels) / r.steps for r in residuals if r.steps > 0]
    return {"kernels": kernels, "steps": _quantile(steps, "with")}


def _quantile(values: list[float], kind: str) -> float:
    if len(values) < 2:
        raise ValueError(
            f"{len(values)} sites {kind} expensive steps were measured and promise a gain but must "
            "be at least 2: python -m bench.sites measures them"
        )
    return max(0.0, quantiles(values, n=100, method="inclusive")[QUANTILE - 1])


def tabulate(residuals: list[Residual], errors: dict[str, float]) -> list[list[str]]:
    """What was promised, the largest shortfalls first, and the quantiles last."""
    header = ["site", "way", "threads", "promised ms", "measured ms", "shortfall, of the kernels"]
    promises = (each for each in residuals if each.promised > 0)
    ordered = sorted(promises, key=lambda r: -r.shortfall / r.kernels)
    quantile_row = [f"{QUANTILE} % quantiles", "", "", "", ""]
    quantile_row.append(f"{errors['kernels']:.2%} of the kernels, {errors['steps']:.0%} of steps")
    return [header, *map(_tabulate_row, ordered), quantile_row]


def _tabulate_row(residual: Residual) -> list[str]:
    return [
        residual.site,
        residual.way,
        str(residual.threads),
        f"{residual.promised:.3f}",
        f"{residual.measured:.3f}",
        f"{residual.shortfall / residual.kernels:+.2%}",
    ]


if __name__ == "__main__":
    raise SystemExit(run_main(main))
