"""Certifies one function: compile, walk, and say what was found.

The direction is found, not assumed: that which the function strays from least, where rising or
falling to within `NOISE_ULP` is preferred to a valley.  (A fall of a few ulp is rounding; a
function that falls by millions has another shape.)  Besides the walk, f(-0) is compared with f(+0):
a max pool may take either zero.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable

import tvm
from tvm.target import Target

from ..core.certificates import SHAPES, Certificate, CertificateError, CertificateKey
from ..core.monotone import Direction
from .dry_run import require_compiles
from .expressions import ScalarFunction, with_fast_math
from .floats import FORMATS, FloatFormat
from .kernel import CompiledPair, Program, compile_pair
from .progress import SweepState
from .runs import Extent, Summary
from .sweep import BLOCK, CHUNK, Places, sweep
from .targets import find_compiled_for, name_target_class, require_runs_here, versions

NOISE_ULP = 1024
FAST_MATH_LEVEL = 4


def make_key(function: ScalarFunction, target: Target) -> CertificateKey:
    """What a certificate of the function would be about."""
    target_class = name_target_class(target, function.dtype)
    return CertificateKey(function.text, function.dtype, target_class, *versions())


def at_level(function: ScalarFunction, opt_level: int) -> ScalarFunction:
    """The function as an opt_level compiles it: with FastMath from 4 on."""
    return with_fast_math(function) if opt_level >= FAST_MATH_LEVEL else function


def require_format(dtype: str) -> FloatFormat:
    """The format of a dtype.

    Raises
    ------
    CertificateError
        If it is none that can be walked: float64 has 2^64 values.
    """
    if dtype not in FORMATS:
        raise CertificateError(f"the dtype is {dtype!r} but must be one of {', '.join(FORMATS)}")
    return FORMATS[dtype]


def require_one_kernel(function: ScalarFunction, opt_level: int) -> None:
    """Check that a function is one kernel, as a certificate's is.

    Raises
    ------
    CertificateError
        If opt_level 0 would make several of it, which may compute it otherwise.
    """
    if opt_level == 0 and function.differs_apart:
        raise CertificateError(
            f"opt_level is 0 but must be 1 or more for {function.text}: its operators "
            "would be kernels of their own, and a certificate is of one kernel"
        )


def count_blocks(dtype: str, places: Places | None = None) -> int:
    """How many blocks the sweep of a dtype has."""
    start, stop = places or (0, FORMATS[dtype].size)
    return -(-(stop - start) // BLOCK)


def certify(
    function: ScalarFunction,
    target: Target,
    opt_level: int = 3,
    *,
    on_block: Callable[[], None] = lambda: None,
    state: SweepState | None = None,
    places: Places | None = None,
    compare: bool = False,
) -> Certificate:
    """Walk a function over its dtype.

    Parameters
    ----------
    function : ScalarFunction
        The function, FastMath's operators in it already (`at_level`).
    target : tvm.target.Target
        A target that this machine can run.
    opt_level : int
        ``PassContext`` opt_level to compile at.
    on_block : callable
        Called after each block of the sweep; may raise to end it.
    state : SweepState, optional
        Where the blocks done are kept, so that an interrupted sweep goes on.
    places : tuple of int, optional
        For tests alone: the places to walk instead of all.
    compare : bool
        Walk the scalar code also where it is proven to equal the vector code.

    Raises
    ------
    CertificateError
        If the dtype has too many values, the target cannot run here or cannot compile this, or
        opt_level 0 would make several kernels of it, which may compute it otherwise.
    """
    arguments, target = require_format(function.dtype), find_compiled_for(target)
    require_one_kernel(function, opt_level)
    require_runs_here(target)
    require_compiles(function, target, opt_level)
    places = places or (0, arguments.size)
    try:
        pair = compile_pair(function, target, opt_level, min(CHUNK, places[1] - places[0]), compare)
    except tvm.TVMError as error:
        why = str(error).strip().splitlines()[-1]
        raise CertificateError(f"TVM cannot compile {function.text} ({why})") from error
    if pair.dtype_out not in FORMATS:
        raise CertificateError(
            f"the result of {function.text} is {pair.dtype_out} but must be one of "
            + ", ".join(FORMATS)
        )
    known = {} if state is None else state.load()

    def advance() -> None:
        if state is not None:
            state.save(known)
        on_block()

    try:
        summary = sweep(pair, places, known=known, on_block=advance)
    except BaseException:
        if state is not None:
            state.save(known, now=True)
        raise
    summary = _compare_zeros(summary, pair)
    certificate = _describe(summary, function, pair, target, opt_level)
    if state is not None:
        state.remove()
    return certificate


def _evaluate(pair: CompiledPair, places: list[int]) -> list[int | None]:
    """Keys of the results at some places; None for NaN."""
    arguments, results = FORMATS[pair.dtype_in], FORMATS[pair.dtype_out]
    program = Program(pair.vector, pair)
    program.input[:] = 0
    for index, place in enumerate(places):
        arguments.fill(place, program.input[index : index + 1], program.input[:1] * 0)
    program()
    bits = program.output[: len(places)]
    nan = results.is_nan(bits)
    return [None if n else int(k) for k, n in zip(results.keys(bits), nan)]


def _compare_zeros(summary: Summary, pair: CompiledPair) -> Summary:
    places = list(FORMATS[pair.dtype_in].zeros)
    minus, plus = _evaluate(pair, places)
    if minus == plus:
        return summary
    is_known = minus is not None and plus is not None
    distance = abs(plus - minus) if is_known else 2 * FORMATS[pair.dtype_out].infinity
    worse = max((summary.worst_mismatch, summary.mismatch_at), (distance, places[0]))
    return summary._replace(
        mismatches=summary.mismatches + 1, worst_mismatch=worse[0], mismatch_at=worse[1]
    )


def _describe(summary: Summary, function, pair, target, opt_level) -> Certificate:
    if summary.whole is None:
        raise CertificateError(f"{function.text} gives nothing but NaN on {function.dtype}")
    worst = _worst(summary)
    direction = _choose_direction(worst)
    steps, worst_step, places = _WRONG[direction](summary)
    arguments, results = FORMATS[pair.dtype_in], FORMATS[pair.dtype_out]
    if not worst[direction]:
        places = ()
    elif worst[direction] == summary.worst_mismatch:
        places = (summary.mismatch_at,)
    is_valley = direction is Direction.VALLEY
    return Certificate(
        op=function.text,
        constants=function.constants,
        dtype=function.dtype,
        target=name_target_class(target, function.dtype),
        opt_level=opt_level,
        tvm=versions()[0],
        llvm=versions()[1],
        libm=" ".join(platform.libc_ver()).strip(),
        direction=direction.value,
        steps=steps + summary.mismatches,
        worst_step_ulp=max(worst_step, summary.worst_mismatch),
        worst={shape.value: ulp for shape, ulp in worst.items()},
        turning_point=arguments.value_at(summary.whole.low_at).hex() if is_valley else None,
        counterexample=_show(sorted(places), pair, arguments, results),
        values=summary.values,
        nan=summary.nan,
        lanes=pair.lanes,
        mismatches=summary.mismatches,
        worst_mismatch_ulp=summary.worst_mismatch,
        date=datetime.date.today().isoformat(),
    )


def _worst(summary: Summary) -> dict[Direction, int]:
    valley = max(summary.left.climb, summary.right.drop)
    found = (summary.whole.drop, summary.whole.climb, valley)
    return {shape: ulp + summary.worst_mismatch for shape, ulp in zip(SHAPES, found)}


def _choose_direction(worst: dict[Direction, int]) -> Direction:
    best = min(SHAPES, key=worst.__getitem__)
    straight = min(SHAPES[:2], key=worst.__getitem__)
    return straight if worst[straight] <= worst[best] + NOISE_ULP else best


def _of_falls(run: Extent):
    return run.falls, run.worst_fall, (run.drop_from, run.drop_to)


def _of_rises(run: Extent):
    return run.rises, run.worst_rise, (run.climb_from, run.climb_to)


def _of_valley(summary: Summary):
    left, right = _of_rises(summary.left), _of_falls(summary.right)
    turn = summary.whole.low_at
    is_left = summary.left.climb >= summary.right.drop
    places = (*left[2], turn) if is_left else (turn, *right[2])
    return left[0] + right[0], max(left[1], right[1]), places


_WRONG = {
    Direction.RISING: lambda summary: _of_falls(summary.whole),
    Direction.FALLING: lambda summary: _of_rises(summary.whole),
    Direction.VALLEY: _of_valley,
}


def _show(places, pair, arguments: FloatFormat, results: FloatFormat):
    """Arguments at some places and their results, as text."""
    keys = _evaluate(pair, list(places)) if places else []
    return tuple(
        (arguments.value_at(p).hex(), "nan" if k is None else results.value_of(k).hex())
        for p, k in zip(places, keys)
    )
