"""The operator's strategy: one implementation, for CPUs."""

from __future__ import annotations

from tvm import relay
from tvm.target import override_native_generic_func

from .attributes import NAME, FusedAttributes
from .template import conv2d_max_pool2d_NCHWc, schedule_conv2d_max_pool2d_NCHWc


@override_native_generic_func("conv2d_max_pool2d_strategy")
def conv2d_max_pool2d_strategy(attrs, inputs, out_type, target):
    """Strategy of the fused operator; it is only made for targets that have one."""
    raise RuntimeError(f"{NAME} is for cpu targets but the target is {target}")


@conv2d_max_pool2d_strategy.register("cpu")
def conv2d_max_pool2d_strategy_cpu(attrs, inputs, out_type, target):
    """x86."""
    strategy = relay.op.OpStrategy()
    strategy.add_implementation(_compute, _schedule, name="conv2d_max_pool2d_NCHWc.x86")
    return strategy


def _compute(attrs, inputs, out_type):
    arguments = FusedAttributes.read(attrs).as_arguments()
    return [conv2d_max_pool2d_NCHWc(*inputs, *arguments)]


def _schedule(attrs, outs, target):
    with target:
        return schedule_conv2d_max_pool2d_NCHWc(outs)


def register() -> None:
    """Make the strategy known to Relay; once a process."""
    relay.op.op.register_strategy(NAME, conv2d_max_pool2d_strategy)
