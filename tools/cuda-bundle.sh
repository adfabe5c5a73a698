#!/bin/sh
# cuda-bundle.sh BUILD DIR [PROGRAM...]: collects programs of a CUDA build (make build-cuda) in DIR, with the libraries
# that they need beside the C library's and cuBLASLt, so that they run on a machine with a GPU where nothing of this is
# installed: copy DIR there and run `sh DIR/cuda-check.sh`. SPDX-License-Identifier: Apache-2.0
set -eu
build=$1 dir=$2
shift 2
[ $# -gt 0 ] || set -- test_kernels_cuda bench_kernels test_parity test_infer_session test_train galerne
rm -rf "$dir"
mkdir -p "$dir/lib"
for p in "$@"; do
    cp "$build/$p" "$dir/"
    # Libraries of the C compiler's own set come with every system; cuBLASLt is large, and wherever CUDA is.
    ldd "$build/$p" | awk '$3 ~ /^\// { print $3 }' |
        grep -vE '/(ld-linux|libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|libcublasLt|libcuda)[.-]' |
        while read -r l; do cp -L "$l" "$dir/lib/"; done
done
(cd "$dir" && strip --strip-debug "$@")
cp "$(dirname "$0")/cuda-check.sh" "$dir/"
du -sh "$dir" | awk '{ print "bundle: " $2 ", " $1 }'
