"""``tvmc-reorder``: tvmc with the pass in reach."""

import json

import numpy as np
import pytest

from tvm_reorder import tvmc

from .test_compile import run_plain_tvmc

NAME = "tvm_reorder.ReorderActivations"


@pytest.fixture
def compiled(model, tmp_path, capsys):
    """Compiles the model with more options; gives the package and what was said."""

    def run(*options: str, target: str = "llvm", name: str = "model.tar"):
        package = tmp_path / name
        status = tvmc.main(["compile", model, f"--target={target}", "-o", str(package), *options])
        assert status == 0
        return package, capsys.readouterr()

    return run


def test_the_package_equals_the_stock_one_under_plain_tvmc(compiled, tmp_path):
    report = tmp_path / "report.json"
    ours, said = compiled("--reorder", "--reorder-report", str(report))
    assert "1 max pool: 1 fused" in said.err
    assert json.loads(report.read_text())["sites"][0]["status"] == "fused"
    stock, said = compiled(name="stock.tar")
    assert "tvm_reorder" not in said.err
    data = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype("float32")
    np.savez(tmp_path / "inputs.npz", data=data)
    results = [
        run_plain_tvmc(package, tmp_path / "inputs.npz", tmp_path / f"{package.stem}.npz")
        for package in (ours, stock)
    ]
    np.testing.assert_array_equal(results[0]["output_0"], results[1]["output_0"])


def test_print_ir_after_the_pass(compiled):
    out = compiled("--reorder", "--print-ir-after", f"[{NAME}]")[1].out
    assert f"Print IR after: {NAME}" in out
    assert out.index("contrib.conv2d_max_pool2d") < out.index("sigmoid")


def test_print_pass_times_lists_the_pass(compiled):
    _, said = compiled("--reorder", "--print-pass-times")
    assert NAME in said.out


def test_disabled_pass(compiled):
    _, said = compiled("--reorder", "--disabled-pass", NAME)
    assert "the pass has not run" in said.err


def test_composite_target(compiled):
    assert "1 max pool: 1 fused" in compiled(target="reorder, llvm")[1].err


def test_composite_target_takes_no_options(model, tmp_path, capsys):
    arguments = ["--target=reorder -nope=1, llvm", "-o", str(tmp_path / "m.tar")]
    assert tvmc.main(["compile", model, *arguments]) == 4
    assert "'nope'" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--target=llvm", "--reorder"], ["--target=reorder, llvm"]])
def test_tune(model, tmp_path, capsys, options):
    log = tmp_path / "records.log"
    trials = ["--tuner", "random", "--trials", "2", "--number", "1", "-o", str(log)]
    assert tvmc.main(["tune", model, *options, *trials]) == 0
    assert len(log.read_text().splitlines()) == 2
    assert "1 max pool: 1 fused" in capsys.readouterr().err


def test_run_says_that_a_package_is_finished(compiled, capsys):
    package, _ = compiled()
    assert tvmc.main(["run", "--reorder", str(package)]) == 0
    assert "runs as it was compiled" in capsys.readouterr().err


def test_options_without_the_switch(model, capsys):
    assert tvmc.main(["compile", model, "--target=llvm", "--reorder-licence=ulp:2"]) == 4
    assert "must go with --reorder" in capsys.readouterr().err


def test_a_wrong_licence(model, capsys):
    with pytest.raises(SystemExit) as stop:
        tvmc.main(["compile", model, "--reorder", "--reorder-licence", "bitwise"])
    assert stop.value.code == 2
    assert "licence is 'bitwise' but must be" in capsys.readouterr().err


def test_an_unwritable_report(model, tmp_path, capsys):
    path = str(tmp_path / "absent" / "report.json")
    options = ["--target=llvm", "--reorder", "--reorder-report", path]
    assert tvmc.main(["compile", model, *options]) == 4
    assert "must exist" in capsys.readouterr().err
