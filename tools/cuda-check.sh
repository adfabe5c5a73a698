#!/bin/sh
# cuda-check.sh [DIR [PART]]: on a machine with a GPU, runs the tests and benchmark of a bundle (cuda-bundle.sh) or of a
# build folder; PART kernels or model: only those. The model's part wants to be run in the project's folder. A summary
# comes last. Exit status: 0 passed, 1 failed, 77 no GPU was found.
# SPDX-License-Identifier: Apache-2.0
set -u
dir=${1:-$(dirname "$0")} part=${2:-all}
out=${OUT:-$dir}
# cuBLASLt: the toolkit's, or that of a Python environment.
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
paths=$dir/lib:$(dirname "$(dirname "$nvcc")")/lib64:/usr/local/cuda/lib64:/usr/local/cuda/targets/x86_64-linux/lib
for p in /usr/local/cuda-13*/lib64 /usr/lib/x86_64-linux-gnu $(python3 -c '
import glob, sys
for d in sys.path:
    for f in glob.glob(d + "/nvidia/*/lib/libcublasLt.so.13"): print(f.rsplit("/", 1)[0])' 2>/dev/null); do
    paths=$paths:$p
done
LD_LIBRARY_PATH=$paths${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null
missing=$(ldd "$dir/test_kernels_cuda" "$dir/test_parity" 2>/dev/null | grep "not found")
if [ -n "$missing" ]; then
    echo "cuda-check: libraries are missing: $missing"
    find / -name 'libcublasLt.so*' -not -path '/proc/*' 2>/dev/null | head -5
    exit 1
fi
status=0 summary=
# step NAME SECONDS COMMAND...: runs it, and keeps its verdict for the end. Without a GPU it is the last one.
step() {
    name=$1 limit=$2 from=$(date +%s)
    shift 2
    echo "== $*"
    timeout "$limit" "$@" </dev/null >"$out/cuda-$name.txt" 2>&1
    code=$?
    tail -n 60 "$out/cuda-$name.txt"
    if grep 'cuda: no such device' "$out/cuda-$name.txt"; then exit 77; fi
    [ $code -eq 0 ] || status=1
    summary="$summary
cuda-check: $name: exit $code, $(($(date +%s) - from)) s"
}
if [ "$part" != model ]; then
    step kernels 150 "$dir/test_kernels_cuda"
    step bench 60 "$dir/bench_kernels" cuda
fi
if [ "$part" != kernels ] && [ -x "$dir/test_parity" ]; then
    run=$(mktemp -d)
    step parity 150 "$dir/test_parity" cuda
    step decoding 60 "$dir/test_infer_session" test_cuda
    step training 120 "$dir/test_train" cuda
    step demo 120 "$dir/galerne" train examples/demo.yaml --device cuda -o "$run/demo"
    step text 30 "$dir/galerne" run "$run/demo" --device cuda -p Heathcliff --max-tokens 200 --seed 1
    step eager 30 "$dir/galerne" run "$run/demo" --device cuda -p Heathcliff --max-tokens 200 --seed 1 --eager
    cp "$run/demo/log.txt" "$out/cuda-demo-log.txt"
    # The last line is the speed.
    if [ "$(sed '$d' "$out/cuda-text.txt")" != "$(sed '$d' "$out/cuda-eager.txt")" ]; then
        summary="$summary
cuda-check: the recorded text is not the eager one"
        status=1
    fi
    rm -rf "$run"
fi
echo "$summary"
exit $status
