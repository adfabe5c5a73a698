#!/bin/sh
# peers.sh GALERNE FOLDER: trains a small model, then lets transformers and sentencepiece read what was saved.
# GAL_PEER_PYTHON names a Python that has the packages; otherwise a virtual environment is made once in FOLDER, and without
# Python or a package index the test is skipped. SPDX-License-Identifier: Apache-2.0
set -eu
galerne=$1 folder=$2
here=$(dirname "$0")
mkdir -p "$folder"
python=${GAL_PEER_PYTHON:-$folder/venv/bin/python}
if ! "$python" -c 'import google.protobuf, numpy, sentencepiece, torch, transformers' 2>/dev/null; then
    if ! python3 -m venv "$folder/venv" ||
        ! "$folder/venv/bin/pip" install -q numpy protobuf sentencepiece torch transformers; then
        echo "skipped: no Python with numpy, protobuf, sentencepiece, torch and transformers, and they could not be installed"
        exit 77
    fi
    python=$folder/venv/bin/python
fi

cat >"$folder/config.yaml" <<YAML
model: { width: 96, layers: 2, heads: 6, kv_heads: 2, hidden: 200, context: 256, window: 48 }
data: { text: [$PWD/examples/text/wuthering-heights.txt], valid_fraction: 0.05 }
tokenizer: { train_size: 700 }
batch: { rows: 4, sequence: 96 }
steps: 40
optimizer: { lr: 2e-3 }
YAML
rm -rf "$folder/run" "$folder/tuned"
"$galerne" train "$folder/config.yaml" -o "$folder/run" --quiet
last=$(ls -d "$folder"/run/checkpoints/step-* | sort -t- -k2 -n | tail -1)
"$python" "$here/peer_checkpoint.py" "$galerne" "$last"
# Adapters beside that model, on another part of the text; peft is taken where it can be had.
grep -v '^model:' "$folder/config.yaml" >"$folder/tuned.yaml"
"$galerne" train "$folder/tuned.yaml" -o "$folder/tuned" --quiet --set init="$last" --set lora.rank=4 --set steps=20 \
    --set seed=2
tuned=$(ls -d "$folder"/tuned/checkpoints/step-* | sort -t- -k2 -n | tail -1)
"$python" "$here/peer_lora.py" "$galerne" "$last" "$tuned" "$folder"
if [ -f "$here/peer_tokenizer.py" ]; then
    "$python" "$here/peer_tokenizer.py" "$galerne" examples/text/wuthering-heights.txt
fi
# GGUF files are read by llama.cpp, too, where its package is or can be installed.
"$python" -c 'import llama_cpp' 2>/dev/null || "$python" -m pip install -q llama-cpp-python || true
set -- "$last" tests/golden/mi[sx]tral-*
for model in ../shared/fixtures/mistral-base ../shared/fixtures/mistral-bf16 ../shared/fixtures/ministral3-yarn \
    ../shared/fixtures/gguf/dense-hf ../shared/fixtures/mixtral-base ../shared/fixtures/gguf/moe-hf; do
    [ ! -d $model ] || set -- "$@" $model
done
"$python" "$here/peer_convert.py" "$galerne" "$@"
