#!/bin/sh
# page.sh: what of the page's script needs no page, under node; without one it is skipped. SPDX-License-Identifier: Apache-2.0
set -eu
command -v node >/dev/null || { echo "skipped: no node here"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
page=src/serve/runs_page.html
# It becomes a C string, and nothing in it may come from elsewhere.
if LC_ALL=C grep -n '[^ -~]' $page || grep -nE '(src|href)="|@import|url\([^#]|innerHTML|insertAdjacentHTML|document\.write|eval\(' $page; then
    echo "expected ASCII, no addresses and no markup made of text"
    exit 1
fi
sed -n '/^<script>$/,/^<\/script>$/p' $page | sed '1d;$d' >"$dir/whole.js"
node --check "$dir/whole.js"
sed -n '/begin of what needs no page/,/end of what needs no page/p' "$dir/whole.js" >"$dir/part.js"
cat "$dir/part.js" tests/serve/page.js >"$dir/test.js"
node "$dir/test.js"
