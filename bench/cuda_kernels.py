"""Where the activations are in the CUDA kernels, and how often they are evaluated; needs no GPU.

    python -m bench.cuda_kernels [NETWORK ...] [--arch sm_90] [--results DIR]

Each network is compiled twice for ``cuda -arch=...``, as stock TVM does it and with every pool
exchanged, with operators fused and with each one a kernel of its own.  Evaluations are counted in
the lowered kernels (``tir_evaluations.py``), and the generated CUDA source is searched for them.
Needs a TVM with CUDA code generation: ``scripts/cuda_env.sh`` sets one up.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict, dataclass

import tvm
from tvm import relay
from tvm.ir.instrument import pass_instrument

import tvm_reorder
from tvm_reorder.cli.targets import check_buildable, read_target
from tvm_reorder.core.report import Report, Status

from .harness import add_results_option, run_main, use_results, write_results
from .networks import Network, load_network
from .tir_evaluations import count_evaluations

DEFAULT = ("custom_relu", "custom_sigmoid", "custom_tanh", "vgg11_relu")
# What the code generator makes of an activation.
_SOURCE = {"relu": r"max\([^;]*, 0\.0+e\+00f\)", "sigmoid": r"__expf\(", "tanh": r"tanhf\("}
_KERNEL = re.compile(r'extern "C" __global__ void [^;{]*?(\w+)_kernel(?:_\d+)?\([^;{]*\)\s*{')
# TVM shortens the names of long functions, but a pool's operator stands first in its own.
_POOL = re.compile(r"fused_nn_max_pool2d")


@dataclass(frozen=True)
class Kernel:
    """A kernel that evaluates activations, in the order of execution.

    Parameters
    ----------
    name : str
        TVM's name of it.
    evaluations : int
        In one run of the network.
    is_in_source : bool
        True if the CUDA source of this kernel has the activation too.
    """

    name: str
    evaluations: int
    is_in_source: bool

    @property
    def pools(self) -> bool:
        """True for a pool's kernel."""
        return bool(_POOL.search(self.name))


def compile_kernels(
    network: Network, activation: str, target: tvm.target.Target, is_apart: bool, decision: str
) -> tuple[list[Kernel], Report]:
    """Compile a network and find its activations.

    Parameters
    ----------
    network : Network
        The network.
    activation : str
        A key of ``_SOURCE``.
    target : tvm.target.Target
        A CUDA target.
    is_apart : bool
        True if each operator is to be a kernel of its own.
    decision : str
        What the pass does at every pool; ``"keep"`` gives stock TVM's kernels.

    Returns
    -------
    kernels : list of Kernel
        Those with activations.
    report : Report
        What was decided at each pool.

    Raises
    ------
    ValueError
        If the pass failed: it would have left the module as it was, in silence.
    """
    functions: dict[str, tvm.tir.PrimFunc] = {}
    config = {"relay.FuseOps.max_depth": 1} if is_apart else {}
    with tvm.transform.PassContext(3, config=config, instruments=[_Lowered(functions)]):
        with tvm_reorder.enabled(decision=decision, licence="ulp:any") as report:
            library = relay.build(network.mod, target, params=network.params)
    if report.errors:
        raise ValueError(f"the pass failed: {report.errors[-1]}")
    counts = {name: count_evaluations(f, activation) for name, f in functions.items()}
    sources = read_sources(library.get_lib())
    called = [name for name in _read_calls(library.get_graph_json()) if counts.get(name)]
    is_in_source = {name: bool(re.search(_SOURCE[activation], sources[name])) for name in called}
    return [Kernel(name, counts[name], is_in_source[name]) for name in called], report


@pass_instrument
class _Lowered:
    """Keeps the kernels as they are before the host's part is split off."""

    def __init__(self, functions: dict):
        self._functions = functions

    def run_before_pass(self, mod, info):
        if info.name != "tir.SplitHostDevice":
            return
        for variable, function in mod.functions.items():
            if function.attrs["target"].kind.name == "cuda":
                self._functions[variable.name_hint] = function


def read_sources(library: tvm.runtime.Module) -> dict[str, str]:
    """The CUDA source of each kernel; of an operator with several, all of them."""
    sources: dict[str, str] = {}
    for module in library.imported_modules:
        text = module.get_source() if module.type_key == "cuda" else ""
        heads = list(_KERNEL.finditer(text))
        ends = [head.start() for head in heads[1:]] + [len(text)]
        for head, end in zip(heads, ends):
            sources[head[1]] = sources.get(head[1], "") + text[head.end() : end]
    return sources


def _read_calls(graph_json: str) -> list[str]:
    nodes = json.loads(graph_json)["nodes"]
    return [node["attrs"]["func_name"] for node in nodes if node["op"] == "tvm_op"]


def measure(network: Network, activation: str, target: tvm.target.Target, is_apart: bool) -> dict:
    """Compile a network both ways; a row of the results."""
    stock, _ = compile_kernels(network, activation, target, is_apart, "keep")
    ours, report = compile_kernels(network, activation, target, is_apart, "exchange")
    sites = [site for site in report.sites if site.status is Status.EXCHANGED]
    return {
        "fusing": "apart" if is_apart else "fused",
        "pools": len(report.sites),
        "sites": [
            {"before": site.workload.elements, "after": site.workload.pooled} for site in sites
        ],
        "stock": [asdict(kernel) | {"pools": kernel.pools} for kernel in stock],
        "ours": [asdict(kernel) | {"pools": kernel.pools} for kernel in ours],
    }


def find_faults(row: dict) -> list[str]:
    """What is not as it should be in a row; nothing if the exchange did what it promises."""
    stock, ours, sites = row["stock"], row["ours"], row["sites"]
    behind = [kernel["evaluations"] for kernel in ours if kernel["pools"]]
    expected = [site["after"] for site in sites] if row["fusing"] == "fused" else []
    saved = sum(k["evaluations"] for k in stock) - sum(k["evaluations"] for k in ours)
    promised = sum(site["before"] - site["after"] for site in sites)
    checks = {
        f"only {len(sites)} of {row['pools']} pools are exchanged": len(sites) == row["pools"],
        "stock TVM evaluates in a pool's kernel": not any(k["pools"] for k in stock),
        f"the pools' kernels evaluate {behind}, not {expected}": behind == expected,
        f"{saved} evaluations are saved, not {promised}": saved == promised,
        "an activation is not in its kernel's source": all(
            kernel["is_in_source"] for kernel in stock + ours
        ),
    }
    return [fault for fault, holds in checks.items() if not holds]


def tabulate(rows: list[dict]) -> list[list[str]]:
    """A line for each network, header first."""
    table = [["network", "operators", "pools", "evaluations stock", "ours", "in pools' kernels"]]
    for row in rows:
        total = {build: sum(k["evaluations"] for k in row[build]) for build in ("stock", "ours")}
        behind = sum(k["evaluations"] for k in row["ours"] if k["pools"])
        figures = (f"{number:,}" for number in (row["pools"], *total.values(), behind))
        table.append([row["network"], row["fusing"], *figures])
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NETWORK", help=f"default: {' '.join(DEFAULT)}")
    parser.add_argument("--arch", default="sm_90", help="CUDA architecture (default: sm_90)")
    add_results_option(parser)
    args = parser.parse_args()
    use_results(args.results)
    if not re.fullmatch(r"sm_\d{2,3}a?", args.arch):
        raise ValueError(f"--arch is {args.arch!r} but must be one such as sm_90")
    target = read_target(f"cuda -arch={args.arch}")
    check_buildable(target)
    rows = []
    for name in args.names or DEFAULT:
        activation = name.rpartition("_")[2]
        if activation not in _SOURCE:
            raise ValueError(f"network is {name!r} but must end in _{', _'.join(_SOURCE)}")
        network = load_network(name)
        for is_apart in (False, True):
            row = measure(network, activation, target, is_apart)
            rows.append({"network": name, "target": str(target), **row, "faults": find_faults(row)})
    write_results("cuda_kernels", {"rows": rows}, tabulate(rows))
    faults = [f"{row['network']}: {fault}" for row in rows for fault in row["faults"]]
    if faults:
        raise ValueError(f"the kernels are not as they must be: {'; '.join(faults)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
