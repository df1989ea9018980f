"""``--input-shapes``: what tvmc reads is read alike, and the hint names any input."""

import re
import shlex

import pytest
import tvm
from hypothesis import example, given
from hypothesis import strategies as st
from tvm.driver.tvmc.shape_parser import parse_shape_string

from tvm_reorder.cli.errors import UsageError
from tvm_reorder.cli.input_shapes import parse_shapes, show_shape
from tvm_reorder.cli.main import main
from tvm_reorder.core.printable import printable

from ..models import save_graph
from ..onnx_graphs import GRAPHS

ODD = st.text(alphabet="ab:[1], ;\"'\\/.-\n", min_size=1)
SIZES = st.lists(st.integers(1, 999), min_size=1, max_size=4)


@given(st.dictionaries(st.text(min_size=1) | ODD, SIZES, min_size=1, max_size=3))
@example({'a "b" [0]:[1]': [1, 2], "it's": [3], "\x1b[31m\x7f\u202e": [4], ":": [5]})
def test_what_is_shown_is_read(shapes):
    text = " ".join(show_shape(name, sizes) for name, sizes in shapes.items())
    assert parse_shapes(text) == shapes
    assert printable(text) == text and shlex.split(shlex.quote(text)) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "name:[1,3,224,224] other:[1,8]",
        "input:0:[1, 3, 8, 8]",
        "a/b.c:[1],d:[-1,2]",
        " x:[5] ",
        "a:[0,1]",
    ],
)
def test_tvmc_reads_it_alike(text):
    theirs = {
        name: [None if isinstance(size, tvm.tir.Any) else size for size in sizes]
        for name, sizes in parse_shape_string(text).items()
    }
    assert parse_shapes(text) == theirs


@pytest.mark.parametrize(
    "text, shapes",
    [
        ("my input:[1,3]", {"my input": [1, 3]}),  # tvmc reads the last word only
        ("x[0]:[1,3] 'it is \"y\"':[2]", {"x[0]": [1, 3], 'it is "y"': [2]}),
        (r'"a\"b\u0041":[1]', {'a"bA': [1]}),
    ],
)
def test_other_names(text, shapes):
    assert parse_shapes(text) == shapes


@pytest.mark.parametrize(
    "text", ["", "x", "x:[]", "x:[1] y", "x:1", '"x:[1]', r'"\q":[1]', "x:[a]"]
)
def test_what_is_neither_names_nor_shapes(text):
    with pytest.raises(UsageError, match="--input-shapes .* must"):
        parse_shapes(text)


@pytest.mark.parametrize(
    "name",
    ["my input", "data:0", "in/x[0]", "it's", 'say "hi"', "back\\slash", "a\nb", "\x1b[1m", "key"],
)
def test_the_hint_for_a_dynamic_input_can_be_pasted(name, fails, tmp_path, capsys):
    graph = type(GRAPHS["relu"])()
    graph.CopyFrom(GRAPHS["relu"])
    graph.input[0].name = graph.node[0].input[0] = name
    graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    path = save_graph(tmp_path / "model.onnx", graph)
    hint = re.search(r"(--input-shapes .*), say", fails("inspect", path))[1]
    assert main(["compare", str(path), *shlex.split(hint), "--repeat", "1"]) == 0
    assert capsys.readouterr().err == ""
