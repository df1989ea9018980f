"""Library functions as computed: what full sweeps found.

A library function is monotone on paper; as computed it need not be.  Every float32 from -inf to
+inf (4 278 190 081 values) was put in order through the kernel that TVM 0.19 with LLVM 22 makes for
``llvm -mcpu=skylake-avx512``.  `WORST_DROP` is the running maximum minus the value, in ulp; 0
means that the computed function never falls.  float16 is evaluated in float32 and rounded, which
is monotone, so it inherits 0.  Nothing is claimed for other architectures or dtypes.

``bench/bench_monotone_sweep.py`` repeats the sweeps.
"""

from __future__ import annotations

MEASURED_TARGET = "llvm x86-64"

# ulp, float32, MEASURED_TARGET
WORST_DROP: dict[str, int] = {
    "exp": 0,
    "log": 0,
    "log2": 0,
    "log10": 0,
    "sqrt": 0,
    "erf": 0,
    "atan": 0,
    "asinh": 0,
    "sinh": 0,
    "tanh": 0,
    "sigmoid": 0,
    "fast_exp": 0,
    "fast_tanh": 8,
    "fast_erf": 10,
    "softsign": 2,
}

# What relay.transform.FastMath puts in place (opt_level 4), `src/relay/transforms/fast_math.cc`.
FAST_MATH: dict[str, str] = {"exp": "fast_exp", "tanh": "fast_tanh", "erf": "fast_erf"}


def worst_drop(function: str, dtype: str, target: str) -> int | None:
    """Worst drop in ulp of a library function as computed, or None where nobody measured.

    Parameters
    ----------
    function : str
        The function as compiled, ``fast_tanh`` rather than ``tanh`` under FastMath.
    dtype : str
        The dtype it is evaluated on.
    target : str
        TVM's target kind and the architecture, such as ``"llvm x86-64"``.
    """
    if target != MEASURED_TARGET or dtype not in ("float32", "float16"):
        return None
    drop = WORST_DROP.get(function)
    return drop if drop == 0 or dtype == "float32" else None
