#!/bin/sh
# budgets.sh [DIR]: how long files and functions may be. A file 800 lines (1,500 never), a function 80 (150 never), a
# model 400, a public header 500, the heart (src/core and the arena) under 1,500 in all. SPDX-License-Identifier: Apache-2.0
set -eu
cd "${1:-.}"
files=$(find src include tests fuzz bench examples -name '*.[ch]' -o -name '*.cu' 2>/dev/null | LC_ALL=C sort)
# shellcheck disable=SC2086 # file names here hold no blanks
awk '
    function say(limit, never, n, what) {
        if (n > never) { print "error: " what ": " n " lines, at most " never; bad = 1 }
        else if (n > limit) print "warning: " what ": " n " lines, aim at " limit
    }
    function close_file() {
        if (file == "") return
        if (file ~ /^src\/models\/.*\.c$/) say(400, 400, lines, file)
        else if (file ~ /^include\//) say(500, 500, lines, file)
        else say(800, 1500, lines, file)
        if (file ~ /^src\/(core\/|base\/arena\.)/) heart += lines
    }
    FNR == 1 { close_file(); file = FILENAME; first = 0; inside = 0 }
    { lines = FNR }
    # clang-format puts the first line of a function, and the brace that ends it, in column 1, and nothing else of it.
    inside && /^}/ { inside = 0; say(80, 150, FNR - first + 1, file ":" first ": function " name); next }
    !inside && /^[A-Za-z_]/ { first = FNR; head = "" }
    !inside && first { head = head $0 }
    !inside && first && /\{$/ {
        if (head ~ /^[^=]*\(/ && head !~ /^(typedef|struct|enum|union|extern "C")/) {
            inside = 1
            name = head
            sub(/\(.*/, "", name)
            sub(/.*[ *]/, "", name)
        } else first = 0
    }
    !inside && /[;}]$/ { first = 0 }
    END {
        close_file()
        if (heart >= 1500) { print "error: the heart: " heart " lines, it must stay under 1500"; bad = 1 }
        print "the heart: " heart " lines"
        exit bad
    }' $files
