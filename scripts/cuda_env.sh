#!/usr/bin/env bash
# A TVM with Relay and CUDA, from PyPI packages alone, and this project beside it.
#
#     scripts/cuda_env.sh [DIR]                  DIR: where (default: the user's cache)
#     DIR/bin/python-cuda -m bench.models --target cuda custom_sigmoid
#
# TVM is the 0.17 (Relay, CUDA, LLVM 10) that the package tilelang 0.1.0 carries; of tilelang itself
# nothing is used.  Kernels are compiled by NVRTC, in place of nvcc (nvcc_by_nvrtc.py says why).
# With TVM_HOME=/path/to/tvm (a source build: python/ and build/) that TVM is taken instead, and
# nvcc if there is one.  PYTHON names the interpreter to start from (default: python3).
#
# What is there already is not installed again; what is half made is made anew.  Without an NVIDIA
# driver everything compiles and nothing runs; run this again when there is one.
set -euo pipefail

readonly marker="made_by_tvm_reorder_cuda_env"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly root

fail() {
    echo "cuda_env.sh: error: $1" >&2
    exit 2
}

say() {
    printf '%-8s %s\n' "$1" "$2"
}

# The packages: TVM's own needs, CUDA's libraries, what the tests take, and this project's extras.
list_packages() {
    local packages=(nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12)
    packages+=(attrs cloudpickle decorator ml_dtypes numpy psutil scipy setuptools tornado)
    packages+=(typing_extensions hypothesis pytest-xdist "${root}[cli,bench]")
    printf '%s\n' "${packages[@]}"
}

check_arguments() {
    [[ $# -le 1 ]] || fail "$# arguments are given but must be at most one, the folder"
    if [[ "${1:-}" == -* ]]; then
        fail "argument is '$1' but must be a folder (cuda_env.sh [DIR])"
    fi
    if [[ -e "$folder" && ! -d "$folder" ]]; then
        fail "'$folder' is a file but must be a folder"
    fi
    if [[ -d "$folder" && -n "$(ls -A "$folder")" && ! -e "$folder/$marker" ]]; then
        fail "'$folder' has other files in it but must be empty, or made by this script"
    fi
    [[ -z "$tvm_home" ]] && return
    if [[ ! -d "$tvm_home/python/tvm" || ! -e "$tvm_home/build/libtvm.so" ]]; then
        fail "TVM_HOME is '$tvm_home' but must have python/tvm and build/libtvm.so in it"
    fi
}

check_python() {
    local version
    command -v "$python" >/dev/null || fail "PYTHON is '$python' but must be an interpreter"
    version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    case "$version" in
        3.10 | 3.11 | 3.12) ;;
        3.13)
            [[ -n "$tvm_home" ]] ||
                fail "Python is $version but must be 3.10 to 3.12 for tilelang (set PYTHON)"
            ;;
        *) fail "Python is $version but must be 3.10 to 3.12 (set PYTHON)" ;;
    esac
}

# Install everything, unless the very same was installed to its end before.
install() {
    local wanted
    wanted="TVM_HOME=$tvm_home
$(list_packages | sed '$d')
$(sed -n '/^\[project.opt/,/^\[project.scr/p' "$root/pyproject.toml")"
    if [[ -e "$folder/installed" && "$(cat "$folder/installed")" == "$wanted" ]]; then
        return
    fi
    say "install" "$folder"
    rm -rf "$folder"
    mkdir -p "$folder"
    touch "$folder/$marker"
    "$python" -m venv "$folder" || fail "'$python -m venv' failed but must make an environment"
    local pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
    local packages
    mapfile -t packages < <(list_packages)
    "${pip[@]}" "${packages[@]}" || fail "the packages cannot be installed, see above"
    if [[ -z "$tvm_home" ]]; then
        "${pip[@]}" --no-deps tilelang==0.1.0 || fail "tilelang cannot be installed, see above"
    fi
    printf '%s\n' "$wanted" >"$folder/installed"
}

# Where TVM's Python and libraries are, and the libraries of CUDA that it is linked with.
find_tvm() {
    site="$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    libraries=""
    if [[ -n "$tvm_home" ]]; then
        tvm_python="$tvm_home/python" tvm_library="$tvm_home/build"
        return
    fi
    tvm_python="$site/tilelang/3rdparty/tvm/python" tvm_library="$site/tilelang/lib"
    libraries="$site/nvidia/cuda_nvrtc/lib:$site/nvidia/cuda_runtime/lib"
}

# Without a driver TVM would not even load: every function that it calls of it then says so.
find_driver() {
    rm -rf "$folder/stub"
    if "$folder/bin/python" -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null; then
        say "driver" "found"
        return
    fi
    command -v "${CC:-cc}" >/dev/null ||
        fail "'${CC:-cc}' is missing but must be there to make a stand-in for the NVIDIA driver"
    mkdir -p "$folder/stub"
    "$folder/bin/python" - "$tvm_library/libtvm.so" >"$folder/stub/stub.c" <<'END'
import re, sys
names = set(re.findall(rb"(?<=\0)cu[A-Z]\w+(?=\0)", open(sys.argv[1], "rb").read()))
for name in sorted(names - {b"cuGetErrorName"}):
    print(f"int {name.decode()}(void) {{ return 100; }}")  # CUDA_ERROR_NO_DEVICE
print('int cuGetErrorName(int e, const char **n) { *n = "CUDA_ERROR_NO_DEVICE"; return 0; }')
END
    "${CC:-cc}" -shared -fPIC -w -o "$folder/stub/libcuda.so.1" "$folder/stub/stub.c"
    libraries="$folder/stub${libraries:+:$libraries}"
    say "driver" "missing (libcuda.so.1): kernels can be compiled, nothing can run"
}

find_compiler() {
    rm -rf "$folder/tools"
    mkdir -p "$folder/tools"
    if [[ -n "$tvm_home" ]] && command -v nvcc >/dev/null; then
        say "nvcc" "$(command -v nvcc)"
        return
    fi
    local nvrtc
    nvrtc="$(find "$site/nvidia/cuda_nvrtc/lib" -name 'libnvrtc.so.*' 2>/dev/null | head -n 1)"
    [[ -n "$nvrtc" ]] || fail "NVRTC is missing but must be in $site/nvidia/cuda_nvrtc/lib"
    printf '#!/bin/sh\nexec %q %q "$@"\n' \
        "$folder/bin/python" "$root/scripts/nvcc_by_nvrtc.py" >"$folder/tools/nvcc"
    chmod +x "$folder/tools/nvcc"
    say "nvcc" "NVRTC in place of it (${nvrtc##*/})"
}

# An interpreter with all that TVM asks of the environment.
# shellcheck disable=SC2016  # what is in single quotes is for the script that is written
write_python() {
    local python_path="$tvm_python:$root"
    {
        echo "#!/usr/bin/env bash"
        printf 'export PATH=%q:"$PATH"\n' "$folder/tools"
        if [[ -n "$libraries" ]]; then
            printf 'export LD_LIBRARY_PATH=%q"${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"\n' "$libraries"
        fi
        printf 'export PYTHONPATH=%q"${PYTHONPATH:+:$PYTHONPATH}"\n' "$python_path"
        printf 'export TVM_LIBRARY_PATH=%q\n' "$tvm_library"
        echo 'export TOPHUB_LOCATION="${TOPHUB_LOCATION:-NONE}"'
        printf 'exec %q "$@"\n' "$folder/bin/python"
    } >"$folder/bin/python-cuda"
    chmod +x "$folder/bin/python-cuda"
}

check_tvm() {
    local found
    found="$("$folder/bin/python-cuda" -c '
import tvm, tvm.relay
built = tvm.get_global_func("target.build.cuda", allow_missing=True) is not None
gpu = tvm.cuda(0).device_name if built and tvm.cuda(0).exist else "none"
print(tvm.__version__, "with CUDA" if built else "without CUDA", gpu, sep="|")')" ||
        fail "TVM in '$tvm_python' does not load but must, see above"
    [[ "$found" == *"|with CUDA|"* ]] ||
        fail "TVM in '$tvm_python' was built without CUDA but must have it"
    say "TVM" "${found%%|*} with Relay and CUDA"
    say "GPU" "${found##*|}"
    say "python" "$folder/bin/python-cuda"
}

main() {
    if [[ "${1:-}" == "-h" || "${1:-}" == "--help" ]]; then
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
    fi
    python="${PYTHON:-python3}"
    tvm_home="${TVM_HOME:-}"
    folder="${1:-${XDG_CACHE_HOME:-$HOME/.cache}/tvm_reorder/cuda}"
    check_arguments "$@"
    [[ "$folder" == /* ]] || folder="$PWD/$folder"
    check_python
    install
    find_tvm
    find_driver
    find_compiler
    write_python
    check_tvm
}

main "$@"
