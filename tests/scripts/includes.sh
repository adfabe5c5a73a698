#!/bin/sh
# includes.sh [DIR]: a file of src/ROOM/ includes only its own room and the rooms that rooms.txt grants it; a public
# header only public headers; a model no #if. Prints each offending include. SPDX-License-Identifier: Apache-2.0
set -eu
table=$(dirname "$0")/rooms.txt
cd "${1:-.}"
files=$(find src include -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' | LC_ALL=C sort)
# shellcheck disable=SC2086 # file names here hold no blanks
awk -v table="$table" '
    function grant(room, other,    i, n, part) { # room may use other and all that other may use
        if ((room, other) in may) return
        may[room, other] = 1
        n = split(uses[other], part, " ")
        for (i = 1; i <= n; i++) grant(room, part[i])
    }
    BEGIN {
        while ((getline line < table) > 0) {
            if (line ~ /^#/ || line !~ /:/) continue
            split(line, half, ":")
            uses[half[1]] = half[2]
            known[half[1]] = 1
        }
        for (room in known) grant(room, room)
    }
    FNR == 1 {
        split(FILENAME, path, "/")
        room = path[1] == "include" ? "public" : path[2]
        if (room != "public" && !(room in known)) { print FILENAME ": no such room in rooms.txt: " room; bad = 1 }
    }
    /^[ \t]*#[ \t]*include[ \t]*"/ {
        target = $0
        sub(/^[^"]*"/, "", target)
        sub(/".*/, "", target)
        split(target, part, "/")
        if (part[1] == "galerne") next
        if (room == "public") {
            print FILENAME ":" FNR ": a public header includes \"" target "\""; bad = 1
        } else if (target !~ /\//) {
            print FILENAME ":" FNR ": write \"" target "\" with its room"; bad = 1
        } else if (!((room, part[1]) in may)) {
            print FILENAME ":" FNR ": " room "/ may not include \"" target "\""; bad = 1
        }
    }
    room == "models" && FILENAME ~ /\.c$/ && /^[ \t]*#[ \t]*(if|ifdef|ifndef|elif)/ {
        print FILENAME ":" FNR ": a model has no " $0; bad = 1
    }
    END { exit bad }' $files
