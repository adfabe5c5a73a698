#!/bin/sh
# self.sh: the checks of the sources find what they are for, in a small tree that breaks each rule once.
# SPDX-License-Identifier: Apache-2.0
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/src/base" "$dir/src/ops" "$dir/src/models" "$dir/src/cli" "$dir/include/galerne" "$dir/tests"
bad=0

# expect SCRIPT PATTERN: the script fails and says so.
expect() {
    if out=$(sh "$here/$1.sh" "$dir" 2>&1); then
        echo "$1.sh did not notice: $2"
        bad=1
    elif ! echo "$out" | grep -q "$2"; then
        echo "$1.sh failed without: $2"
        echo "$out"
        bad=1
    fi
}
pass() {
    out=$(sh "$here/$1.sh" "$dir" 2>&1) || { echo "$1.sh complains about a clean tree: $out"; bad=1; }
}

spdx='/* SPDX-License-Identifier: Apache-2.0 */'
printf '%s\n#include "base/b.h"\n#include "galerne/core.h"\nint f(void) { return 0; } /* printf( */\n' "$spdx" >"$dir/src/base/a.c"
printf '%s\nconst char *s = "exit(1); strcpy(a, b)";\n' "$spdx" >"$dir/src/ops/a.c"
for s in includes budgets banned text; do pass $s; done

echo '#include "ops/ops.h"' >>"$dir/src/base/a.c"
expect includes 'src/base/a.c:5: base/ may not include "ops/ops.h"'
printf '%s\n#ifdef X\n#endif\n' "$spdx" >"$dir/src/models/m.c"
expect includes 'src/models/m.c:2'
printf '%s\nint g(char *a) { return printf("%%s", a); }\n' "$spdx" >"$dir/src/ops/b.c"
expect banned 'src/ops/b.c:2: printf()'
printf '%s\nvoid h(char *a) { strcpy(a, a); }\n' "$spdx" >"$dir/src/cli/c.c"
expect banned 'src/cli/c.c:2: strcpy()'
echo 'int x;' >"$dir/src/base/nolicence.c"
expect text 'nolicence.c: no SPDX'
awk 'BEGIN { print "static int long_one(int a,\n                    int b) {"; for (i = 0; i < 160; i++) print "    a++;"; print "}" }' \
    >"$dir/src/base/long.c"
expect budgets 'src/base/long.c:1: function long_one: 163 lines'
awk 'BEGIN { for (i = 0; i < 401; i++) print "" }' >"$dir/src/models/big.c"
expect budgets 'src/models/big.c: 401 lines'
exit $bad
