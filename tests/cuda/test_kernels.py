"""The kernels that TVM generates for CUDA, stock and exchanged; compiled, not run."""

import importlib.util
import re
import tarfile

import pytest
import tvm
from tvm import relay

import tvm_reorder
from bench import networks
from bench.cuda_kernels import compile_kernels, find_faults, measure, read_sources
from tvm_reorder.cli.main import main
from tvm_reorder.core.decision import Action

from ..relay.networks import conv2d, image, max_pool, module

pytestmark = pytest.mark.skipif(
    tvm.get_global_func("target.build.cuda", allow_missing=True) is None,
    reason="this TVM has no CUDA code generation; scripts/cuda_env.sh sets one up",
)
TARGET = "cuda -arch=sm_90"
BEFORE, AFTER = 64 * 224 * 224, 64 * 112 * 112
BOTH = pytest.mark.parametrize("is_apart", [False, True], ids=["fused", "apart"])


@pytest.fixture(autouse=True)
def weights(monkeypatch):
    """Weights stay inputs: drawing them takes longer than compiling."""
    monkeypatch.setattr(networks, "_draw_weights", lambda params, gain: {})


def as_network(mod) -> networks.Network:
    return networks.Network(mod, {}, {})


def small(activation, size=26, channels=7):
    """13x13x7 pooled values fill a block of 1024 threads once, and another one in part."""
    return module(max_pool(activation(conv2d(image(size=size), channels=channels))))


def launches(source: str) -> list[str]:
    return re.findall(r"__launch_bounds__\((\d+)\)", source)


@BOTH
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_the_papers_network(activation, is_apart):
    network = networks.load_network(f"custom_{activation}")
    row = measure(network, activation, tvm.target.Target(TARGET), is_apart)
    assert find_faults(row) == []
    assert row["sites"] == [{"before": BEFORE, "after": AFTER}]
    (stock,), (ours,) = row["stock"], row["ours"]
    assert (stock["evaluations"], ours["evaluations"]) == (BEFORE, AFTER)
    assert stock["pools"] is False and ours["pools"] is not is_apart


@BOTH
def test_vgg11(is_apart):
    network = networks.load_network("vgg11_relu")
    row = measure(network, "relu", tvm.target.Target(TARGET), is_apart)
    assert find_faults(row) == [] and len(row["sites"]) == 5
    # Eight convolutions and two dense layers; three of the convolutions are not pooled.
    assert len(row["stock"]) == len(row["ours"]) == 10
    assert sum(kernel["pools"] for kernel in row["ours"]) == (0 if is_apart else 5)


def test_a_block_that_is_half_empty_counts_what_it_computes():
    stock, _ = compile_kernels(as_network(small(relay.tanh)), "tanh", TARGET, False, "keep")
    ours, _ = compile_kernels(as_network(small(relay.tanh)), "tanh", TARGET, False, "exchange")
    assert [kernel.evaluations for kernel in stock + ours] == [7 * 26 * 26, 7 * 13 * 13]


def test_faults_are_found():
    row = measure(as_network(small(relay.tanh)), "tanh", tvm.target.Target(TARGET), False)
    assert find_faults(row) == []
    assert len(find_faults(row | {"ours": row["stock"]})) == 2
    assert len(find_faults(row | {"stock": row["ours"]})) == 2
    assert find_faults(row | {"pools": 2}) == ["only 1 of 2 pools are exchanged"]
    unseen = [kernel | {"is_in_source": False} for kernel in row["ours"]]
    assert find_faults(row | {"ours": unseen}) == ["an activation is not in its kernel's source"]


def test_an_activation_changes_no_pools_launch():
    """Why the exchange does not lose on CUDA: the pool keeps a thread for each result."""
    sources = {}
    for decision in ("keep", "exchange"):
        with tvm.transform.PassContext(opt_level=3):
            with tvm_reorder.enabled(decision=decision, licence="ulp:any") as report:
                library = relay.build(small(relay.sigmoid), TARGET)
        assert not report.errors
        for name, source in read_sources(library.get_lib()).items():
            if "max_pool2d" in name:
                sources[decision] = source
    plain, behind = sources["keep"], sources["exchange"]
    assert "expf" in behind and "expf" not in plain
    reads = lambda source: re.search(r"max\(pool_max\w*\[0\], p0\[(.*)\]\)", source)[1]
    assert reads(plain) == reads(behind) and launches(plain) == launches(behind)


def test_behind_the_pool_of_a_whole_plane_stands_another_kernel():
    value = relay.nn.global_max_pool2d(relay.sigmoid(conv2d(image(size=32), channels=8)))
    counts = {}
    for decision in ("keep", "exchange"):
        with tvm.transform.PassContext(opt_level=3):
            with tvm_reorder.enabled(decision=decision, licence="ulp:any"):
                library = relay.build(module(value), TARGET)
        source = library.get_lib().imported_modules[0].get_source()
        counts[decision] = len(re.findall(r"__global__[^;{]*{", source))
    assert counts == {"keep": 2, "exchange": 3}


@pytest.mark.parametrize(
    "name, batch, expected",
    [
        ("custom_sigmoid", 16, Action.EXCHANGE),
        ("custom_sigmoid", 1, Action.KEEP),  # 8 % are promised: less than the model was off by
        ("vgg11_relu", 1, Action.KEEP),
    ],
)
def test_the_pass_decides_by_the_gpus_model(name, batch, expected):
    network = networks.load_network(name, batch)
    with tvm.transform.PassContext(opt_level=3):
        with tvm_reorder.enabled(licence="ulp:any") as report:
            relay.build(network.mod, TARGET)
    assert not report.errors
    assert {site.decision.action for site in report.sites} == {expected}
    assert {site.decision.basis for site in report.sites} == {"model"}


def test_the_command_line_compiles_and_says_what_is_missing_to_run(tmp_path, capsys):
    path = tmp_path / "custom.tar"
    assert main(["compile", "custom", "-o", str(path), "--target", TARGET]) == 0
    with tarfile.open(path) as package:
        assert any(member.name.endswith("mod.so") for member in package)
    if tvm.cuda(0).exist:
        pytest.skip("this machine has a GPU")
    capsys.readouterr()
    assert main(["compare", "custom", "--target", TARGET]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "no driver or no GPU answers" in lines[0]


@pytest.mark.skipif(
    importlib.util.find_spec("nvidia") is None
    or importlib.util.find_spec("nvidia.cuda_nvrtc") is None,
    reason="no NVRTC from PyPI here",
)
def test_nvrtc_in_place_of_nvcc(tmp_path, capsys):
    from scripts.nvcc_by_nvrtc import main as compile_main

    source, code = tmp_path / "kernel.cu", tmp_path / "kernel.out"
    source.write_text("#include <cuda_fp16.h>\n__global__ void f(half *x) { *x = __hadd(*x, *x); }")
    architecture = ["-gencode", "arch=compute_90,code=sm_90"]
    command = ["-O3", "-o", str(code), str(source)]
    assert compile_main(["--fatbin", *architecture, *command]) == 0
    assert code.read_bytes().startswith(b"\x7fELF")
    assert compile_main(["--ptx", "-arch", "sm_80", *command]) == 0
    assert b".target sm_80" in code.read_bytes()
    source.write_text("__global__ void f() { nonsense; }")
    assert compile_main(["--fatbin", *architecture, *command]) == 1
    assert '"nonsense" is undefined' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        compile_main(["--fatbin", *command])
    assert "architecture is missing but must be given" in capsys.readouterr().err
