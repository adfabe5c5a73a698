#!/bin/sh
# aarch64.sh [quick|all]: builds for 64-bit ARM and runs the tests there, under qemu's user mode where this machine is
# another; those of kernels on newer processors, too, which have dot products and i8mm. Closes with the summary line of
# run-tests.sh. Nothing is installed for the foreign architecture: its packages are fetched with this distribution's
# sources and keys (apt-get with folders of its own) and unpacked below build-aarch64/sysroot, once.
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."
which=${1:-quick}
build=build-aarch64
root=$PWD/$build/sysroot
jobs=$(nproc 2>/dev/null || echo 2)

if [ "$(uname -m)" = aarch64 ]; then
    make -s build
    exec sh tools/run-tests.sh "$which" build
fi
for tool in aarch64-linux-gnu-gcc apt-get dpkg-deb cmake pkg-config; do
    command -v $tool >/dev/null 2>&1 || { echo "galerne: $tool is missing; sh tools/deps.sh --aarch64 installs it" >&2; exit 1; }
done

# fetch FOLDER: the libraries that the build links, and all that they need; but of libplplot-dev only itself, since it
# asks for a Fortran compiler and three toolkits of windows.
fetch() {
    mkdir -p "$1/lists/partial" "$1/archives/partial" "$1/alone"
    : >"$1/status"
    cat >"$1/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Dir::State "$1";
Dir::State::status "$1/status";
Dir::Cache "$1";
Debug::NoLocking "true";
CONF
    export APT_CONFIG="$1/apt.conf"
    apt-get -q update
    # shellcheck disable=SC2086 # a list of words
    apt-get -q -y --download-only install libc6-dev $packages
    (cd "$1/alone" && apt-get -q download libplplot-dev)
    unset APT_CONFIG
}

packages=$(sh tools/deps.sh --list | tr ' ' '\n' | grep -E '^(lib.*-dev|zlib1g-dev|plplot-driver-.*)$' |
    grep -vx -e libc6-dev -e libplplot-dev | tr '\n' ' ')
if [ "$(cat "$root/complete" 2>/dev/null)" != "$packages" ]; then
    echo "== packages for arm64"
    rm -rf "$root" "$build/apt"
    mkdir -p "$root" "$build/apt"
    log=$build/apt/log
    fetch "$PWD/$build/apt" >"$log" 2>&1 || { tail -20 "$log" >&2; exit 1; }
    for package in "$build"/apt/archives/*.deb "$build"/apt/alone/*.deb; do dpkg-deb -x "$package" "$root"; done
    rm -rf "$build/apt"
    echo "$packages" >"$root/complete"
fi

cmake -S . -B $build -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake -DGAL_SYSROOT="$root" -DGAL_WERROR=ON >/dev/null
cmake --build $build -j "$jobs"

# Products of int8 on processors that have more than the base: with dot products, and with products of matrices too.
for processor in cortex-a76 max; do
    echo "== $processor"
    QEMU_CPU=$processor sh tools/run-tests.sh quick -R '^(kernels|kernels_i8|kernels_peaks|infer_gguf)$' $build
done
# The oldest processor of the kind: what passes there needs nothing newer.
echo "== cortex-a57"
export QEMU_CPU=cortex-a57
sh tools/run-tests.sh "$which" $build
