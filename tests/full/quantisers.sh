#!/bin/sh
# quantisers.sh GALERNE PROGRAM FOLDER: our quantisers beside those of llama.cpp (peer_quantise.c), on weights of a model trained
# for a minute too. GAL_PEER_PYTHON names a Python that has llama-cpp-python; otherwise it is installed in a virtual
# environment in FOLDER (it is built from source: minutes), and where that fails the test is skipped.
# SPDX-License-Identifier: Apache-2.0
set -eu
galerne=$1 program=$2 folder=$3
mkdir -p "$folder"
python=${GAL_PEER_PYTHON:-$folder/venv/bin/python}
if ! "$python" -c 'import llama_cpp' 2>/dev/null; then
    if ! python3 -m venv "$folder/venv" || ! "$folder/venv/bin/pip" install -q llama-cpp-python; then
        echo "skipped: no Python with llama-cpp-python, and it could not be installed: errors and speed were compared with nothing"
        exit 77
    fi
    python=$folder/venv/bin/python
fi
library=$("$python" -c 'import glob, os, llama_cpp
print((glob.glob(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.*")) or [""])[0])')
if [ -z "$library" ]; then
    echo "skipped: this llama-cpp-python brings no libggml-base"
    exit 77
fi

cat >"$folder/config-quantise.yaml" <<YAML
model: { width: 128, layers: 2, heads: 8, kv_heads: 2, hidden: 320, context: 128 }
data: { text: [$PWD/examples/text/wuthering-heights.txt], valid_fraction: 0.05 }
tokenizer: { train_size: 700 }
batch: { rows: 8, sequence: 96 }
steps: 150
optimizer: { lr: 2e-3 }
YAML
rm -rf "$folder/run-quantise"
"$galerne" train "$folder/config-quantise.yaml" -o "$folder/run-quantise" --quiet
last=$(ls -d "$folder"/run-quantise/checkpoints/step-* | sort -t- -k2 -n | tail -1)
# f32 in rows; the header is skipped, 1024 numbers of norms among them do no harm
"$python" -c 'import struct, sys
data = open(sys.argv[1], "rb").read()
open(sys.argv[2], "wb").write(data[8 + struct.unpack("<Q", data[:8])[0]:])' "$last/model.safetensors" "$folder/trained.f32"
"$program" "$library" "$folder/trained.f32"
