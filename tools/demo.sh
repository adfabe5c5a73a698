#!/bin/sh
# demo.sh: trains the small model of examples/demo.yaml, shows where its loss curve is, continues a prompt with it, and, at a
# terminal, continues what is typed. Needs no network. Usage: tools/demo.sh [--text FILE] [--prompt TEXT]
# SPDX-License-Identifier: Apache-2.0
set -eu
from=$PWD
cd "$(dirname "$0")/.."
here=$PWD
text=
prompt="Heathcliff"
usage() {
    echo "usage: tools/demo.sh [--text FILE] [--prompt TEXT]" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --text) [ $# -ge 2 ] || usage; text=$2; prompt="The"; shift 2 ;;
    --text=*) text=${1#--text=}; prompt="The"; shift ;;
    --prompt) [ $# -ge 2 ] || usage; prompt=$2; shift 2 ;;
    *) usage ;;
    esac
done
case $text in
"" | /*) ;;
*) text=$from/$text ;; # relative to where the caller stands
esac
galerne=$here/build/galerne
run=runs/demo
if [ ! -x "$galerne" ]; then
    echo "build/galerne is missing: run make build" >&2
    exit 1
fi
# Only a run that this script made is replaced.
if [ -e "$run" ]; then
    if [ ! -e "$run/.demo" ]; then
        echo "$run is there already and is not the demo's: move it away" >&2
        exit 1
    fi
    rm -rf "$run"
fi
mkdir -p "$run"
: >"$run/.demo"

echo "== training a small Mistral (examples/demo.yaml); Ctrl-C saves and stops"
set -- train examples/demo.yaml -o "$run"
if [ -n "$text" ]; then
    set -- "$@" --set "data.text=$text" --set 'sample.prompts=[]'
fi
"$galerne" "$@" </dev/null

echo
echo "== the loss curve: $here/$run/plots/loss.png and loss.svg"
"$galerne" runs show "$run"
echo
echo "== build/galerne run $run -p \"$prompt\""
"$galerne" run "$run" -p "$prompt" --max-tokens 100 --temperature 0.8 --seed 1 </dev/null
echo
if [ -t 0 ] && [ -t 1 ]; then
    echo
    echo "== your turn: type the beginning of a sentence; Ctrl-D ends"
    "$galerne" run "$run" --max-tokens 100 --temperature 0.8
fi
