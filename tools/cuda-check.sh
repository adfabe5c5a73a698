#!/bin/sh
# cuda-check.sh [DIR]: on a machine with a GPU, runs the kernels' tests and benchmark of a bundle (cuda-bundle.sh) or of a
# build folder, within about two minutes; a summary comes last. Exit status: 0 passed, 1 failed, 77 no GPU was found.
# SPDX-License-Identifier: Apache-2.0
set -u
dir=${1:-$(dirname "$0")}
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
missing=$(ldd "$dir/test_kernels_cuda" | grep 'not found')
if [ -n "$missing" ]; then
    echo "cuda-check: libraries are missing: $missing"
    find / -name 'libcublasLt.so*' -not -path '/proc/*' 2>/dev/null | head -5
    exit 1
fi
begin=$(date +%s)
timeout 150 "$dir/test_kernels_cuda" >"$out/cuda-test.txt" 2>&1
status=$?
cat "$out/cuda-test.txt"
middle=$(date +%s)
if grep -q '^skipped: ' "$out/cuda-test.txt"; then
    echo "cuda-check: $(grep '^skipped: ' "$out/cuda-test.txt" | head -1)"
    exit 77
fi
timeout 60 "$dir/bench_kernels" cuda >"$out/cuda-bench.txt" 2>&1
cat "$out/cuda-bench.txt"
passed=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$out/cuda-test.txt" | head -1)
failed=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$out/cuda-test.txt" | head -1)
echo "cuda-check: exit $status, ${passed:-0} passed, ${failed:-0} failed; tests $((middle - begin)) s, benchmark $(($(date +%s) - middle)) s"
[ $status -eq 0 ]
