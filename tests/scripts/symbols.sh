#!/bin/sh
# symbols.sh LIBRARY: what the shared library exports is what docs/symbols.txt promises. SPDX-License-Identifier: Apache-2.0
set -eu
have=$(mktemp) want=$(mktemp)
trap 'rm -f "$have" "$want"' EXIT
nm -D --defined-only "$1" | awk '{ sub(/@.*/, "", $3); print $3 }' | LC_ALL=C sort >"$have"
sed 's/#.*//; /^ *$/d' docs/symbols.txt | awk '{ print $1 }' | LC_ALL=C sort >"$want"
if ! cmp -s "$want" "$have"; then
    echo "docs/symbols.txt and the library disagree (- promised but absent, + exported but not listed):"
    diff -u "$want" "$have" | sed '1,3d' | grep '^[-+]'
    exit 1
fi
