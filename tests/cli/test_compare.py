"""``tvm-reorder compare`` and what it measures with."""

import json

import numpy as np
import pytest

from tvm_reorder.cli import measure
from tvm_reorder.cli.main import main

KEYS = {"model", "target", "sites", "outputs", "equal", "kernels", "time_ms", "ratio"}
SITE_KEYS = {"name", "status", "reason", "chain", "window"}
SITE_KEYS |= {"evaluations_before", "evaluations_after"}


def test_json_has_the_promised_keys(model, tmp_path, capsys):
    path = tmp_path / "inputs.npz"
    np.savez(path, data=np.ones((1, 3, 8, 8), "float32"))
    arguments = ["--inputs", str(path), "--repeat", "2", "--threads", "1", "--json", "-"]
    assert main(["compare", model, *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    assert KEYS <= set(result)
    assert SITE_KEYS <= set(result["sites"][0])
    assert result["sites"][0]["status"] == "fused"
    output = {"name": "output_0", "bit_equal": True, "equal": True}
    assert result["outputs"] == [output | {"max_abs_diff": 0.0, "max_ulp": 0}]
    assert result["equal"] is True
    assert set(result["kernels"]) == {"stock", "reordered"} and min(result["kernels"].values()) > 0
    assert [len(times) for times in result["time_ms"].values()] == [2, 2]


def test_table(model, capsys):
    assert main(["compare", model, "--repeat", "1"]) == 0
    captured = capsys.readouterr()
    assert "results equal" in captured.out and "stock / reordered" in captured.out
    assert captured.err == ""


def test_status_1_if_results_differ(model, monkeypatch, capsys):
    """A wrong rule: the chain's last step is lost on its way past the pool."""
    import tvm
    from tvm import relay

    from tvm_reorder.relay import passes

    transform = passes.ReorderActivations.transform

    def wrong(self, mod, context=None):
        done = transform(self, mod, context)
        if not self.report.sites:
            return done
        function = done["main"]  # its body is the sigmoid
        lost = relay.Function(function.params, function.body.args[0])
        variable = done.get_global_var("main")
        return relay.transform.InferType()(tvm.IRModule({variable: lost}))

    monkeypatch.setattr(passes.ReorderActivations, "transform", wrong)
    assert main(["compare", model, "--repeat", "1", "--json", "-"]) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["equal"] is False and result["outputs"][0]["max_abs_diff"] > 0.01
    assert result["outputs"][0]["max_ulp"] > 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_one_step_is_one_ulp(dtype):
    a = np.array([1.0, -1.0, 0.0], dtype)
    b = np.nextafter(a, np.array(np.inf, dtype))
    assert measure.compare_outputs(a, b).max_ulp == 1


def test_equality_of_zeros_and_nans():
    zeros = measure.compare_outputs(np.float32([0.0]), np.float32([-0.0]))
    assert zeros == measure.Difference(False, True, 0.0, 0)
    nans = measure.compare_outputs(np.float32([np.nan]), np.float32([np.nan]))
    assert nans.equal and nans.max_abs_diff == 0
    mixed = measure.compare_outputs(np.float32([np.nan, 1]), np.float32([1, 1]))
    assert mixed == measure.Difference(False, False, None, None)


def test_integers_differ_in_ones():
    found = measure.compare_outputs(np.uint8([0, 7]), np.uint8([255, 7]))
    assert found == measure.Difference(False, False, 255.0, 255)


def test_kernels_leave_nops_out():
    names = ["tvmgen_conv", "__nop"]
    nodes = [{"op": "tvm_op", "attrs": {"func_name": name}} for name in names]
    assert measure.count_kernels(json.dumps({"nodes": [{"op": "null"}, *nodes]})) == 1
