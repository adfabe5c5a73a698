#!/bin/sh
# levels.sh: the levels for the other processor compile, where its compiler is installed: a change of the bodies that
# all levels share is seen here, not only by `make test-aarch64`. SPDX-License-Identifier: Apache-2.0
set -eu
cc=aarch64-linux-gnu-gcc
if ! command -v $cc >/dev/null 2>&1 || ! echo '#include <stdlib.h>' | $cc -fsyntax-only -x c - 2>/dev/null; then
    echo "skipped: there is no $cc with its C library (sh tools/deps.sh --aarch64)"
    exit 77
fi
for file in src/kernels/cpu/*neon*.c; do
    case $file in
    *_dot.c) target=-march=armv8.2-a+dotprod ;;
    *_i8mm.c) target=-march=armv8.2-a+dotprod+i8mm ;;
    *) target= ;;
    esac
    # shellcheck disable=SC2086 # a word or none
    $cc $target -std=c17 -Iinclude -Isrc -Wall -Wextra -Werror -DGAL_CPU_NEON=1 -D_DEFAULT_SOURCE -fsyntax-only "$file"
done
