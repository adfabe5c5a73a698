#!/bin/sh
# text.sh [DIR]: every source (lists of files in CMakeLists.txt aside) says its licence, and nothing is left to be done in a comment.
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "${1:-.}"
bad=0
files=$(find src include tests fuzz bench examples tools cmake dev .ci \( -name '*.[ch]' -o -name '*.cu' -o -name '*.sh' -o \
    -name '*.py' -o -name '*.cmake' -o -path '.ci/*' \) -type f 2>/dev/null | LC_ALL=C sort)
for f in $files Makefile CMakeLists.txt; do
    [ -f "$f" ] || continue
    # clang-format may have wrapped the line.
    head -40 "$f" | tr -s ' *\n' ' ' | grep -q 'SPDX-License-Identifier: Apache-2.0' || { echo "$f: no SPDX-License-Identifier"; bad=1; }
done
# shellcheck disable=SC2086 # file names here hold no blanks
if grep -nwE "TO""DO|FIX""ME|X""XX" $files; then
    echo "finish it, or describe it in dev/PLAN.md"
    bad=1
fi
exit $bad
