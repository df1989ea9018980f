"""Patterns of the pass, as TVM writes patterns; no logic.

The composites here have names that people know; any other is called by its operators (ELU, SELU,
softplus, hard sigmoid, ...).  The names decide nothing, see ``composites.py``.
"""

from __future__ import annotations

from functools import lru_cache

from tvm.relay.dataflow_pattern import DFPattern, is_constant, is_op, wildcard

MAX_POOLS = (
    "nn.max_pool1d",
    "nn.max_pool2d",
    "nn.max_pool3d",
    "nn.global_max_pool2d",
    "nn.adaptive_max_pool1d",
    "nn.adaptive_max_pool2d",
    "nn.adaptive_max_pool3d",
)
MAX_REDUCTION = "max"  # a pool with one window over the axes that it reduces
AVERAGE_POOLS = (
    "nn.avg_pool1d",
    "nn.avg_pool2d",
    "nn.avg_pool3d",
    "nn.global_avg_pool2d",
    "nn.adaptive_avg_pool1d",
    "nn.adaptive_avg_pool2d",
    "nn.adaptive_avg_pool3d",
)

FENCE = "annotation.stop_fusion"  # FuseOps ends a kernel there; no code comes of it
IDENTICAL = frozenset(["copy", FENCE])  # give what they are given

# Sums of products with weights as their second argument.
PRODUCERS = frozenset(
    f"nn.{name}"
    for name in (
        *("conv1d", "conv2d", "conv3d", "dense", "batch_matmul"),
        *("conv1d_transpose", "conv2d_transpose", "conv3d_transpose", "deformable_conv2d"),
        *("contrib_conv2d_NCHWc", "contrib_depthwise_conv2d_NCHWc", "contrib_dense_pack"),
        "contrib_conv2d_winograd_without_weight_transform",
        "contrib_conv2d_gemm_without_weight_transform",
    )
)


def make_max_pool_pattern() -> DFPattern:
    """Any max pool; how many steps stand above it is open, so rules read those themselves."""
    return _any_of(*MAX_POOLS, MAX_REDUCTION)


def make_pool_pattern() -> DFPattern:
    """Any pool."""
    return _any_of(*MAX_POOLS, MAX_REDUCTION, *AVERAGE_POOLS)


def _any_of(*operators: str) -> DFPattern:
    first, *others = (is_op(name)(wildcard()) for name in operators)
    for other in others:
        first = first | other
    return first


def make_softsign_pattern() -> DFPattern:
    """x / (1 + |x|)."""
    x = wildcard()
    return is_op("divide")(x, is_op("add")(is_constant(), is_op("abs")(x)))


def make_silu_pattern() -> DFPattern:
    """x * sigmoid(x)."""
    x = wildcard()
    return is_op("multiply")(x, is_op("sigmoid")(x))


def make_hard_swish_pattern() -> DFPattern:
    """x * clip(a x + b, 0, 1), or the same with the scale outside."""
    x = wildcard()
    affine = is_op("add")(x, is_constant()) | is_op("add")(
        is_op("multiply")(x, is_constant()), is_constant()
    )
    gate = is_op("clip")(affine)
    scaled = gate | is_op("divide")(gate, is_constant()) | is_op("multiply")(gate, is_constant())
    return is_op("multiply")(x, scaled)


def make_gelu_pattern() -> DFPattern:
    """0.5 x (1 + erf(x / sqrt(2))), with the constants wherever importers put them."""
    x = wildcard()
    inner = is_op("multiply")(x, is_constant()) | is_op("divide")(x, is_constant())
    erf = is_op("erf")(inner)
    half_erf = erf | is_op("multiply")(erf, is_constant())
    gate = is_op("add")(half_erf, is_constant())
    half_x = is_op("multiply")(x, is_constant())  # tried first: a bare wildcard would match it too
    return is_op("multiply")(half_x | x, gate) | is_op("multiply")(
        is_op("multiply")(x, gate), is_constant()
    )


def make_gelu_tanh_pattern() -> DFPattern:
    """0.5 x (1 + tanh(c (x + a x^3))); what tanh takes is left open."""
    x = wildcard()
    gate = is_op("add")(is_op("tanh")(wildcard()), is_constant())
    gate = gate | is_op("add")(is_constant(), is_op("tanh")(wildcard()))
    half_x = is_op("multiply")(x, is_constant())
    return is_op("multiply")(half_x | x, gate) | is_op("multiply")(
        is_op("multiply")(x, gate), is_constant()
    )


def make_mish_pattern() -> DFPattern:
    """x * tanh(log(1 + exp(x)))."""
    x = wildcard()
    softplus = is_op("log")(is_op("add")(is_op("exp")(x), is_constant()))
    return is_op("multiply")(x, is_op("tanh")(softplus))


@lru_cache(maxsize=1)
def composite_patterns() -> tuple[tuple[str, DFPattern], ...]:
    """Name and pattern of each composite, built once."""
    return (
        ("softsign", make_softsign_pattern()),
        ("silu", make_silu_pattern()),
        ("hard_swish", make_hard_swish_pattern()),
        ("gelu", make_gelu_pattern()),
        ("gelu_tanh", make_gelu_tanh_pattern()),
        ("mish", make_mish_pattern()),
    )
