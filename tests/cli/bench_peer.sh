#!/bin/sh
# bench_peer.sh GALERNE: benchmarks that are interrupted, one while a peer computes, and the text that galerne gives to a
# Python, in a real one with a stand-in for the package. SPDX-License-Identifier: Apache-2.0
set -eu
GALERNE=$1
peers=$(pwd)/tests/cli/peers model=$(pwd)/tests/golden/gguf-mixed
dir=$(mktemp -d)
run=
# The program has ended by itself where all is well: nothing to kill is no failure, and the trap judges nothing.
trap '[ -z "$run" ] || kill -9 $run 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"

# What was measured by then is told, our turn of the cell at hand too, and that it is a part.
FAKE_BAD=hang "$GALERNE" bench "$model" --threads 2 --start --prefill 8 --vs llama.cpp --python "$peers/python" \
    --json >out 2>err &
run=$!
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -s hanging ] || sleep 0.5
done
[ -s hanging ] || { echo "the peer was never asked"; cat err; exit 1; }
kill -INT $run
code=0
wait $run || code=$?
run=
[ $code = 130 ] && [ ! -s err ] || { echo "code $code, expected 130 and no words"; cat err; exit 1; }
grep -q '"partial": true, .*"cells": \[{"what": "start", .*{"what": "memory", [^{]*{[^{]*{[^{]*{"what": "prefill", [^{]*{[^{]*, null\]}\]}$' out ||
    { echo "expected start, memory and our turn of a prompt"; cat out; exit 1; }
! kill -0 "$(cat hanging)" 2>/dev/null || { echo "the peer is still there"; exit 1; }

# Measuring the machine ends at a signal, too, when a number of threads is done.
"$GALERNE" bench --machine --threads 2 --repeats 20 >out 2>err &
run=$!
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do # its second thread comes after its handlers
    [ "$(ls /proc/$run/task | wc -l)" -lt 2 ] || break
    sleep 0.2
done
sleep 0.2
kill -TERM $run
code=0
wait $run || code=$?
run=
[ $code = 130 ] && [ ! -s err ] || { echo "--machine: code $code, expected 130 and no words"; cat err; exit 1; }

command -v python3 >/dev/null || { echo "skipped: the text for a Python, for there is no python3"; exit 77; }

# -S: none of the packages that may be installed.
printf '#!/bin/sh\nexec python3 -S "$@"\n' >bare
chmod +x bare
code=0
PYTHONPATH= "$GALERNE" bench "$model" --prefill 8 --vs llama.cpp --python ./bare 2>err || code=$?
[ $code = 3 ] && grep -q "^galerne: --vs llama.cpp: ./bare has no package llama_cpp .*: ModuleNotFoundError" err ||
    { echo "code $code, expected 3 and why"; cat err; exit 1; }

export PYTHONPATH="$peers/package" PYTHONDONTWRITEBYTECODE=1
bench() {
    "$GALERNE" bench "$model" --threads 2 --tokens 4 --repeats 3 --vs llama.cpp --python ./bare "$@"
}
# It takes 1 ms for a token with flash attention, 3 ms without.
bench --prefill 20,100 --decode 0,30,10 --batch 4,2 --start >out
cat out
grep -q '^against  llama.cpp: llama-cpp-python 0.0.2, no CPU$' out
[ "$(grep -c ' [0-9.]* *[0-9.]*$' out)" = 9 ] || { echo "expected 9 rows with a ratio"; exit 1; }
bench --prefill 20 --decode 3 --start --json >out
python3 -c 'import json, sys; r = json.load(sys.stdin); assert len(r["cells"]) == 4 and len(r["engines"]) == 2, r' <out
rate() { # ARGUMENTS: tokens a second of the peer in the only cell
    bench "$@" --json | sed 's/.*"results": \[{[^}]*}, {"median": \([0-9]*\).*/\1/'
}
on=$(rate --decode 0) off=$(rate --decode 0 --vs-flash off)
[ "$on" -gt 500 ] && [ "$on" -le 1000 ] || [ "$on" -gt "$off" ] || { echo "on $on, off $off"; exit 1; }
[ "$off" -le 334 ] || { echo "without flash attention $off, expected at most 334"; exit 1; }
