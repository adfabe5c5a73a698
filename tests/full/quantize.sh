#!/bin/sh
# quantize.sh GALERNE FOLDER: what `galerne quantize` writes, beside llama.cpp. GAL_PEER_PYTHON names a Python that has
# gguf, llama_cpp and numpy; without one the test is skipped: building that package takes too long here.
# SPDX-License-Identifier: Apache-2.0
set -eu
galerne=$1 folder=$2
python=${GAL_PEER_PYTHON:-$folder/../peers/venv/bin/python}
if ! "$python" -c 'import gguf, llama_cpp, numpy' 2>/dev/null; then
    echo "skipped: no Python with gguf, llama_cpp and numpy (GAL_PEER_PYTHON)"
    exit 77
fi
"$python" "$(dirname "$0")/peer_quantize.py" "$galerne" "$folder"
