"""The hole in the TVM 0.19 wheel, and a network exported from TensorFlow through the mend."""

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relay, te

from tvm_reorder import Status
from tvm_reorder.relay.floor_division import inline_vector_lets, is_needed, mend_floor_division

from .networks import assert_same_results

SLOPES = np.random.default_rng(2).uniform(0, 0.5, (8, 1, 1)).astype("float32")


def tensorflow_export(slopes=SLOPES, auto_pad="SAME_UPPER") -> onnx.ModelProto:
    """NHWC input -> Transpose -> Conv -> PRelu -> MaxPool, padded as TensorFlow does."""
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(size=(8, 3, 3, 3)).astype("float32"), "weight")
    slope = numpy_helper.from_array(slopes, "slope")
    same = dict(auto_pad=auto_pad, strides=[2, 2])
    nodes = [
        helper.make_node("Transpose", ["x"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "weight"], ["conv"], kernel_shape=[3, 3], **same),
        helper.make_node("PRelu", ["conv", "slope"], ["active"]),
        helper.make_node("MaxPool", ["active"], ["y"], kernel_shape=[2, 2], **same),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32, 32, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 8, 8])
    graph = helper.make_graph(nodes, "exported", [x], [y], [weight, slope])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    onnx.checker.check_model(model)
    return model


def floor_division(lanes=4) -> tvm.IRModule:
    """floordiv and floormod of two int64 vectors."""
    a, b = (te.placeholder((lanes,), "int64", name) for name in "ab")
    c = te.compute((lanes,), lambda i: te.floordiv(a[i], b[i]) * 100 + te.floormod(a[i], b[i]), "c")
    schedule = te.create_schedule(c.op)
    schedule[c].vectorize(c.op.axis[0])
    return tvm.lower(schedule, [a, b, c])


@pytest.mark.skipif(not is_needed(), reason="this TVM compiles vectorised floor division")
def test_the_hole_is_there():
    with pytest.raises(tvm.TVMError, match="dbg_declare"):
        tvm.build(floor_division(), target="llvm")


def test_the_mended_kernel_divides_as_python_does():
    target = tvm.target.Target("llvm")
    kernel = tvm.build(inline_vector_lets(floor_division(), target), target=target)
    a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    out = tvm.nd.array(np.zeros(4, "int64"))
    kernel(tvm.nd.array(a), tvm.nd.array(b), out)
    assert out.numpy().tolist() == [x // y * 100 + x % y for x, y in zip(a.tolist(), b.tolist())]


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_a_network_from_tensorflow_is_imported_and_exchanged(auto_pad):
    with mend_floor_division():
        mod, params = relay.frontend.from_onnx(
            tensorflow_export(auto_pad=auto_pad), freeze_params=True
        )
    inputs = {"x": np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype("float32")}
    report = assert_same_results(mod, inputs, params=params)
    (site,) = report.sites
    assert site.status is Status.EXCHANGED and site.chain == ("nn.prelu",), site.explanation


def test_slopes_of_both_signs_need_both_ends():
    slopes = SLOPES.copy()
    slopes[3] = -0.25
    with mend_floor_division():
        mod, params = relay.frontend.from_onnx(tensorflow_export(slopes), freeze_params=True)
    inputs = {"x": np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype("float32")}
    report = assert_same_results(mod, inputs, params=params)
    assert report.sites[0].status is Status.EXCHANGED and report.sites[0].ends.is_both


def test_parameters_that_are_not_frozen_are_bound():
    with mend_floor_division():
        mod, params = relay.frontend.from_onnx(tensorflow_export(), freeze_params=False)
    inputs = {"x": np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype("float32")}
    report = assert_same_results(mod, inputs, params=params)
    assert report.sites[0].status is Status.EXCHANGED, report.sites[0].explanation


def test_the_mend_leaves_nothing_behind():
    from tvm.relay.backend import _backend

    with mend_floor_division(), mend_floor_division():
        pass
    with mend_floor_division():
        assert is_needed() == (tvm.get_global_func("relay.backend.build") is not None)
    if is_needed():
        mod = tvm.IRModule.from_expr(relay.Function([], relay.const(1) + relay.const(2)))
        assert relay.transform.FoldConstant()(mod) is not None
    assert _backend.build is not None
