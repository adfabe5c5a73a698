#!/bin/sh
# deps.sh [--ci | --fuzz | --aarch64 | --old-x86 | --valgrind | --list]: installs the packages that galerne needs and
# this machine lacks. Says nothing when none is missing. --ci adds the other compilers, the linters and a terminal,
# --fuzz clang with its libFuzzer, --aarch64 the cross compiler and the emulator of tools/aarch64.sh, --old-x86 the
# emulator of tools/old-x86.sh; --list only prints the packages. SPDX-License-Identifier: Apache-2.0
set -eu

# libc6-dev: gcc only recommends it. g++: one test compiles the public headers as C++. cmocka: tests only.
packages='gcc libc6-dev g++ make cmake pkg-config libjansson-dev libyaml-dev libsqlite3-dev libzstd-dev libpcre2-dev libplplot-dev
plplot-driver-cairo libedit-dev libmicrohttpd-dev libcmocka-dev zlib1g-dev'
for option; do
    case $option in
    --ci) packages="$packages clang clang-format clang-tidy cppcheck tmux gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;;
    --fuzz) packages="$packages clang libclang-rt-dev" ;;
    --valgrind) packages="$packages valgrind" ;;
    --old-x86) packages="$packages qemu-user-static" ;;
    --aarch64) packages="$packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static" ;;
    --list)
        # shellcheck disable=SC2086 # a list of words
        echo $packages
        exit 0
        ;;
    *)
        echo "galerne: deps.sh: unknown option $option" >&2
        exit 2
        ;;
    esac
done

if ! command -v apt-get >/dev/null 2>&1; then
    missing=
    for tool in cmake pkg-config; do command -v $tool >/dev/null 2>&1 || missing="$missing $tool"; done
    command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || missing="$missing gcc"
    for lib in jansson yaml-0.1 sqlite3 libzstd libpcre2-8 plplot cmocka zlib; do
        pkg-config --exists $lib 2>/dev/null || missing="$missing $lib"
    done
    [ -z "$missing" ] && exit 0
    echo "galerne: this system has no apt-get, so install these yourself (names as pkg-config knows them):$missing" >&2
    echo "galerne: plplot needs its cairo driver; libedit (line editing) and libmicrohttpd (runs serve) are optional" >&2
    exit 1
fi

missing=
for p in $packages; do
    case "$(dpkg-query -W -f '${Status}' "$p" 2>/dev/null)" in
        *' installed') ;;
        # pkgconf takes pkg-config's place on newer systems
        *) { [ "$p" = pkg-config ] && command -v pkg-config >/dev/null 2>&1; } || missing="$missing $p" ;;
    esac
done
[ -z "$missing" ] && exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "galerne: as root, run: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
echo "installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # a list of words
if ! { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update &&
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -20 "$log" >&2
    echo "galerne: apt-get could not install:$missing" >&2
    exit 1
fi
