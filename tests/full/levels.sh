#!/bin/sh
# levels.sh GALERNE FOLDER: the perplexity of one file is the same to four digits at every level that the processor
# has, for every type of weights, on a model that was trained here (some minutes, most of them of the reference).
# SPDX-License-Identifier: Apache-2.0
set -eu
galerne=$1 folder=$2/levels
novel=examples/text/wuthering-heights.txt
rm -rf "$folder"
mkdir -p "$folder"
head -c 500000 "$novel" >"$folder/train.txt"
tail -c 6000 "$novel" >"$folder/valid.txt"
cat >"$folder/config.yaml" <<YAML
model: { width: 256, layers: 3, heads: 4, kv_heads: 2, head_size: 64, hidden: 512, context: 512 }
data: { text: [$folder/train.txt], valid_fraction: 0.02 }
tokenizer: { train_size: 1024 }
batch: { rows: 4, sequence: 256 }
steps: 150
seed: 5
optimizer: { lr: 2e-3 }
schedule: { warmup: 20, final_fraction: 0.1 }
YAML
"$galerne" train "$folder/config.yaml" -o "$folder/run" --quiet
"$galerne" convert "$folder/run" "$folder/f32.gguf" --dtype f32 --quiet
levels=
for level in ref sse42 avx avx2 avx512 neon; do
    code=0
    "$galerne" perplexity "$folder/f32.gguf" "$folder/valid.txt" --max-tokens 8 --cpu $level --quiet >/dev/null 2>&1 || code=$?
    case $code in
    0) levels="$levels $level" ;;
    4) ;; # this processor has none
    *) echo "$level: ended with code $code"; exit 1 ;;
    esac
done
[ "${levels# * }" != "$levels" ] || { echo "one level only:$levels"; exit 77; }
failed=0
for type in F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4; do
    "$galerne" quantize "$folder/f32.gguf" $type --pure -o "$folder/$type.gguf" --quiet >/dev/null
    for level in $levels; do
        echo "$level $("$galerne" perplexity "$folder/$type.gguf" "$folder/valid.txt" --context 256 --cpu "$level" --quiet --json |
            sed 's/.*"perplexity": \([0-9.]*\).*/\1/')"
    done >"$folder/$type.txt"
    ! grep -vE '^[a-z0-9]+ [0-9]+\.[0-9]+$' "$folder/$type.txt" || { echo "$type: expected a number of each level"; failed=1; }
    awk -v type=$type '{ printf "%s %s ", $1, $2; if (!low || $2 < low) low = $2; if ($2 > high) high = $2 }
        END { apart = high / low - 1; printf "%s: %.1e apart\n", type, apart; exit !(low > 1 && apart <= 5e-5) }' \
        "$folder/$type.txt" || { echo "$type: expected at most 5e-5"; failed=1; }
done
rm -rf "$folder"
exit $failed
