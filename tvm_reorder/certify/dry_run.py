"""A build in a process of its own, where LLVM is known to abort.

LLVM 22 has no float16 code for the inverse trigonometric functions and ends the process that asks
for it; whoever wants a certificate should get a line instead.
"""

from __future__ import annotations

import re
import subprocess
import sys

import tvm
from tvm import relay
from tvm.target import Target

from ..core.certificates import CertificateError
from .expressions import ScalarFunction

_FRAGILE = frozenset(["acos", "acosh", "asin", "asinh", "atan", "atanh"])
_PROGRAM = "from tvm_reorder.certify.dry_run import build_what_is_given; build_what_is_given()"
_LENGTH = 64


def require_compiles(function: ScalarFunction, target: Target, opt_level: int) -> None:
    """Check that building a function does not end the process.

    Raises
    ------
    CertificateError
        If it would.
    """
    is_half = "float16" in (function.dtype, *re.findall(r"dtype=(\w+)", function.text))
    if not is_half or _FRAGILE.isdisjoint(function.operators):
        return
    given = "\n".join(
        [str(opt_level), str(target), tvm.ir.save_json(function.with_length(_LENGTH))]
    )
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=given.encode(), capture_output=True
    )
    if done.returncode < 0:
        raise CertificateError(
            f"LLVM cannot compile {function.text} on {function.dtype}: it aborts"
        )


def build_what_is_given() -> None:
    """In that process: build what standard input says."""
    opt_level, target, mod = sys.stdin.read().split("\n", 2)
    with tvm.transform.PassContext(opt_level=int(opt_level)):
        relay.build(tvm.ir.load_json(mod), target)
