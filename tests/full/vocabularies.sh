#!/bin/sh
# vocabularies.sh GALERNE FOLDER [SEED]: text to ids beside mistral-common and tokenizers. GAL_PEER_PYTHON names a Python that
# has them; otherwise a virtual environment is made once in FOLDER, and without Python, a package index or ../shared the test is
# skipped. SPDX-License-Identifier: Apache-2.0
set -eu
galerne=$1 folder=$2 seed=${3:-${GAL_PEER_SEED:-6}}
here=$(dirname "$0")
if [ ! -f ../shared/data/tokenizers/tekken_240911.json ]; then
    echo "skipped: no ../shared/data/tokenizers"
    exit 77
fi
mkdir -p "$folder"
python=${GAL_PEER_PYTHON:-$folder/venv/bin/python}
needs='import mistral_common, sentencepiece, tokenizers, transformers, numpy'
if ! "$python" -c "$needs" 2>/dev/null; then
    if ! python3 -m venv "$folder/venv" ||
        ! "$folder/venv/bin/pip" install -q 'mistral-common[sentencepiece]==1.13.1' tokenizers transformers numpy; then
        echo "skipped: no Python with mistral-common and tokenizers, and they could not be installed"
        exit 77
    fi
    python=$folder/venv/bin/python
fi
"$python" "$here/peer_vocabularies.py" "$galerne" ../shared "$folder/vocabularies" "$seed" 10000
