#!/bin/sh
# pack_memory.sh GALERNE: weights that are packed are in memory once: what a model takes is its file and a little more,
# though the file's pages were read and the packed copies are new. SPDX-License-Identifier: Apache-2.0
set -eu
GALERNE=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >model.yaml <<'YAML'
model: { vocab: 512, width: 1024, layers: 12, heads: 8, kv_heads: 2, head_size: 64, hidden: 2048, context: 512 }
data: { text: none.txt }
YAML
"$GALERNE" init model.yaml -o model --dtype bf16 --quiet
"$GALERNE" quantize model Q8_0 --pure -o model.gguf --quiet >out
rm -rf model
"$GALERNE" bench model.gguf --start --context 256 --threads 2 --repeats 1 --json >out
taken=$(sed -n 's/.*"what": "memory".*"median": \([0-9.e+]*\),.*/\1/p' out)
file=$(wc -c <model.gguf)
echo "file $file bytes, taken $taken"
awk -v taken="$taken" -v file="$file" 'BEGIN { exit !(taken > 0.9 * file && taken < 1.4 * file) }' ||
    { echo "expected 0.9 to 1.4 times the file"; exit 1; }
