#!/bin/sh
# install.sh BUILD CC: installs into a temporary place and builds the program of tests/install/ there from outside, by
# pkg-config alone, against the shared and the static library, and by CMake. SPDX-License-Identifier: Apache-2.0
set -eu
build=$1 cc=$2
sources=$(pwd)/tests/install
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cmake --install "$build" --prefix "$dir/usr" >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
pc=$(find "$dir/usr" -name galerne.pc)
[ -n "$pc" ] || { echo "no galerne.pc was installed"; exit 1; }
lib=$(dirname "$(dirname "$pc")")
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
cd "$dir"

# The version is that of the header.
version=$(pkg-config --modversion galerne)
# shellcheck disable=SC2046 # flags are several words
$cc -std=c17 -Wall -Werror "$sources/outside.c" -o outside $(pkg-config --cflags --libs galerne)
found=$(LD_LIBRARY_PATH=$lib ./outside version)
[ "$found" = "$version" ] || { echo "shared: version $found, galerne.pc says $version"; exit 1; }
# shellcheck disable=SC2046
$cc -std=c17 -Wall -Werror "$sources/outside.c" -o outside-static $(pkg-config --cflags galerne) "$lib/libgalerne.a" \
    $(pkg-config --static --libs galerne | sed 's/-lgalerne//')
found=$(./outside-static version)
[ "$found" = "$version" ] || { echo "static: version $found, galerne.pc says $version"; exit 1; }
cmake -S "$sources" -B cmake-build -DCMAKE_PREFIX_PATH="$dir/usr" -DCMAKE_C_COMPILER="$cc" >log 2>&1 &&
    cmake --build cmake-build >>log 2>&1 || { cat log; exit 1; }
found=$(./cmake-build/outside version)
[ "$found" = "$version" ] || { echo "CMake: version $found, galerne.pc says $version"; exit 1; }
[ ! -e "$dir/usr/bin/galerne" ] || "$dir/usr/bin/galerne" version >/dev/null
# Nothing that is internal was installed.
find "$dir/usr/include" -type f | grep -v '/galerne/[a-z_]*\.h$' && exit 1
echo "an outside program runs with galerne $version: shared, static, CMake"
