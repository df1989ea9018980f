"""The target that kernels were measured on, and what TVM's FastMath puts in place.

How far a library function strays from being monotone as computed is in certificates; see
``certificates.py`` and ``certify/``.
"""

from __future__ import annotations

MEASURED_TARGET = "llvm x86-64"

# What relay.transform.FastMath puts in place (opt_level 4), `src/relay/transforms/fast_math.cc`.
FAST_MATH: dict[str, str] = {"exp": "fast_exp", "tanh": "fast_tanh", "erf": "fast_erf"}
