#!/bin/sh
# eval.sh GALERNE FOLDER: trains a small model whose window is shorter than its prompts, then scores tasks of every kind with it and
# with lm-evaluation-harness. GAL_PEER_PYTHON names a Python that has the packages; otherwise a virtual environment is made once
# in FOLDER, and without Python or a package index the test is skipped. SPDX-License-Identifier: Apache-2.0
set -eu
galerne=$1 folder=$2
here=$(dirname "$0")
mkdir -p "$folder"
python=${GAL_PEER_PYTHON:-$folder/venv/bin/python}
if ! "$python" -c 'import accelerate, google.protobuf, lm_eval, sentencepiece, torch, transformers' 2>/dev/null; then
    if ! python3 -m venv "$folder/venv" ||
        ! "$folder/venv/bin/pip" install -q accelerate lm_eval==0.4.13 protobuf sentencepiece torch transformers; then
        echo "skipped: no Python with lm_eval, torch and transformers, and they could not be installed"
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
rm -rf "$folder/run"
"$galerne" train "$folder/config.yaml" -o "$folder/run" --quiet
last=$(ls -d "$folder"/run/checkpoints/step-* | sort -t- -k2 -n | tail -1)
"$python" "$here/peer_eval.py" "$galerne" "$last" "$folder/tasks"
# One whose products are larger, where it is to be had.
if [ -d ../shared/fixtures/gguf/dense-hf ]; then
    "$python" "$here/peer_eval.py" "$galerne" ../shared/fixtures/gguf/dense-hf "$folder/tasks"
fi
