"""What full sweeps of 16-bit floats, and stretches of float32, find."""

import platform
from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.target import Target

from tvm_reorder.certify import certifier, dry_run, sweep
from tvm_reorder.certify.certifier import at_level, certify, make_key
from tvm_reorder.certify.expressions import make_function, make_variable
from tvm_reorder.certify.floats import FORMATS
from tvm_reorder.certify.functions import MAKERS, build_function
from tvm_reorder.certify.kernel import compile_pair, read_assembly
from tvm_reorder.certify.names import DEFAULTS
from tvm_reorder.certify.progress import SweepState
from tvm_reorder.certify.targets import name_target_class
from tvm_reorder.core.certificates import CertificateError

from .functions import PLAIN, function, places_between, with_a_step_down

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


def ulps(low: float, high: float, dtype: str) -> int:
    kind = FORMATS[dtype]
    a, b = kind.keys(np.array([low, high], kind.number).view(kind.unsigned))
    return int(b - a)


def test_every_name_means_a_function():
    assert set(MAKERS) == set(DEFAULTS)
    for name in DEFAULTS:
        assert build_function(name, "float32").dtype == "float32"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh", "exp", "clip:0:6"])
def test_rising_functions_never_fall(name, dtype):
    found = certify(build_function(name, dtype), PLAIN)
    assert (found.direction, found.steps, found.worst_ulp) == ("rising", 0, 0)
    assert found.values == FORMATS[dtype].size and found.nan == 0
    assert found.counterexample == () and found.turning_point is None


def test_a_compiler_that_dies_takes_a_process_of_its_own_along():
    try:
        found = certify(build_function("atan", "float16"), PLAIN)
    except CertificateError as error:  # LLVM 22
        assert str(error) == "LLVM cannot compile atan(x) on float16: it aborts"
    else:
        assert (found.direction, found.worst_ulp) == ("rising", 0)


def test_falling_functions_and_nan():
    found = certify(build_function("negative", "float16"), PLAIN)
    assert (found.direction, found.worst_ulp) == ("falling", 0)
    found = certify(build_function("log", "float16"), PLAIN)
    below_zero = FORMATS["float16"].infinity  # those from -inf up to, but not including, -0
    assert (found.direction, found.worst_ulp, found.nan) == ("rising", 0, below_zero)


def test_a_valley_has_its_turning_point():
    found = certify(build_function("abs", "float16"), PLAIN)
    assert (found.direction, found.worst_ulp) == ("valley", 0)
    assert float.fromhex(found.turning_point) == 0
    shifted = certify(function(lambda x, c: relay.abs(x - c(3.0))), PLAIN)
    assert (shifted.direction, float.fromhex(shifted.turning_point)) == ("valley", 3)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_planted_step_is_found_with_its_counterexample(dtype):
    places = None if dtype == "float16" else places_between(0.4, 1.1)
    found = certify(with_a_step_down(dtype), PLAIN, places=places)
    one = np.ones(1, dtype)[0]
    above = np.nextafter(one, one + one)
    assert (found.direction, found.steps) == ("rising", 1)
    assert found.worst_step_ulp == found.worst["rising"] == ulps(above - one / 2, one, dtype)
    shown = [(float.fromhex(x), float.fromhex(y)) for x, y in found.counterexample]
    assert shown == [(1.0, 1.0), (float(above), float(above) - 0.5)]


def test_softsign_is_measured_as_computed():
    """Against numpy, which rounds every operation of it the same way."""
    found = certify(build_function("softsign", "float32"), PLAIN, places=places_between(1e6, 2e6))
    kind = FORMATS["float32"]
    start, stop = places_between(1e6, 2e6)
    bits = np.empty(stop - start, np.uint32)
    kind.fill(start, bits, np.arange(bits.size, dtype=np.uint32))
    x = bits.view(np.float32)
    keys = kind.keys((x / (np.float32(1) + np.abs(x))).view(np.uint32))
    assert found.steps == np.count_nonzero(np.diff(keys) < 0) > 0
    assert found.worst_ulp == (np.maximum.accumulate(keys) - keys).max()


def test_zeros_of_both_signs_must_give_the_same():
    found = certify(build_function("rsqrt", "float16"), PLAIN)
    assert found.mismatches == 1 and found.worst_ulp >= 2 * FORMATS["float16"].infinity


def test_fast_math_is_in_the_text_from_level_four():
    tanh = build_function("tanh", "float32")
    assert at_level(tanh, 3).text == "tanh(x)" and at_level(tanh, 4).text == "fast_tanh(x)"
    assert make_key(at_level(tanh, 4), PLAIN) == make_key(
        build_function("fast_tanh", "float32"), PLAIN
    )


def test_operands_in_another_order_are_the_same_function():
    texts = {
        function(lambda x, c: x * relay.sigmoid(x)).text,
        function(lambda x, c: relay.sigmoid(x) * x).text,
    }
    assert texts == {"multiply(x, sigmoid(x))"}
    # Which product of a sum is contracted may depend on their order.
    sums = {
        function(lambda x, c: x * x + x * c(2.0)).text,
        function(lambda x, c: x * c(2.0) + x * x).text,
    }
    assert len(sums) == 2


@pytest.mark.skipif(not IS_X86, reason="reads x86 assembly")
def test_one_program_is_vector_code_and_the_other_scalar():
    target = Target("llvm -mcpu=skylake-avx512")
    pair = compile_pair(build_function("fast_tanh", "float32"), target, 3, 1 << 12)
    assert pair.lanes == "compared"
    vector, scalar = map(read_assembly, (pair.vector, pair.scalar))
    packed, single = r"vfmadd231ps", r"vfmadd231ss"
    assert "zmm" in vector and (packed in vector or "vfmadd213ps" in vector)
    assert "zmm" not in scalar and "ymm" not in scalar
    assert "ps" not in {word[-2:] for word in scalar.split() if word.startswith("vfmadd")}
    assert single in scalar or "vfmadd213ss" in scalar


@pytest.mark.skipif(not IS_X86, reason="reads x86 assembly")
@pytest.mark.parametrize("name", ["relu", "sigmoid", "erf", "silu"])
def test_what_is_proven_to_be_the_same_is_the_same(name):
    plain = compile_pair(build_function(name, "float16"), PLAIN, 3, 1 << 12)
    assert plain.lanes == "proven" and plain.scalar is None
    for dtype, places in (("float16", None), ("float32", places_between(-0.501, -0.5))):
        found = certify(build_function(name, dtype), PLAIN, places=places, compare=True)
        assert (found.lanes, found.mismatches) == ("compared", 0)


def test_scalar_code_that_differs_is_counted(monkeypatch):
    """Planted: the scalar program is another function below 0."""

    def compile_both(function, target, opt_level, chunk, compare):
        relu, leaky = (
            compile_pair(build_function(name, "float16"), target, opt_level, chunk)
            for name in ("relu", "leaky_relu:0.5")
        )
        return replace(relu, scalar=leaky.vector, lanes="compared")

    monkeypatch.setattr(certifier, "compile_pair", compile_both)
    found = certify(build_function("relu", "float16"), PLAIN)
    kind = FORMATS["float16"]
    assert found.steps == found.mismatches == kind.infinity - 1  # half the least one is 0
    assert found.worst_ulp == found.worst_mismatch_ulp == kind.infinity
    assert found.counterexample[0][0] == (-np.inf).hex()


def interrupted_after(blocks: int):
    """Raises at a block; counts them."""

    def on_block():
        on_block.count += 1
        if on_block.count == blocks:
            raise KeyboardInterrupt

    on_block.count = 0
    return on_block


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(sweep, "BLOCK", 4096)
    monkeypatch.setattr(certifier, "CHUNK", 1024)


def test_an_interrupted_sweep_goes_on(tmp_path, small_blocks):
    silu = build_function("silu", "float16")
    whole = certify(silu, PLAIN)
    state = lambda key: SweepState(tmp_path / "silu.part", key, (3,))
    ours = make_key(silu, PLAIN)
    with pytest.raises(KeyboardInterrupt):
        certify(silu, PLAIN, state=state(ours), on_block=interrupted_after(5))
    kept = len(state(ours).load())
    assert kept >= 5
    assert state(ours._replace(op="relu(x)")).load() == {}
    assert state(ours._replace(tvm="0.0")).load() == {}
    rest = interrupted_after(10**9)
    assert certify(silu, PLAIN, state=state(ours), on_block=rest) == whole
    assert rest.count == -(-FORMATS["float16"].size // 4096) - kept
    assert not (tmp_path / "silu.part").exists()


def test_a_damaged_state_is_started_anew(tmp_path, small_blocks):
    relu = build_function("relu", "float16")
    (tmp_path / "relu.part").write_text('{"identity":')
    state = SweepState(tmp_path / "relu.part", make_key(relu, PLAIN), (3,))
    assert certify(relu, PLAIN, state=state).worst_ulp == 0


def test_threads_change_nothing(small_blocks):
    pair = compile_pair(build_function("mish", "float16"), PLAIN, 3, 1024)
    alone = sweep.sweep(pair, (0, FORMATS["float16"].size), known={}, threads=1)
    assert sweep.sweep(pair, (0, FORMATS["float16"].size), known={}, threads=2) == alone


def test_what_cannot_be_certified_is_named(monkeypatch):
    with pytest.raises(CertificateError, match="'float64' but must be one of float32"):
        certify(build_function("relu", "float64"), PLAIN)
    with pytest.raises(CertificateError, match="'nonsense' but must be one of relu"):
        build_function("nonsense", "float32")
    with pytest.raises(CertificateError, match="'clip:1:2:3' but must be like 'clip:LOW:HIGH'"):
        build_function("clip:1:2:3", "float32")
    with pytest.raises(CertificateError, match="'nan' but must be a finite number"):
        build_function("leaky_relu:nan", "float32")
    with pytest.raises(CertificateError, match="llvm aarch64 generic"):
        certify(build_function("relu", "float16"), Target("llvm -mtriple=aarch64-linux-gnu"))
    with pytest.raises(CertificateError, match="nothing but NaN"):
        certify(function(lambda x, c: relay.sqrt(c(-1.0) - relay.abs(x))), PLAIN)
    monkeypatch.setattr(certifier, "compile_pair", _fails)
    with pytest.raises(CertificateError, match=r"nn.relu\(x\) \(no such intrinsic\)"):
        certify(build_function("relu", "float16"), PLAIN)


def _fails(*_):
    raise tvm.TVMError("backtrace\nno such intrinsic")


def test_a_constant_that_is_loaded_is_another_constant():
    variable = make_variable("float32")
    for number, text in (
        (np.float32(3), "divide(x, 0x1.8000000000000p+1)"),
        (np.full(1, 3, "float32"), "divide(x, [0x1.8000000000000p+1])"),
        (np.full((1, 1), 3, "float32"), "divide(x, [0x1.8000000000000p+1])"),
    ):
        assert make_function(variable / relay.const(number), variable).text == text


def test_sums_of_products_keep_their_order():
    one = function(lambda x, c: x / c(3.0) + x * relay.tanh(x))
    other = function(lambda x, c: x * relay.tanh(x) + x / c(3.0))
    behind = function(lambda x, c: relay.negative(x * x) + relay.power(x, c(2.0)))
    assert one.text != other.text and behind.text.startswith("add(negative(")
    swapped = function(lambda x, c: relay.tanh(x) + x * c(3.0))
    assert swapped.text == function(lambda x, c: x * c(3.0) + relay.tanh(x)).text


def test_contraction_is_told_by_the_operators():
    assert function(lambda x, c: relay.power(x, c(2.0)) + c(1.0)).may_contract
    assert not function(lambda x, c: relay.log(relay.exp(x) + c(1.0))).may_contract


def test_a_float16_inside_is_tried_apart_too(monkeypatch):
    tried = []
    monkeypatch.setattr(dry_run.subprocess, "run", lambda *a, **k: tried.append(a) or _Aborted)
    half = function(lambda x, c: relay.atan(x.astype("float16")).astype("float32"), "float32")
    with pytest.raises(CertificateError, match="it aborts"):
        certify(half, PLAIN)
    assert len(tried) == 1
    dry_run.require_compiles(build_function("atan", "float32"), PLAIN, 3)
    dry_run.require_compiles(build_function("exp", "float16"), PLAIN, 3)
    assert len(tried) == 1


class _Aborted:
    returncode = -6


@pytest.mark.skipif(not IS_X86, reason="classes of x86-64")
def test_classes_of_targets():
    zen, rapids = (f"llvm -mcpu={name}" for name in ("znver4", "sapphirerapids"))
    fast = Target("llvm -mcpu=znver4 -fast-math=1")
    assert name_target_class(Target(zen)) == name_target_class(Target(rapids))
    assert name_target_class(Target(rapids), "float16") == "llvm x86-64 avx512 fp16"
    assert name_target_class(Target(zen), "float16") == "llvm x86-64 avx512"
    assert name_target_class(fast) == "llvm x86-64 avx512 fast-math"


def test_a_function_is_swept_as_it_is_written():
    """SimplifyExpr would add 8 and -8 up; where the pass reads, it is over."""
    x = make_variable("float16")
    eight, back = (relay.const(np.array([n], "float16")) for n in (8, -8))
    rounded = relay.add(relay.add(x * relay.const(0.5, "float16"), eight), back)
    function = make_function(relay.subtract(x, rounded), x)
    assert certify(function, PLAIN).worst_ulp > 100


def test_a_loaded_constant_that_occurs_twice_is_told_from_two_equal_ones():
    """TVM makes x of (x + c) - c if both are one."""
    x = make_variable("float16")
    once, again = (relay.const(np.array([8], "float16")) for _ in range(2))
    texts = [make_function(x + once - other, x).text for other in (once, again)]
    assert texts[0].count("#1") == 2 and "#" not in texts[1]
    assert make_function(relay.tanh(x + once), x).text == "tanh(add(x, [0x1.0000000000000p+3]))"
    first = make_function((x + once) * (again + once), x).text
    assert first.count("#1") == 2 and first.count("[") == 3


@pytest.mark.parametrize(
    "make, differs",
    [
        (lambda x, c: (x + c(8.0)) - c(8.0), True),
        (lambda x, c: relay.cast(relay.clip(x, 0.0, 6.0), "float32"), True),
        (lambda x, c: x * c(3.0) + c(1.0), True),
        (lambda x, c: x * relay.sigmoid(x), False),
        (lambda x, c: relay.sin(relay.clip(x, -1.0, 1.0)), False),
    ],
)
def test_what_several_kernels_may_compute_otherwise(make, differs):
    assert function(make).differs_apart == differs


def test_whole_constants_are_written_with_all_their_digits():
    x = make_variable("float32")
    numbers = (2**53, 2**53 + 1)
    texts = [make_function(x.astype("int64") + relay.const(n, "int64"), x).text for n in numbers]
    assert texts[0] != texts[1]
