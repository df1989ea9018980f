"""What the pass reads is drawn: operators by the code's own tables, attributes by their classes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder.relay
from bench.fuzz.facets import ATTRIBUTES, describe
from bench.fuzz.graph import VALUES, make_graph, make_module
from bench.fuzz.recipe import (
    DECISIONS,
    DTYPES,
    EXECUTORS,
    LAYOUTS,
    LICENCES,
    OPT_LEVELS,
    TARGETS,
    draw_recipe,
)
from bench.fuzz.recipe import VALUES as DRAWN_VALUES
from bench.fuzz.steps import ARITHMETIC, KINDS
from bench.fuzz.steps.constants import FORMS, SHAPES
from bench.fuzz.steps.pooling import PAD_VALUES
from tvm_reorder.relay import composites, integer_bounds, operators, zeros
from tvm_reorder.relay.activations import ACTIVATIONS
from tvm_reorder.relay.flat_prelu import is_flat_prelu
from tvm_reorder.relay.moves import MOVES
from tvm_reorder.relay.patterns import (
    AVERAGE_POOLS,
    MAX_POOLS,
    MAX_REDUCTION,
    PRODUCERS,
    composite_patterns,
)
from tvm_reorder.relay.quantised import read_signed_rounding
from tvm_reorder.relay.two_arguments import TWO_ARGUMENTS

PACKAGE = Path(tvm_reorder.relay.__file__).parent
MOST = 4000  # graphs drawn, none of them built
TABLES = {
    "activations.ACTIVATIONS": ACTIVATIONS,
    "operators._PARAMETERISED": operators._PARAMETERISED,
    "two_arguments.TWO_ARGUMENTS": TWO_ARGUMENTS,
    "moves.MOVES": MOVES,
    "patterns.MAX_POOLS": (*MAX_POOLS, MAX_REDUCTION),
    "patterns.AVERAGE_POOLS": AVERAGE_POOLS,
    "patterns.PRODUCERS": PRODUCERS,
    "composites._JOINS": composites._JOINS,
    "zeros._READERS": zeros._READERS,
    "zeros._FORGETFUL": zeros._FORGETFUL,
    "integer_bounds._DERIVED": integer_bounds._DERIVED,
}
# What stock TVM cannot build here, so that there is nothing to compare with.
UNBUILDABLE = frozenset(
    [
        "nn.contrib_conv2d_gemm_without_weight_transform",
        "nn.contrib_conv2d_winograd_without_weight_transform",
        "nn.deformable_conv2d",
    ]
)
# Attributes that are not an operator's own but a target's, a function's or the fused operator's.
OF_OTHERS = frozenset(["get", "items", "keys"])


def read_attributes() -> set[str]:
    """Names of the attributes that the package reads of calls: x.attrs.NAME, attrs.NAME."""
    names: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "op":  # the fused operator's own
            names.update(find_attributes(ast.parse(path.read_text())))
    return names - OF_OTHERS


def find_attributes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_attrs(node.value):
            yield node.attr
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
            value, name = node.args[:2]
            if is_attrs(value) and isinstance(name, ast.Constant):
                yield name.value


def is_attrs(node: ast.AST) -> bool:
    return getattr(node, "attr", getattr(node, "id", "")) == "attrs"


def name_forms(graph) -> Iterator[str]:
    """Forms that the pass knows of several operators together."""
    calls: list[relay.Call] = []
    relay.analysis.post_order_visit(
        make_module([graph])["main"].body,
        lambda e: calls.append(e) if isinstance(e, relay.Call) else None,
    )
    for call in calls:
        yield from (name for name, pattern in composite_patterns() if pattern.match(call))
        if is_flat_prelu(call):
            yield "flat prelu"
        if read_signed_rounding(call) is not None:
            yield "signed rounding"


def words() -> set[str]:
    """What has to occur of how graphs are built and of what the steps say."""
    tables = {"decision": DECISIONS, "licence": LICENCES, "opt_level": OPT_LEVELS}
    tables |= {"executor": EXECUTORS, "target": TARGETS, "layout": LAYOUTS, "dtype": DTYPES}
    tables |= {"values": VALUES, "batch": (1, 2, 3), "fork join": (*ARITHMETIC, "concatenate")}
    tables |= {"nn.pad value": PAD_VALUES, "cast dtype": ATTRIBUTES["dtype"].classes}
    for name in ("add", "multiply", "maximum"):
        tables[f"{name} constant shape"] = SHAPES
        tables[f"{name} constant as"] = set(FORMS) - {"constant"}
    return {f"{name}={value}" for name, table in tables.items() for value in table}


def wanted() -> set[str]:
    found = {name for table in TABLES.values() for name in table} - UNBUILDABLE | words()
    found |= {name for name, _ in composite_patterns()} | {"flat prelu", "signed rounding"}
    found |= {f"kind {name}" for name in KINDS}
    return found | {f"{a}: {c}" for a, each in ATTRIBUTES.items() for c in each.classes}


@pytest.fixture(scope="module")
def missing() -> set[str]:
    """What is wanted and occurs in none of the graphs."""
    left = wanted()
    for index in range(MOST):
        recipe = draw_recipe(71, index)
        try:
            graph = make_graph(recipe)
        except Exception:  # as in a run: such a graph counts as invalid
            continue
        found = describe(recipe, graph)
        classes = (each.partition(" ")[2].partition("=") for each in found if "=" in each)
        left -= found | {f"{name}: {each}" for name, _, each in classes}
        left -= {f"kind {name}" for name in name_kinds(recipe["steps"])}
        if not left.isdisjoint(["flat prelu", "signed rounding", *dict(composite_patterns())]):
            left -= set(name_forms(graph))
        if not left:
            break
    return left


def name_kinds(steps) -> Iterator[str]:
    for name, parameters in steps:
        yield name
        for branch in parameters.get("branches", [parameters.get("steps", [])]):
            yield from name_kinds(branch)


@pytest.mark.parametrize("table", TABLES)
def test_every_operator_of_a_table_is_drawn(table, missing):
    assert not missing.intersection(TABLES[table])


def test_every_attribute_that_is_read_is_known():
    """A new one is added to `facets.ATTRIBUTES`, with its classes, and to what draws it."""
    assert read_attributes() <= set(ATTRIBUTES)
    assert {"pad_width", "ceil_mode", "is_lshift_required"} <= read_attributes()


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_class_of_an_attribute_is_drawn(name, missing):
    assert not [each for each in missing if each.startswith(f"{name}: ")]


def test_everything_else_is_drawn(missing):
    assert not missing
    assert set(VALUES) == set(DRAWN_VALUES)


def test_a_reader_of_a_new_attribute_is_noticed():
    tree = ast.parse("def read(call):\n    return call.attrs.new, getattr(call.attrs, 'newer')")
    assert set(find_attributes(tree)) == {"new", "newer"}


def make_unbuildable() -> dict[str, relay.Expr]:
    x = relay.var("x", shape=(1, 4, 6, 6))
    constant = lambda *shape: relay.const(np.ones(shape, "float32"))  # noqa: E731
    kernel = {"kernel_size": (3, 3), "channels": 4, "padding": (1, 1)}
    winograd = relay.nn.contrib_conv2d_winograd_without_weight_transform
    gemm = relay.nn.contrib_conv2d_gemm_without_weight_transform
    return {
        "nn.deformable_conv2d": relay.nn.deformable_conv2d(
            x, relay.var("o", shape=(1, 18, 6, 6)), constant(4, 4, 3, 3), **kernel
        ),
        winograd.__name__: winograd(x, constant(6, 6, 4, 4), 4, **kernel),
        gemm.__name__: gemm(
            relay.transpose(x, (0, 2, 3, 1)),
            constant(1, 4, 4, 4),
            kernel_size=(1, 1),
            channels=4,
            data_layout="NHWC",
            kernel_layout="HWIO",
        ),
    }


def test_what_is_left_out_cannot_be_built():
    """Once a TVM builds one of these, it has to be drawn."""
    made = {f"nn.{name.removeprefix('nn.')}": expr for name, expr in make_unbuildable().items()}
    assert set(made) == UNBUILDABLE
    for expr in made.values():
        mod = tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(expr), expr))
        for target in TARGETS:
            with pytest.raises(Exception, match="verification failed|Unsupported|No generic"):
                relay.build(mod, target)
