#!/usr/bin/env bash
# An environment with NNSmith, from which `python -m scripts.fuzz --source nnsmith` has its models.
#
#     scripts/nnsmith_env.sh [DIR]               DIR: where (default: .nnsmith)
#
# NNSmith 0.1.0 is of 2023; on today's Python and torch it runs with torch's older exporter, which
# bench/fuzz/nnsmith_models.py asks for.  PYTHON names the interpreter to start from (default:
# python3).  What is there already is not installed again.
set -euo pipefail

fail() {
    echo "nnsmith_env.sh: error: $1" >&2
    exit 2
}

[[ $# -le 1 ]] || fail "$# arguments are given but must be at most one, the folder"
if [[ "${1:-}" == -* ]]; then
    fail "argument is '$1' but must be a folder (nnsmith_env.sh [DIR])"
fi
folder="${1:-.nnsmith}"
if [[ -e "$folder" && ! -e "$folder/pyvenv.cfg" ]]; then
    fail "$folder is there but must be an environment of this script's, or not be there"
fi
"${PYTHON:-python3}" -m venv "$folder" || fail "${PYTHON:-python3} makes no environment"
"$folder/bin/python" -m pip install --quiet "nnsmith==0.1.0" "torch==2.13.0" "onnx<1.19" \
    "numpy<2.5" onnxscript setuptools || fail "packages could not be installed"
"$folder/bin/python" -W ignore -c "import nnsmith, torch" || fail "NNSmith cannot be imported"
echo "NNSmith is ready: python -m scripts.fuzz --source nnsmith --nnsmith $folder"
