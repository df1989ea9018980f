"""What a ``PassContext`` says of the build that goes on in it."""

from __future__ import annotations

import tvm


def has_fast_math(context: tvm.transform.PassContext) -> bool:
    """True if TVM's FastMath pass, opt_level 4, will run in this context."""
    if "FastMath" in context.disabled_pass:
        return False
    return context.opt_level >= 4 or "FastMath" in context.required_pass


def are_apart(context: tvm.transform.PassContext) -> bool:
    """True if FuseOps will leave each operator a kernel of its own."""
    depth = (context.config or {}).get("relay.FuseOps.max_depth")
    return context.opt_level == 0 or (depth is not None and int(depth) == 1)
