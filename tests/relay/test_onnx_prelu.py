"""PRelu as the ONNX importer writes it: with slopes of every shape, for every batch and rank."""

import numpy as np
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relay

import tvm_reorder
from tvm_reorder import Reason, Status

from .networks import assert_same_results

CHANNELS, SIZE = 4, 4
RNG = np.random.default_rng(31)


class Model:
    """Networks side by side, each of them a convolution, a PRelu and a pool."""

    def __init__(self):
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []

    def constant(self, name: str, values) -> str:
        values = np.asarray(values)
        values = values.astype("float32") if values.dtype.kind == "f" else values
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def add(self, batch: int, rank: int, slope) -> None:
        """One network; `slope` makes the slopes' name from the model and a prefix."""
        prefix, spatial = f"n{len(self.inputs)}", [SIZE] * (rank - 2)
        shape = [batch, 2, *spatial]
        self.inputs.append(helper.make_tensor_value_info(f"{prefix}_x", TensorProto.FLOAT, shape))
        weight = RNG.normal(size=(CHANNELS, 2, *[1] * (rank - 2)))
        last = self.node("Conv", [f"{prefix}_x", self.constant(f"{prefix}_w", weight)], prefix)
        last = self.node("PRelu", [last, slope(self, prefix)], f"{prefix}_prelu")
        extent = 4 if rank == 3 else 2  # of 2 values alone both ends are worth nothing
        window = {"kernel_shape": [extent] * (rank - 2), "strides": [extent] * (rank - 2)}
        last = self.node("MaxPool", [last], f"{prefix}_pool", **window)
        shape = [batch, CHANNELS, *[SIZE // extent] * (rank - 2)]
        self.outputs.append(helper.make_tensor_value_info(last, TensorProto.FLOAT, shape))

    def open(self, **options):
        graph = helper.make_graph(
            self.nodes, "prelus", self.inputs, self.outputs, self.initializers
        )
        opset = [helper.make_opsetid("", 16)]
        return relay.frontend.from_onnx(
            helper.make_model(graph, opset_imports=opset, ir_version=8), **options
        )

    def draw(self) -> dict[str, np.ndarray]:
        shapes = {
            value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in self.inputs
        }
        return {k: RNG.normal(size=shape).astype("float32") for k, shape in shapes.items()}


def line(lowest=0.0):
    return RNG.uniform(lowest, 1, CHANNELS)


def channels(rank, lowest=0.0):
    """[C, 1, 1] for rank 4."""
    return line(lowest).reshape(CHANNELS, *[1] * (rank - 2))


def initializer(values):
    return lambda model, prefix: model.constant(f"{prefix}_slope", values)


def node(values):
    """The same by an operator."""

    def make(model, prefix):
        value = numpy_helper.from_array(np.asarray(values, "float32"), prefix)
        return model.node("Constant", [], f"{prefix}_slope", value=value)

    return make


def computed(values):
    """By operators on constants, which somebody has to fold."""

    def make(model, prefix):
        flat = model.constant(f"{prefix}_flat", np.ravel(values) / 2)
        shape = model.constant(f"{prefix}_shape", np.asarray(np.shape(values), "int64"))
        shaped = model.node("Reshape", [flat, shape], f"{prefix}_shaped")
        return model.node("Add", [shaped, shaped], f"{prefix}_slope")

    return make


def draw_slopes(batch, rank):
    """Every form the importer takes that does not vary inside a window."""
    spatial = [SIZE] * (rank - 2)
    yield channels(rank)
    yield channels(rank, -1)
    yield channels(rank)[None]
    yield np.asarray([0.25])
    yield np.asarray(-0.5)
    yield np.full(SIZE, 0.75)  # along the last axis, and the same all along it
    yield np.broadcast_to(channels(rank), (batch, CHANNELS, *spatial))
    yield RNG.uniform(-1, 1, (batch, CHANNELS, *[1] * (rank - 2)))
    yield np.broadcast_to(RNG.uniform(size=(batch, *[1] * (rank - 1))), (batch, 1, *spatial))


SOURCES = (initializer, node, computed)


def make_model(batch, rank, forms=slice(None)) -> Model:
    model = Model()
    for number, slopes in enumerate(list(draw_slopes(batch, rank))[forms]):
        model.add(batch, rank, SOURCES[number % 3](slopes))
    return model


def assert_all_exchanged(report):
    for site in report.sites:
        assert site.status is Status.EXCHANGED, site.explanation
        assert "nn.prelu" in site.chain


@pytest.mark.parametrize("batch, rank", [(1, 3), (4, 3), (1, 4), (2, 4), (3, 4), (4, 4), (2, 5)])
@pytest.mark.parametrize("is_frozen", [True, False])
def test_every_form_is_read(batch, rank, is_frozen):
    mod, params = make_model(batch, rank).open(freeze_params=is_frozen)
    changed, report = tvm_reorder.reorder(mod, params, decision="exchange")
    assert_all_exchanged(report)
    again, report = tvm_reorder.reorder(changed, decision="exchange")
    assert not report.exchanged
    tvm.ir.assert_structural_equal(changed, again)


FIRST, LAST = slice(0, 2), slice(-3, None)


@pytest.mark.parametrize(
    "batch, rank, forms, opt_level",
    [(2, 4, slice(None), 3), (3, 3, LAST, 3), (2, 5, LAST, 3)]
    + [(2, 4, FIRST, level) for level in (0, 1, 2, 4)],
)
def test_results_are_equal(batch, rank, forms, opt_level):
    model = make_model(batch, rank, forms)
    mod, params = model.open(freeze_params=False)
    config = tvm_reorder.ReorderConfig(opt_level=0, decision="exchange")
    options = {"params": params, "opt_level": opt_level, "config": config}
    assert_all_exchanged(assert_same_results(mod, model.draw(), **options))


@pytest.mark.parametrize("batch", [1, 3])
def test_fused(batch):
    model = Model()
    model.add(batch, 4, initializer(channels(4)))
    mod, params = model.open()
    (site,) = assert_same_results(mod, model.draw(), params=params, decision="fuse").sites
    assert site.status is Status.FUSED and "nn.prelu" in site.chain


def test_one_slope_for_two():
    """The importer's helpers are folded into one, which both use."""
    model = Model()
    name = model.constant("shared", channels(4))
    for _ in range(2):
        model.add(2, 4, lambda model, prefix: name)
    mod, params = model.open(freeze_params=False)
    assert_all_exchanged(assert_same_results(mod, model.draw(), params=params))


@pytest.mark.parametrize("shape", [(SIZE,), (SIZE, SIZE), (1, CHANNELS, SIZE, 1)])
def test_slopes_that_vary_inside_the_window(shape):
    model = Model()
    model.add(2, 4, initializer(RNG.uniform(size=shape)))
    mod, params = model.open()
    _, report = tvm_reorder.reorder(mod, params, decision="exchange")
    assert report.sites[0].refusal.reason is Reason.VARIES_IN_WINDOW


def test_slopes_that_nobody_knows():
    model = Model()
    model.add(2, 4, initializer(channels(4)))
    mod, _ = model.open(freeze_params=False)
    _, report = tvm_reorder.reorder(mod, decision="exchange")
    assert report.sites[0].refusal.reason is Reason.UNKNOWN_SIGN
    assert "bind it, if it is a parameter" in report.sites[0].explanation


@pytest.mark.parametrize(
    "between, slopes, is_exact",
    [
        ((2, 4, 64), (4, 1), True),
        ((1, 8, 8, 8), (8, 1, 1), True),
        ((8, 4, 4, 4), (4, 1, 1), False),
        ((4, 4, 8, 4), (4, 1, 1), False),
    ],
)
def test_slopes_of_another_shape_than_the_pools(between, slopes, is_exact):
    """Reshapes beside the importer's become one with them; the slopes are of what PRelu saw."""
    shape, model = (2, 4, 8, 8), Model()
    model.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    last = model.node("Tanh", ["x"], "tanh")
    last = model.node("Reshape", [last, model.constant("between", np.array(between))], "reshaped")
    values = RNG.uniform(0.1, 0.9, slopes)
    last = model.node("PRelu", [last, model.constant("slopes", values)], "prelu")
    last = model.node("Reshape", [last, model.constant("shape", np.array(shape))], "back")
    model.node("MaxPool", [last], "pool", kernel_shape=[2, 2], strides=[2, 2])
    model.outputs = [helper.make_tensor_value_info("pool", TensorProto.FLOAT, (2, 4, 4, 4))]
    mod, params = model.open()
    (site,) = assert_same_results(mod, model.draw(), params=params).sites
    if is_exact:
        assert site.chain == ("tanh", "nn.prelu")
    else:
        assert "nn.prelu" not in site.chain
