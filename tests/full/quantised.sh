#!/bin/sh
# quantised.sh GALERNE FOLDER [MODEL TEXT]: our quantiser and our perplexity beside llama.cpp's, on a model of 4 million
# parameters trained here on the novel in examples/ (a few minutes), or on MODEL (a folder or GGUF file in 16 or 32 bits,
# widths multiples of 256) and TEXT. GAL_PEER_PYTHON names a Python with numpy and llama_cpp (pip install
# llama-cpp-python); without one the test is skipped. SPDX-License-Identifier: Apache-2.0
set -eu
galerne=$1 folder=$2 model=${3:-} text=${4:-}
here=$(dirname "$0")
python=${GAL_PEER_PYTHON:-$folder/venv/bin/python}
if ! "$python" -c 'import numpy, llama_cpp' 2>/dev/null; then
    echo "skipped: no Python with numpy and llama_cpp (GAL_PEER_PYTHON names one)"
    exit 77
fi
mkdir -p "$folder/quantised"
if [ -z "$model" ]; then
    novel=examples/text/wuthering-heights.txt
    size=$(wc -c <"$novel")
    head -c $((size * 9 / 10)) "$novel" >"$folder/quantised/train.txt"
    tail -c $((size / 10)) "$novel" >"$folder/quantised/valid.txt"
    cat >"$folder/quantised/config.yaml" <<YAML
model: { width: 256, layers: 4, heads: 4, kv_heads: 2, head_size: 64, hidden: 768, context: 1024 }
data: { text: [$folder/quantised/train.txt], valid_fraction: 0.02 }
tokenizer: { train_size: 2048 }
batch: { rows: 4, sequence: 512 }
steps: 300
seed: 5
optimizer: { lr: 2e-3 }
schedule: { warmup: 50, final_fraction: 0.1 }
YAML
    rm -rf "$folder/quantised/run"
    "$galerne" train "$folder/quantised/config.yaml" -o "$folder/quantised/run" --quiet
    model=$folder/quantised/run text=$folder/quantised/valid.txt
fi
"$galerne" convert "$model" "$folder/quantised/base.gguf" --dtype f32 --force --quiet
"$python" "$here/peer_quantisation.py" "$galerne" "$folder/quantised/base.gguf" "$text" "$folder/quantised"
