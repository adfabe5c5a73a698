#!/bin/sh
# run-tests.sh quick|all [-E PATTERN] [-R PATTERN] BUILD...: runs CTest in each build folder (without the tests whose
# name matches -E, and of the others those with -R only) and closes with one line that sums the tests inside all
# programs: "N passed, N failed, N skipped". The exit status is the verdict. A program that dies before it counted
# counts as one failure, a script as one test. SPDX-License-Identifier: Apache-2.0
set -u
which=$1
shift
label=
[ "$which" = quick ] && label='-L quick'
without='^$'
only=.
if [ "$1" = -E ]; then without=$2; shift 2; fi
if [ "$1" = -R ]; then only=$2; shift 2; fi
jobs=$(nproc 2>/dev/null || echo 2)
verdict=0
total=$(mktemp)
trap 'rm -f "$total"' EXIT
for build in "$@"; do
    echo "== $build"
    # shellcheck disable=SC2086 # two words or none
    ctest --test-dir "$build" $label -R "$only" -E "$without" -j "$jobs" --output-on-failure --no-tests=error || verdict=1
    log=$build/Testing/Temporary/LastTest.log
    [ -f "$log" ] || continue
    awk '
        function close_test() {
            if (!open) return
            if (!p && !f && !s) { if (status == "passed") p = 1; else if (status == "skipped") s = 1 }
            if (status == "failed" && !f) f = 1
            print p + 0, f + 0, s + 0
            open = 0
        }
        /^[0-9]+\/[0-9]+ Testing: / { close_test(); open = 1; p = f = s = 0; status = "failed" }
        /^\[  PASSED  \] [0-9]+ test\(s\)/ { p += $4 }
        /^\[  FAILED  \] [0-9]+ test\(s\)/ { f += $4 }
        /^\[  SKIPPED \] [0-9]+ test\(s\)/ { s += $4 }
        /^Test Passed\./ { status = "passed" }
        /^Test Skipped|\*\*\*Skipped/ { status = "skipped" }
        /^Test Failed\./ { status = "failed" }
        END { close_test() }' "$log" >>"$total"
done
awk -v verdict=$verdict '
    { p += $1; f += $2; s += $3 }
    END { if (verdict && !f) f = 1; printf "%d passed, %d failed, %d skipped\n", p, f, s }' "$total"
exit $verdict
