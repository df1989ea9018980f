"""How far the CPU model's promises are from what was measured, and the gain to demand for it.

    python -m bench.residuals [--results DIR]

Reads the rows of ``bench.sites`` with default schedules; times nothing.  Of each site and each way
of doing it that can be done there:

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
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from statistics import median, quantiles

from .harness import add_results_option, read_rows, run_main, use_results, write_results
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
    residuals = list(find_residuals(read_rows(SITES)))
    errors = find_errors(residuals)
    results = {"quantile": QUANTILE, **errors, "rows": [asdict(r) for r in residuals]}
    write_results(STEM, results, tabulate(residuals, errors))
    return 0


def find_residuals(rows: Iterable[dict]) -> Iterator[Residual]:
    """One for each way that is a rewrite, of each row that says what the model expects."""
    for row in rows:
        expected, steps = row.get("expected_ms"), row.get("expected_steps_ms")
        if row["schedules"] != "default" or not expected:
            continue
        times = row["time_ms"]
        for way in ("exchange", "fuse"):
            if way not in times or expected.get(way) is None:
                continue
            saved = [was - now for was, now in zip(times["stock"], times[way], strict=True)]
            yield Residual(
                row["site"],
                way,
                row["threads"],
                expected["keep"] - expected[way],
                median(saved),
                expected["keep"] - steps["keep"],
                steps["keep"] - steps[way],
            )


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
        raise ValueError(f"{len(values)} sites {kind} expensive steps were measured: at least 2")
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
