#!/bin/sh
# chat.sh GALERNE FOLDER: conversations beside mistral-common. GAL_PEER_PYTHON names a Python that has it; otherwise a virtual
# environment is made once in FOLDER, and without Python, a package index or ../shared the test is skipped.
# SPDX-License-Identifier: Apache-2.0
set -eu
galerne=$1 folder=$2
here=$(dirname "$0")
if [ ! -f ../shared/tools/make_template_vectors.py ]; then
    echo "skipped: no ../shared/tools/make_template_vectors.py"
    exit 77
fi
mkdir -p "$folder"
python=${GAL_PEER_PYTHON:-$folder/venv/bin/python}
if ! "$python" -c 'import mistral_common, sentencepiece, soundfile, soxr' 2>/dev/null; then
    if ! python3 -m venv "$folder/venv" || ! "$folder/venv/bin/pip" install -q 'mistral-common[sentencepiece,audio]==1.13.1'; then
        echo "skipped: no Python with mistral-common, and it could not be installed"
        exit 77
    fi
    python=$folder/venv/bin/python
fi
"$python" "$here/peer_chat.py" "$galerne" ../shared "$folder/chat"
"$python" "$here/peer_audio.py" "$galerne" "$folder/audio"
