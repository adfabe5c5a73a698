#!/bin/sh
# banned.sh [DIR]: functions that nobody calls (they overflow, truncate silently or run a shell), and what only the
# program may do: print, exit, read the environment. Comments and strings do not count. SPDX-License-Identifier: Apache-2.0
set -eu
cd "${1:-.}"
files=$(find src include tests fuzz bench examples -name '*.[ch]' -o -name '*.cu' 2>/dev/null | LC_ALL=C sort)
# shellcheck disable=SC2086 # file names here hold no blanks
awk '
    function strip(s,    out, c, two, i, quote) {
        out = ""
        for (i = 1; i <= length(s); i++) {
            c = substr(s, i, 1)
            two = substr(s, i, 2)
            if (comment) { if (two == "*/") { comment = 0; i++ } continue }
            if (quote != "") { if (c == "\\") i++; else if (c == quote) quote = ""; continue }
            if (two == "/*") { comment = 1; i++; continue }
            if (two == "//") break
            if (c == "\"" || c == "\047") { quote = c; continue }
            out = out c
        }
        return out
    }
    function refuse(words, why,    n, w, i) {
        n = split(words, w, " ")
        for (i = 1; i <= n; i++) if (code ~ ("(^|[^A-Za-z0-9_>.])" w[i] "[ \t]*\\(")) {
            print FILENAME ":" FNR ": " w[i] "(): " why
            bad = 1
        }
    }
    FNR == 1 { comment = 0; library = FILENAME ~ /^(src|include)\// && FILENAME !~ /^src\/cli\// }
    {
        code = strip($0)
        refuse("strcpy strcat sprintf vsprintf gets atoi atol atoll atof strtok alloca", "banned, see docs/internals/style.md")
        if (FILENAME !~ /^tests\//) refuse("system popen", "banned, see docs/internals/style.md")
        # free() stays allowed: what another library allocated is freed by its rules.
        if (FILENAME ~ /^src\// && FILENAME != "src/base/mem.c")
            refuse("malloc calloc realloc aligned_alloc posix_memalign strdup strndup", "memory passes through base/mem.h")
        if (library) refuse("getenv secure_getenv setenv", "only the program reads the environment")
        if (library && FILENAME != "src/base/err.c") {
            refuse("printf fprintf vprintf vfprintf puts fputs fputc putchar perror exit _exit abort", "only the program prints and ends")
            if (code ~ /(^|[^A-Za-z0-9_])(stdout|stderr)([^A-Za-z0-9_]|$)/) {
                print FILENAME ":" FNR ": only the program prints"
                bad = 1
            }
        }
    }
    END { exit bad }' $files
