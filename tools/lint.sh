#!/bin/sh
# lint.sh: clang-format, clang-tidy and cppcheck over the sources; any complaint fails. SPDX-License-Identifier: Apache-2.0
set -u
for tool in clang-format clang-tidy cppcheck cmake; do
    if ! command -v $tool >/dev/null 2>&1; then
        echo "galerne: $tool is missing; sh tools/deps.sh --ci installs it" >&2
        exit 1
    fi
done
bad=0
all=$(git ls-files '*.c' '*.h' '*.cu' '*.cuh')
# shellcheck disable=SC2086 # file names here hold no blanks
clang-format --dry-run -Werror $all || bad=1
cmake -S . -B build-lint -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DCMAKE_C_COMPILER=clang >/dev/null || exit 1
# What the build here compiles: levels of other processors, and CUDA, are left out with their headers.
git ls-files 'src/*.c' | while read -r file; do grep -q "\"file\": \".*/$file\"" build-lint/compile_commands.json && echo "$file"; done |
    xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p build-lint --warnings-as-errors='*' 2>/dev/null || bad=1
# missingIncludeSystem: the C library needs no checking; normalCheckLevelMaxBranches: says how deep it looked, no defect.
cppcheck --quiet --enable=warning,portability --inline-suppr --error-exitcode=1 --std=c11 -j "$(nproc)" \
    --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches -Iinclude -Isrc src || bad=1
[ $bad -eq 0 ] && echo "lint: nothing to complain about"
exit $bad
