#!/bin/sh
# carried.sh GALERNE FOLDER: conversations with GGUF files beside the package gguf. GAL_PEER_PYTHON names a Python that has it;
# otherwise a virtual environment is made once in FOLDER, and without Python, a package index or ../shared the test is skipped.
# SPDX-License-Identifier: Apache-2.0
set -eu
galerne=$1 folder=$2
here=$(dirname "$0")
if [ ! -f ../shared/data/tokenizers/vectors/templates/templates.jsonl ]; then
    echo "skipped: no ../shared/data/tokenizers/vectors/templates"
    exit 77
fi
mkdir -p "$folder"
python=${GAL_PEER_PYTHON:-$folder/venv/bin/python}
if ! "$python" -c 'import gguf' 2>/dev/null; then
    if ! python3 -m venv "$folder/venv" || ! "$folder/venv/bin/pip" install -q gguf; then
        echo "skipped: no Python with gguf, and it could not be installed"
        exit 77
    fi
    python=$folder/venv/bin/python
fi
"$python" "$here/peer_carried.py" "$galerne" ../shared "$folder/carried"
