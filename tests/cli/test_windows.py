"""A window that does not fit its input: said in one line by every command."""

from itertools import product

import pytest
from tvm import relay

from tvm_reorder.cli.windows import _fits

from ..models import save_graph
from ..onnx_graphs import CONV, SAME, make_graph
from ..relay.networks import conv2d, image, max_pool, module

WIDE = {"kernel_shape": [2, 9], "strides": [2, 2]}
COMMANDS = {
    "inspect": [],
    "compile": ["-o", "m.tar"],
    "compare": [],
    "bisect": [],
    "tune-sites": ["-o", "sites.jsonl"],
    "certify": ["--model"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pool_wider_than_its_input(command, fails, tmp_path, monkeypatch):
    nodes = [CONV, ("Relu", "c", "a"), ("MaxPool", "a", "y", {**WIDE, "name": "wide[2]"})]
    path = save_graph(tmp_path / "model.onnx", make_graph(*nodes))
    monkeypatch.chdir(tmp_path)
    model = [*COMMANDS[command], path] if command == "certify" else [path, *COMMANDS[command]]
    said = fails(command, *model).partition(": error: ")[2]
    assert said == (
        f"model {str(path)!r}: nn.max_pool2d 'wide[2]' has the window 2x9 on an input of 1x4x8x8 "
        "but must have one that fits into it"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    "nodes, said",
    [
        (
            [CONV, ("AveragePool", "c", "y", {**WIDE, "pads": [0, 0, 0, 0]})],
            "nn.avg_pool2d 'y' has the window 2x9",
        ),
        (
            [("Conv", "x k", "y", {**SAME, "name": "stem"})],
            "nn.conv2d 'stem' has the window 11x3 on an input of 1x3x8x8 padded by [1, 1, 1, 1]",
        ),
    ],
)
def test_other_windows(nodes, said, fails, tmp_path):
    import numpy as np

    graph = make_graph(*nodes, k=np.ones((4, 3, 11, 3), "float32"))
    assert said in fails("inspect", save_graph(tmp_path / "model.onnx", graph))


def count_windows(size, kernel, stride, dilation, padding, is_rounded_up) -> int:
    """Windows of one axis, one by one: all of it must lie on the padded input."""
    covered = (kernel - 1) * dilation + 1
    room = size + 2 * padding + (stride - 1 if is_rounded_up else 0)
    return sum(start + covered <= room for start in range(0, room, stride))


def test_every_small_window():
    cases = product(range(1, 6), range(1, 6), range(1, 4), range(1, 4), range(3), (False, True))
    for size, kernel, stride, dilation, padding, is_rounded_up in cases:
        pool = relay.nn.max_pool1d(
            relay.var("x", shape=(1, 2, size)),
            pool_size=(kernel,),
            strides=(stride,),
            dilation=(dilation,),
            padding=(padding, padding),
            ceil_mode=is_rounded_up,
        )
        expected = count_windows(size, kernel, stride, dilation, padding, is_rounded_up) > 0
        assert _fits(module(pool)["main"].body) == expected, pool


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_layouts_and_ceil_mode(layout):
    data = conv2d(image(layout=layout), layout=layout)
    fits = lambda *size, **options: _fits(
        module(relay.nn.max_pool2d(data, size, strides=(2, 2), layout=layout, **options))[
            "main"
        ].body
    )
    assert fits(8, 8) and fits(8, 1) and not fits(9, 1) and not fits(1, 9)
    assert fits(9, 9, ceil_mode=True) and not fits(10, 1, ceil_mode=True)
    assert fits(1, 9, padding=(0, 1)) and not fits(9, 1, padding=(0, 1))
    assert _fits(module(max_pool(data, layout=layout))["main"].body)
