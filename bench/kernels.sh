#!/bin/sh
# kernels.sh BUILD: runs every benchmark program of a build. SPDX-License-Identifier: Apache-2.0
set -eu
found=
for b in "$1"/bench_*; do
    [ -x "$b" ] || continue
    found=yes
    echo "== ${b##*/}"
    "$b"
done
[ -n "$found" ] || echo "galerne: there is no benchmark in $1 yet"
