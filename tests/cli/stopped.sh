#!/bin/sh
# stopped.sh GALERNE: a computation that is interrupted before its first result, and a conversion that is interrupted,
# loses its terminal, is killed, or whose source shrinks while it runs. Nothing half made stays, but what a killed one
# left, which the next clears away. SPDX-License-Identifier: Apache-2.0
set -eu
GALERNE=$1
dir=$(mktemp -d)
run= # still running only if a check failed; kill of one that ended is no failure
trap '[ -z "$run" ] || kill -9 $run 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
ulimit -c 0
cat >c.yaml <<END
model: { width: 512, layers: 4, heads: 8, kv_heads: 4, hidden: 2048, context: 64, vocab: 8000 }
data: { text: none.txt }
END
"$GALERNE" init c.yaml -o m --quiet
cp m/model.safetensors whole

# Starts a conversion into $1 and stops it while it writes; a machine may be too fast, then again.
begin() {
    for n in 1 2 3 4 5 6 7 8 9 10; do
        rm -rf "$1"
        "$GALERNE" convert m "$1" --dtype bf16 --quiet 2>err &
        run=$!
        while [ ! -e ".unfinished-$1" ] && kill -0 $run 2>/dev/null; do :; done
        kill -STOP $run 2>/dev/null || true # it may have ended by now, which the next line tells
        if [ -e ".unfinished-$1" ] && [ ! -e "$1" ]; then return 0; fi
        kill -CONT $run 2>/dev/null || true # the same
        wait $run || { cat err; echo "a conversion that nobody stopped failed"; exit 1; }
    done
    echo "skipped: no conversion was met at work"
    exit 77
}

# finish CODE PATTERN: how it ends.
finish() {
    code=0
    wait $run || code=$?
    run=
    cat err
    [ $code -eq "$1" ] || { echo "code $code, expected $1"; exit 1; }
    [ -z "$2" ] || grep -q "$2" err || { echo "expected: $2"; exit 1; }
}

nothing_left() { # NAME
    [ ! -e "$1" ] && [ ! -e ".unfinished-$1" ] || { echo "$1 was left behind"; exit 1; }
}

# On the slow reference a prompt takes many seconds, all of them within one chunk: none is waited for.
ids=$(awk 'BEGIN { for (i = 0; i < 512; i++) printf "%d ", 3 + i % 7000 }')
echo "$ids" >ids
sed 's/context: 64/context: 512/' c.yaml >long.yaml
"$GALERNE" init long.yaml -o long --quiet

within() { # ARGUMENTS: 130, and nothing was computed to the end
    "$GALERNE" "$@" --cpu ref --quiet >out 2>err &
    run=$!
    sleep 1
    kill -INT $run
    finish 130 ''
    [ ! -s out ] || { echo "$1: expected no result:"; cat out; exit 1; }
}

within run long --ids "$ids" --max-tokens 1
within logits long --ids "$ids" -o l.npy
[ ! -e l.npy ] || { echo "half an array was left behind"; exit 1; }
within perplexity long --ids ids --context 512 --no-bos
within bench long --prefill 512
within compare long long --ids ids --context 512 --no-bos

for to in x.gguf x; do
    begin $to
    kill -INT $run
    kill -CONT $run
    finish 130 ''
    nothing_left $to

    begin $to
    kill -HUP $run
    kill -CONT $run
    finish 130 ''
    nothing_left $to

    begin $to
    truncate -s 4096 m/model.safetensors
    kill -CONT $run
    finish 3 '^galerne: m/model.safetensors: .* found 4096'
    nothing_left $to
    cp whole m/model.safetensors

    begin $to
    kill -9 $run
    kill -CONT $run 2>/dev/null || true # a killed one may be gone; finish() has its code
    finish 137 ''
    [ ! -e $to ] && [ -e .unfinished-$to ] || { echo "expected what a killed one leaves"; exit 1; }
    "$GALERNE" convert m $to --quiet
    [ -e $to ] && [ ! -e .unfinished-$to ] || { echo "expected the whole $to alone"; exit 1; }
done

# Under nohup the terminal's end is nobody's.
trap '' HUP
"$GALERNE" quantize m Q4_0 -o q.gguf --quiet 2>err &
run=$!
trap - HUP
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do # whenever it begins to work, one comes after that
    kill -HUP $run 2>/dev/null || break
    sleep 0.02
done
finish 0 ''
ls -A | grep -F .tmp. && { echo "a temporary was left behind"; exit 1; }
[ -e q.gguf ]
