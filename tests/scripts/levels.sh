#!/bin/sh
# levels.sh: the level for the other processor compiles, where its compiler is installed: a change of the bodies that
# all levels share is seen here, not only by `make test-aarch64`. SPDX-License-Identifier: Apache-2.0
set -eu
cc=aarch64-linux-gnu-gcc
if ! command -v $cc >/dev/null 2>&1 || ! echo '#include <stdlib.h>' | $cc -fsyntax-only -x c - 2>/dev/null; then
    echo "skipped: there is no $cc with its C library (sh tools/deps.sh --aarch64)"
    exit 77
fi
for file in src/kernels/cpu/*neon*.c; do
    $cc -std=c17 -Iinclude -Isrc -Wall -Wextra -Werror -DGAL_CPU_NEON=1 -D_DEFAULT_SOURCE -fsyntax-only "$file"
done
