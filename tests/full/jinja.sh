#!/bin/sh
# jinja.sh GALERNE FOLDER: Jinja templates beside transformers. GAL_PEER_PYTHON names a Python that has it; otherwise a virtual environment
# is made once in FOLDER, and without Python or a package index the test is skipped. SPDX-License-Identifier: Apache-2.0
set -eu
galerne=$1 folder=$2
here=$(dirname "$0")
mkdir -p "$folder"
python=${GAL_PEER_PYTHON:-$folder/venv/bin/python}
if ! "$python" -c 'import transformers, jinja2' 2>/dev/null; then
    if ! python3 -m venv "$folder/venv" || ! "$folder/venv/bin/pip" install -q transformers jinja2; then
        echo "skipped: no Python with transformers, and it could not be installed"
        exit 77
    fi
    python=$folder/venv/bin/python
fi
"$python" "$here/peer_jinja.py" "$galerne" "$folder"
