#!/bin/sh
# bench_models.sh GALERNE: bench/models.py on models that are given, generated, and made by galerne itself, beside
# stand-ins. What it did once it does not do again. SPDX-License-Identifier: Apache-2.0
set -eu
GALERNE=$1
command -v python3 >/dev/null || { echo "skipped: there is no python3"; exit 77; }
peers=$(pwd)/tests/cli/peers golden=$(pwd)/tests/golden/gguf-mixed/model.gguf tool=$(pwd)/bench/models.py
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset PYTHON PEER GENERATOR MODELS ONLY ARGS

fail() {
    echo "$*"
    cat out err
    exit 1
}
bench() { # ARGUMENTS: their code is 0
    python3 "$tool" --galerne "$GALERNE" --folder kept --threads 2 --repeats 1 --tokens 3 "$@" >out 2>err || fail "code $?"
}
row() { # PATTERN
    grep -Eq "^\| $1 \|\$" out || fail "expected a row: $1"
}

export PYTHON="$peers/python"
cp "$golden" own.gguf
export MODELS=own.gguf
number='[0-9.]+' ratio='[0-9.]+'
export PEER="one=$peers/llama-bench ; two=$peers/llama-bench --mlock"
bench --cells '--prefill 8 --batch 1,2 --start'
row 'file \| first token \| memory, 256 tokens \| prefill 8 \| decode at 0 \| decode x 2'
row "own \| $number s \($ratio; -; -\) \| $number GiB \($ratio; -; -\) \| $number \([0-9]+/[0-9]+ %; $ratio; $ratio; $ratio\) \| $number \([0-9]+/[0-9]+ %; $ratio; $ratio; $ratio\) \| $number \([0-9]+/[0-9]+ %; $ratio; -; -\)"
grep -q '^- llama.cpp: llama-cpp-python 0.0.1, a stand-in$' out || fail "expected what measured"
asked=$(wc -l <asked.txt)
bench --cells '--prefill 8 --batch 1,2 --start'
grep -q 'own: kept' err && [ "$(wc -l <asked.txt)" = "$asked" ] || fail "expected nothing to be measured again"
row 'own \|.*'
bench --cells '--prefill 8 --batch 1,2 --start' --fresh
[ "$(wc -l <asked.txt)" -gt "$asked" ] || fail "expected all to be measured again"

# Generated: one at a time, and removed. Nobody to compare with but programs.
unset MODELS PYTHON
mkdir path # -S: none of the packages that may be installed
printf '#!/bin/sh\nexec %s -S "$@"\n' "$(command -v python3)" >path/python3
chmod +x path/python3
PATH=$dir/path:$PATH
printf 'import shutil, sys\nprint(*sys.argv[2:], file=open("made.txt", "a"))\nshutil.copy("own.gguf", sys.argv[1])\n' >make.py
GENERATOR=make.py ONLY=3b,7b-Q8_0 bench --cells '--prefill 8'
row '3b-Q4_K \|.*'
row '3b-Q8_0 \|.*'
row '7b-Q8_0 \|.*'
[ "$(tr '\n' ';' <made.txt)" = '--shape 3b --type Q4_K;--shape 3b --type Q8_0;--shape 7b --type Q8_0;' ] ||
    fail "made: $(cat made.txt)"
[ -z "$(find kept -name '*.gguf')" ] || fail "models are left"

# Made by galerne. The tool is moved: where a generator lies beside the sources, it would take that.
cp "$tool" models.py
tool=$dir/models.py
PEER="$peers/llama-bench" ONLY=tiny-Q8_0 bench --cells '--prefill 8 --decode 4'
row "tiny-Q8_0 \| $number \([0-9]+/[0-9]+ %; $ratio\) \| $number \([0-9]+/[0-9]+ %; $ratio\)"
grep -q 'llama.cpp is left out' err || fail "expected to be told of llama.cpp"
[ -z "$(find kept -name '*.gguf' -o -name 'random-*')" ] || fail "models are left"

ONLY=nothing python3 "$tool" --galerne "$GALERNE" --folder kept >out 2>err && fail "expected a failure"
grep -q '^bench: ONLY=nothing: expected some of 1b-Q4_K ' err || fail "expected the reason"
MODELS=nowhere.gguf python3 "$tool" --galerne "$GALERNE" --folder kept >out 2>err && fail "expected a failure"
grep -q '^bench: MODELS: nowhere.gguf is not there$' err || fail "expected the reason"
