"""NVRTC in the place of nvcc, for TVM: TVM's options and CUDA source in, machine code out.

    nvcc --fatbin -O3 -gencode arch=compute_90,code=sm_90 -o out.fatbin kernels.cu

TVM starts a program called nvcc for every CUDA module (``tvm.contrib.nvcc``); PyPI has no such
program, but it has NVRTC, the same compiler as a library.  ``scripts/cuda_env.sh`` puts this file
on the path under nvcc's name.  What comes out for ``--fatbin`` is a cubin, which the driver loads
just as well, and which, unlike PTX, a driver older than the compiler takes too.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import sys
import sysconfig
from pathlib import Path

_FORMATS = ("fatbin", "cubin", "ptx")


class CompileError(Exception):
    """What NVRTC did not take; the message is its own."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The options that TVM gives nvcc; others are for nvcc alone and change no result."""
    parser = argparse.ArgumentParser(prog="nvcc", description=__doc__.partition("\n")[0])
    for name in _FORMATS:
        parser.add_argument(f"--{name}", dest="format", action="store_const", const=name)
    parser.add_argument("-gencode", help="arch=compute_XX,code=sm_XX")
    parser.add_argument("-arch", help="sm_XX")
    parser.add_argument("-o", dest="output", type=Path, required=True)
    parser.add_argument("-I", dest="includes", action="append", default=[])
    parser.add_argument("source", type=Path)
    known, _ = parser.parse_known_args(arguments)
    found = re.search(r"sm_\w+", f"{known.arch} {known.gencode}")
    if found is None:
        parser.error("architecture is missing but must be given, such as -arch sm_90")
    known.arch = found[0]
    return known


def compile_source(
    source: bytes, architecture: str, includes: list[str], wants_ptx: bool = False
) -> bytes:
    """Compile CUDA source.

    Parameters
    ----------
    source : bytes
        CUDA C++.
    architecture : str
        Such as ``"sm_90"``.
    includes : list of str
        Folders of headers; CUDA's own are added.
    wants_ptx : bool
        True for PTX, else a cubin.

    Raises
    ------
    CompileError
        If NVRTC cannot be loaded or refuses the source.
    """
    nvrtc, program = _load(), ctypes.c_void_p()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None))
    folders = [*includes, str(_cuda_folder() / "cuda_runtime" / "include")]
    options = [f"-arch={architecture}", *(f"-I{folder}" for folder in folders)]
    encoded = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    if nvrtc.nvrtcCompileProgram(program, len(options), encoded):
        raise CompileError(_read(nvrtc, program, "ProgramLog").rstrip(b"\0").decode())
    return _read(nvrtc, program, "PTX" if wants_ptx else "CUBIN")


def _cuda_folder() -> Path:
    """Where pip puts NVIDIA's packages."""
    return Path(sysconfig.get_path("purelib")) / "nvidia"


def _load() -> ctypes.CDLL:
    folder = _cuda_folder() / "cuda_nvrtc" / "lib"
    libraries = sorted(folder.glob("libnvrtc.so.*"))
    if not libraries:
        raise CompileError(
            f"{folder} has no libnvrtc.so but must: pip install nvidia-cuda-nvrtc-cu12"
        )
    return ctypes.CDLL(str(libraries[0]))


def _read(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(getattr(nvrtc, f"nvrtcGet{what}")(program, text))
    return text.raw


def _check(status: int) -> None:
    if status:
        raise CompileError(f"NVRTC answers {status} but must answer 0")


def main(arguments: list[str]) -> int:
    """Compile one file; the exit status is 1 if it does not compile."""
    args = parse_arguments(arguments)
    try:
        code = compile_source(
            args.source.read_bytes(), args.arch, args.includes, args.format == "ptx"
        )
    except (CompileError, OSError) as error:
        print(f"nvcc (NVRTC): {error}")  # TVM shows what nvcc writes to either stream
        return 1
    args.output.write_bytes(code)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
