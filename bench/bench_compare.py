"""Stock against exchanged on real topologies: results, kernels, time.

    python -m bench.bench_compare [--threads 2] [--repeat 20] [NAME ...]

NAME is a built-in (``vgg16``, ``vgg19``, ``custom``) or a network of the onnx package
(``light_squeezenet``); all of them by default.  Each runs through ``tvm-reorder compare``, which
times both in turns, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from .harness import light_networks, write_results

TARGET = "llvm -mcpu=skylake-avx512"
BUILT_IN = ("vgg16", "vgg19", "custom")


def compare(model: str, threads: int, repeat: int) -> dict:
    """One network through the command line; its JSON."""
    command = [sys.executable, "-m", "tvm_reorder.cli", "compare", model, "--target", TARGET]
    command += ["--threads", str(threads), "--repeat", str(repeat), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 2:
        raise SystemExit(done.stderr.strip())
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=20)
    args = parser.parse_args()
    files = light_networks()
    names = args.names or [*BUILT_IN, *files]
    rows = []
    for name in names:
        row = compare(str(files.get(name, name)), args.threads, args.repeat)
        rows.append({**row, "model": name})
        print(f"{name}: {row['ratio']:.3f}", file=sys.stderr, flush=True)
    write_results("compare", {"target": TARGET, "rows": rows}, tabulate(rows))


def tabulate(rows: list[dict]) -> list[list[str]]:
    """Ratios are stock / exchanged; the spread is that of the rounds' own ratios."""
    table = [
        ["network", "exchanged", "equal", "kernels", "stock ms", "exchanged ms", "ratio (min-max)"]
    ]
    for row in rows:
        stock, ours = row["time_ms"]["stock"], row["time_ms"]["reordered"]
        ratios = [a / b for a, b in zip(stock, ours)]
        done = sum(site["status"] == "exchanged" for site in row["sites"])
        table.append(
            [
                row["model"],
                f"{done} of {len(row['sites'])}",
                "yes" if row["equal"] else "NO",
                f"{row['kernels']['stock']} -> {row['kernels']['reordered']}",
                f"{statistics.median(stock):.2f}",
                f"{statistics.median(ours):.2f}",
                f"{row['ratio']:.3f} ({min(ratios):.3f}-{max(ratios):.3f})",
            ]
        )
    return table


if __name__ == "__main__":
    main()
