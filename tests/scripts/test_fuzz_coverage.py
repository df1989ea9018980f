"""What the pass reads is drawn: every operator that its code names, attributes by their classes."""

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_reorder
from bench.fuzz.facets import ATTRIBUTES, describe
from bench.fuzz.graph import VALUES, make_graph, make_module
from bench.fuzz.recipe import (
    CERTIFY,
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
from tvm_reorder.relay import kernels
from tvm_reorder.relay.activations import ACTIVATIONS
from tvm_reorder.relay.moves import MOVES, is_flat_prelu
from tvm_reorder.relay.patterns import AVERAGE_POOLS, MAX_POOLS, PRODUCERS, composite_patterns
from tvm_reorder.relay.quantised import read_signed_rounding
from tvm_reorder.relay.two_arguments import TWO_ARGUMENTS

PACKAGE = Path(tvm_reorder.__file__).parent
READERS = (PACKAGE / "core", PACKAGE / "relay")
MOST = 6000  # graphs drawn, none of them built
# Tables that may not be missed, whatever the code looks like.
TABLES = (ACTIVATIONS, MOVES, MAX_POOLS, AVERAGE_POOLS, PRODUCERS, TWO_ARGUMENTS)
# Words that are no operators where they stand: a licence's, and the fused operator's own name.
OTHER_WORDS = frozenset(["any", "contrib.conv2d_max_pool2d"])
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


def parse_readers() -> Iterator[tuple[str, ast.AST]]:
    """The sources of the package that read graphs, but for the fused operator's own."""
    for path in (path for folder in READERS for path in sorted(folder.rglob("*.py"))):
        if "op" not in path.relative_to(PACKAGE).parts:
            yield path.stem, ast.parse(path.read_text())


@lru_cache
def read_operators() -> dict[str, set[str]]:
    """The operators that each source names, by their names in TVM's registry."""
    found = {stem: set(find_operators(tree)) for stem, tree in parse_readers()}
    return {stem: names - OTHER_WORDS for stem, names in found.items() if names - OTHER_WORDS}


KNOWN = frozenset(tvm.ir.Op.list_op_names())


def find_operators(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from KNOWN.intersection([node.value, f"nn.{node.value}"])


def read_attributes() -> set[str]:
    """Names of the attributes that the package reads of calls: x.attrs.NAME, attrs.NAME."""
    names = {name for _, tree in parse_readers() for name in find_attributes(tree)}
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
        if call.op.name in kernels._INLINING_PRODUCERS:
            layout = str(call.attrs.data_layout)
            yield name_producer(call.op.name, layout, kernels._name_kind(call))
        yield from (name for name, pattern in composite_patterns() if pattern.match(call))
        if is_flat_prelu(call):
            yield "flat prelu"
        if read_signed_rounding(call) is not None:
            yield "signed rounding"


def name_producer(name: str, layout: str, kind: str) -> str:
    return f"a {kind} {name} in {layout}"


def known_producers() -> Iterable[str]:
    """Those of which the pass knows how their kernels round, and some of which it does not."""
    for name, kinds in kernels._INLINING_PRODUCERS.items():
        yield from (name_producer(name, *each) for each in kinds)
    yield from (
        name_producer("nn.conv2d", *each)
        for each in (("NHWC", "depthwise"), ("NCHW", "dilated depthwise"), ("NHWC", "grouped"))
    )


def words() -> set[str]:
    """What has to occur of how graphs are built and of what the steps say."""
    tables = {"decision": DECISIONS, "licence": LICENCES, "opt_level": OPT_LEVELS}
    tables |= {"executor": EXECUTORS, "target": TARGETS, "layout": LAYOUTS, "dtype": DTYPES}
    tables |= {"certify": CERTIFY}
    tables |= {
        "values": VALUES,
        "batch": (1, 2, 3),
        "fork join": (*ARITHMETIC, "concatenate", "stack"),
    }
    tables |= {"nn.pad value": PAD_VALUES, "cast dtype": ATTRIBUTES["dtype"].classes}
    for name in ("add", "multiply", "maximum"):
        tables[f"{name} constant shape"] = SHAPES
        tables[f"{name} constant as"] = set(FORMS) - {"constant"}
    return {f"{name}={value}" for name, table in tables.items() for value in table}


FORMS_OF_SEVERAL = {name for name, _ in composite_patterns()} | {
    "flat prelu",
    "signed rounding",
    *known_producers(),
}


def wanted() -> set[str]:
    found = set().union(*read_operators().values(), *TABLES) - UNBUILDABLE | words()
    found |= FORMS_OF_SEVERAL | {f"kind {name}" for name in KINDS}
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
        if not left.isdisjoint(FORMS_OF_SEVERAL):
            left -= set(name_forms(graph))
        if not left:
            break
    return left


def name_kinds(steps) -> Iterator[str]:
    for name, parameters in steps:
        yield name
        for branch in parameters.get("branches", [parameters.get("steps", [])]):
            yield from name_kinds(branch)


@pytest.mark.parametrize("source", read_operators())
def test_every_operator_that_is_named_is_drawn(source, missing):
    assert not missing.intersection(read_operators()[source])


def test_the_tables_are_among_what_is_named():
    named = set().union(*read_operators().values())
    assert named.issuperset(set().union(*TABLES))


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


def test_a_new_operator_is_noticed():
    tree = ast.parse("NEW = ['nn.lrn', 'cumsum']\nOLDER = 'instance_norm', 'no_operator'")
    assert set(find_operators(tree)) == {"nn.lrn", "cumsum", "nn.instance_norm"}


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
