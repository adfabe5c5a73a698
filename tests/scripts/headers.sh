#!/bin/sh
# headers.sh CC: every public header compiles alone, as C17 and as C++17. SPDX-License-Identifier: Apache-2.0
set -eu
cc=$1
bad=0
flags='-Iinclude -Wall -Wextra -Wpedantic -Werror -fsyntax-only'
for h in include/galerne/*.h; do
    line="#include \"galerne/${h##*/}\""
    # shellcheck disable=SC2086 # a list of flags
    echo "$line" | $cc -std=c17 $flags -x c - || { echo "$h: not alone as C17"; bad=1; }
    command -v g++ >/dev/null 2>&1 || continue
    # shellcheck disable=SC2086
    echo "$line" | g++ -std=c++17 $flags -x c++ - || { echo "$h: not alone as C++17"; bad=1; }
done
[ $bad -eq 0 ] || exit 1
command -v g++ >/dev/null 2>&1 || { echo "skipped: no g++, the headers were tried as C only"; exit 77; }
