"""How TVM was built, asked once."""

from __future__ import annotations

from functools import cache

from tvm.relay.backend import te_compiler


def remember_build_flags() -> None:
    """Make TVM remember its build flags in this process.

    ``te_compiler.get_shape`` reads all of them for every extent's dtype, which takes a fifth of a
    small build's time, and more than half where operators are many.
    """
    te_compiler.libinfo = cache(te_compiler.libinfo)
