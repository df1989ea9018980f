"""AutoTVM tasks that keep TVM's default channel blocks.

AutoTVM tunes each operator by itself; where two neighbours end up with different blocks, a layout
transform between them costs more than the better blocks gain.
"""

from __future__ import annotations

from tvm import autotvm

from tvm_reorder.relay.op.conv2d_max_pool2d import TASK as FUSED


def keep_default_blocks(task: autotvm.task.Task) -> autotvm.task.Task:
    """The task with its channel blocks fixed to those that TVM would choose without a log."""
    space = task.config_space
    for knob, block in zip(("tile_oc", "tile_ic"), default_blocks(task)):
        if knob in space.space_map:
            entities = space.space_map[knob].entities
            space.space_map[knob].entities = [e for e in entities if e.size[-1] == block]
    if task.name == FUSED:
        space.space_map["unroll_kw"].entities = space.space_map["unroll_kw"].entities[:1]
    space.clear_cache()
    return task


def default_blocks(task: autotvm.task.Task) -> tuple[int, int]:
    """TVM's default channels of a block, out and in, with AVX-512."""
    (_, (_, channels, *_), _), (_, (filters, *_), _) = task.args[:2]
    out_block = max(b for b in range(1, 17) if filters % b == 0)
    return out_block, max(b for b in range(1, out_block + 1) if channels % b == 0)


def is_narrowed(task: autotvm.task.Task) -> bool:
    """True if `keep_default_blocks` has left one blocking of a fused task."""
    return len(task.config_space.space_map["tile_oc"].entities) == 1
