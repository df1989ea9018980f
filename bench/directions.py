"""Every function that has a name: direction, certificate, least licence, and the decision on it.

    python -m bench.directions [--target TARGET] [--threads 2] [--results DIR]

The site is convolution 3x3, 3 -> 64 channels on 112x112, the function, max pool 2x2.  Nothing is
timed: the decision is the cost model's.
"""

from __future__ import annotations

import argparse

import numpy as np
import tvm
from tvm import relay

import tvm_reorder
from tvm_reorder.certify.certifier import make_key
from tvm_reorder.certify.expressions import ScalarFunction
from tvm_reorder.certify.functions import MAKERS, build_function
from tvm_reorder.certify.store import find_certificate
from tvm_reorder.cli.options import thread_count
from tvm_reorder.cli.targets import read_target
from tvm_reorder.core.certificates import Certificate
from tvm_reorder.core.report import Site, Status

from .harness import TARGET, add_results_option, run_main, use_results, use_threads, write_results

_SIZE, _CHANNELS = 112, 64


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", default=TARGET, help=f"as for tvmc (default: '{TARGET}')")
    parser.add_argument("--threads", type=thread_count, default=2, help="threads of TVM")
    add_results_option(parser)
    args = parser.parse_args()
    use_results(args.results)
    use_threads(args.threads)
    target = read_target(args.target)
    rows = [describe(name, target) for name in MAKERS]
    table = [["function", "direction", "certificate", "least licence", "decision"]]
    table += [[str(value) for value in row.values()] for row in rows]
    write_results("directions", {"target": str(target), "rows": rows}, table)
    return 0


def describe(name: str, target: tvm.target.Target) -> dict:
    """What the pass knows and does at a site with one function.

    Parameters
    ----------
    name : str
        As for ``tvm-reorder certify``.
    target : tvm.target.Target
        What would be compiled for.

    Returns
    -------
    dict
        ``function``, ``direction`` and ``certificate`` (how far it strays, or that a proof does
        without), the least ``licence`` that allows the exchange, and ``decision``.
    """
    function = build_function(name, "float32")
    level = 4 if name.startswith("fast_") else 3
    certificate = find_certificate(make_key(function, target))
    licences = ["equal"]
    if certificate is not None:
        licences.append(f"ulp:{max(1, certificate.worst_ulp)}")
    mod = make_site(function)
    for licence in [*licences, "ulp:any"]:
        site = _inspect(mod, licence, level, target)
        if site.status is not Status.REFUSED:
            break
    is_refused = site.status is Status.REFUSED
    return {
        "function": name,
        "direction": "-" if certificate is None else certificate.direction,
        "certificate": _say_knowledge(certificate, licence, is_refused),
        "licence": "refused" if is_refused else licence,
        "decision": site.refusal.reason.value if is_refused else str(site.decision),
    }


def _say_knowledge(certificate: Certificate | None, licence: str, is_refused: bool) -> str:
    if certificate is not None:
        return f"{certificate.worst_ulp} ulp"
    return "by proof" if licence == "equal" and not is_refused else "none"


def make_site(function: ScalarFunction) -> tvm.IRModule:
    """Convolution, the function, max pool; typed."""
    rng = np.random.default_rng(0)
    x = relay.var("x", shape=(1, 3, _SIZE, _SIZE))
    weight = relay.const(rng.normal(size=(_CHANNELS, 3, 3, 3)).astype("float32"))
    shape = {"kernel_size": (3, 3), "channels": _CHANNELS, "padding": (1, 1)}
    value = relay.bind(function.body, {function.variable: relay.nn.conv2d(x, weight, **shape)})
    pooled = relay.nn.max_pool2d(value, pool_size=(2, 2), strides=(2, 2))
    mod = tvm.IRModule.from_expr(relay.Function([x], pooled))
    return relay.transform.InferType()(mod)


def _inspect(mod: tvm.IRModule, licence: str, level: int, target: tvm.target.Target) -> Site:
    with tvm.transform.PassContext(opt_level=level):
        options = {"licence": licence, "write": False, "target": target}
        _, report = tvm_reorder.reorder(mod, **options)
    (site,) = report.sites
    return site


if __name__ == "__main__":
    raise SystemExit(run_main(main))
