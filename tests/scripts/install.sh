#!/bin/sh
# install.sh BUILD CC: installs into a temporary place and builds the program of tests/install/ there from outside, by
# pkg-config alone, against the shared and the static library, and by CMake. SPDX-License-Identifier: Apache-2.0
set -eu
[ $# -gt 0 ] || { echo "skipped: pkg-config here knows no libraries of the other processor"; exit 77; }
build=$1 cc=$2
root=$(pwd)
sources=$root/tests/install
model=$root/tests/golden/mistral-base
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cmake --install "$build" --prefix "$dir/usr" >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
pc=$(find "$dir/usr" -name galerne.pc)
[ -n "$pc" ] || { echo "no galerne.pc was installed"; exit 1; }
lib=$(dirname "$(dirname "$pc")")
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
cd "$dir"

# try WAY PROGRAM: it has the version of galerne.pc and continues ids as the installed program does. (That the program
# continues them as the reference does is the tests of the model.)
version=$(pkg-config --modversion galerne)
want=$("$dir/usr/bin/galerne" run "$model" --ids '1 2 3' --greedy --ignore-eos --max-tokens 8 --quiet)
try() {
    found=$("$2" version)
    [ "$found" = "$version" ] || { echo "$1: version $found, galerne.pc says $version"; exit 1; }
    found=$("$2" generate "$model" 8 1 2 3)
    [ "$found" = "$want" ] || { echo "$1: generates '$found', the program '$want'"; exit 1; }
}
[ "$(echo "$want" | wc -w)" -eq 8 ] || { echo "the program made no 8 ids: '$want'"; exit 1; }
# shellcheck disable=SC2046 # flags are several words
$cc -std=c17 -Wall -Werror "$sources/outside.c" -o outside $(pkg-config --cflags --libs galerne) -Wl,-rpath,"$lib"
try shared ./outside
# shellcheck disable=SC2046
$cc -std=c17 -Wall -Werror "$sources/outside.c" -o outside-static $(pkg-config --cflags galerne) "$lib/libgalerne.a" \
    $(pkg-config --static --libs galerne | sed 's/-lgalerne//')
try static ./outside-static
cmake -S "$sources" -B cmake-build -DCMAKE_PREFIX_PATH="$dir/usr" -DCMAKE_C_COMPILER="$cc" >log 2>&1 &&
    cmake --build cmake-build >>log 2>&1 || { cat log; exit 1; }
try CMake ./cmake-build/outside
# Nothing that is internal was installed.
find "$dir/usr/include" -type f | grep -v '/galerne/[a-z_]*\.h$' && exit 1
echo "an outside program runs with galerne $version: shared, static, CMake"
