"""Operators that LLVM contracts, or looks through when it does.

Identity
    fma(a, b, c) rounds a * b + c once, a product and a sum of their own round twice.

Side condition
    A name here says what an operator may become; ``relay/products.py`` looks at its operands, too.
"""

from __future__ import annotations

# TVM writes a division by a number as a product, and LLVM squares for a power of 2.
PRODUCTS = frozenset(["multiply", "divide", "power"])
ADDITIONS = frozenset(["add", "subtract", "nn.bias_add"])
TRANSPARENT = frozenset(["negative", "copy", "cast"])  # dropped, or made a sign
