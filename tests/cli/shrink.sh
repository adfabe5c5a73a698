#!/bin/sh
# shrink.sh GALERNE: a model's weights are cut short while the program writes from them, within the last page (whose rest
# then reads as zeros, without a signal) and beyond; and a training's shards. It must end with code 3 and one line that
# names the file; SIGBUS for another reason ends it as ever. SPDX-License-Identifier: Apache-2.0
set -eu
GALERNE=$1
dir=$(mktemp -d)
run= # still running only if a check failed; kill of one that ended is no failure
trap '[ -z "$run" ] || kill -9 $run 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
ulimit -c 0
cat >c.yaml <<END
model: { width: 64, layers: 2, heads: 4, kv_heads: 2, hidden: 128, context: 1000000, window: 64, vocab: 300 }
data: { text: none.txt }
END
"$GALERNE" init c.yaml -o m --quiet
size=$(wc -c <m/model.safetensors)

cut() { # TOKENS TO MESSAGE
    rm -f out
    "$GALERNE" run m --ids '1 2 3' --ignore-eos --greedy --max-tokens "$1" --context 1000000 --quiet >out 2>err &
    run=$!
    # Only once tokens come does it read the file over and over.
    n=0
    while [ ! -s out ] && [ $n -lt 3000 ] && kill -0 $run; do
        sleep 0.02
        n=$((n + 1))
    done
    truncate -s "$2" m/model.safetensors
    code=0
    wait $run || code=$?
    cat err
    [ $code -eq 3 ] || { echo "code $code, expected 3"; exit 1; }
    [ "$(wc -l <err)" -eq 1 ] || { echo "expected one line"; exit 1; }
    grep -q "^galerne: m/model.safetensors: $3\$" err || { echo "expected: $3"; exit 1; }
}
cp m/model.safetensors whole
cut 20000 $((size - 4)) "expected the $size bytes .* found $((size - 4)): what was read is not whole"
cp whole m/model.safetensors
cut 1000000 4096 "byte [0-9]* cannot be read any more: expected the $size bytes .* found 4096"

yes 'a line of text' | head -n 4000 >t.txt
cat >t.yaml <<END
model: { width: 32, layers: 1, heads: 2, hidden: 64 }
data: { text: t.txt, valid_fraction: 0.2 }
tokenizer: { train_size: 300 }
batch: { rows: 1, sequence: 16 }
eval: { every: 50, rows: 4 }
steps: 100000000
END
cut_shard() { # NAME
    "$GALERNE" train t.yaml -o "$1" --quiet >/dev/null 2>err &
    run=$!
    n=0
    while ! grep -q '^step 60:' "$1/log.txt" 2>/dev/null && [ $n -lt 600 ] && kill -0 $run; do
        sleep 0.1
        n=$((n + 1))
    done
    truncate -c -s -4 "$1/data/$1.shard"
    code=0
    wait $run || code=$?
    cat err
    [ $code -eq 3 ] || { echo "code $code, expected 3"; exit 1; }
    grep -q "^galerne: $1/data/$1.shard: expected the .* is not whole\$" err || { echo "expected the shard's sizes"; exit 1; }
}
cut_shard train
cut_shard valid

# Where no mapped file is at fault, the signal does what it always did.
mkfifo pipe
"$GALERNE" tokenize "$OLDPWD/tests/golden/text/tiny.model" <pipe >/dev/null 2>err &
run=$!
exec 3>pipe
sleep 0.3 # it reads the pipe by now; if not, the signal ends it all the same
kill -BUS $run
code=0
wait $run 2>/dev/null || code=$?
[ "$(kill -l $code 2>/dev/null)" = BUS ] || { echo "code $code after SIGBUS from elsewhere"; exit 1; }
sed -i '/^qemu: uncaught target signal/d' err # an emulator says so itself
[ ! -s err ] || { cat err; exit 1; }
