"""``tvm-reorder compile``: the package runs under plain tvmc."""

import subprocess
import sys

import numpy as np

from tvm_reorder.cli.main import main


def run_plain_tvmc(package, inputs, outputs) -> dict:
    """The outputs of a package under ``tvmc run``, in a process without this package."""
    guard = "import sys; sys.modules['tvm_reorder'] = None; "
    code = guard + "from tvm.driver.tvmc.main import main; main()"
    command = [sys.executable, "-c", code, "run", str(package)]
    subprocess.run([*command, "-i", str(inputs), "-o", str(outputs)], check=True)
    with np.load(outputs) as file:
        return dict(file)


def test_the_package_runs_under_plain_tvmc(model, tmp_path, capsys):
    package, inputs = tmp_path / "model.tar", tmp_path / "inputs.npz"
    assert main(["compile", model, "-o", str(package)]) == 0
    assert "1 max pool: 1 fused" in capsys.readouterr().out
    data = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype("float32")
    np.savez(inputs, data=data)
    outputs = run_plain_tvmc(package, inputs, tmp_path / "outputs.npz")
    assert outputs["output_0"].shape == (1, 4, 4, 4)


def test_a_failure_leaves_the_old_package(model, tmp_path, capsys, monkeypatch):
    from tvm.driver.tvmc import compiler

    def fail(*_, package_path, **__):
        with open(package_path, "w") as file:
            file.write("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(compiler, "compile_model", fail)
    package = tmp_path / "model.tar"
    package.write_text("old")
    assert main(["compile", model, "-o", str(package)]) == 2
    assert "no space left" in capsys.readouterr().err
    assert package.read_text() == "old" and list(tmp_path.iterdir()) == [package]


def test_below_its_opt_level_the_pass_is_said_not_to_run(model, tmp_path, capsys):
    assert main(["compile", model, "-o", str(tmp_path / "m.tar"), "--opt-level", "0"]) == 0
    assert "the pass did not run" in capsys.readouterr().err
