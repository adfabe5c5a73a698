#!/bin/sh
# page.sh: what of the page's script needs no page, under node; without one it is skipped. SPDX-License-Identifier: Apache-2.0
set -eu
command -v node >/dev/null || { echo "skipped: no node here"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
script="src/serve/runs_numbers.js src/serve/runs_curves.js src/serve/runs_parts.js" # in the page's order
# It becomes a C string, and nothing in it may come from elsewhere.
# shellcheck disable=SC2086 # a list
if LC_ALL=C grep -n '[^ -~]' src/serve/runs_page.* $script ||
    grep -nE '(src|href)="|@import|url\([^#]|innerHTML|insertAdjacentHTML|document\.write|eval\(' src/serve/runs_page.* $script; then
    echo "expected ASCII, no addresses and no markup made of text"
    exit 1
fi
# shellcheck disable=SC2086
cat $script >"$dir/whole.js"
node --check "$dir/whole.js"
# The page takes in just these, in this order.
# shellcheck disable=SC2086
if [ "$(sed -n 's/^@insert \(.*\)@$/src\/serve\/\1/p' src/serve/runs_page.html | tr '\n' ' ')" != "src/serve/runs_page.css $script " ]; then
    echo "expected runs_page.html to insert runs_page.css and $script"
    exit 1
fi
cat src/serve/runs_numbers.js tests/serve/page.js >"$dir/test.js"
node "$dir/test.js"
