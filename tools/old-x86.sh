#!/bin/sh
# old-x86.sh [PROCESSOR...]: the quick tests on older processors of the kind x86-64, under qemu's user mode: Nehalem
# (level sse42), SandyBridge (avx), Haswell (avx2). Each must take its level by itself, so nothing falls back to ref,
# and meets no instruction that it lacks. On the oldest all quick tests run, on the others those that come to the
# kernels: the rest of the code is the same for all (tests/scripts/isa.sh). Closes for each with the summary line of
# run-tests.sh. SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."
build=build-old-x86
jobs=$(nproc 2>/dev/null || echo 2)
# Left out: checks of the sources, and of what the host's compiler makes of an installed library; and the test that
# stops a program with Ctrl-Z: qemu 7.2 calls handlers of signals on a stack that is 8 bytes off the 16 that the C
# library's tcsetattr() counts on, so that it ends with signal 11, whichever processor it plays.
without='^(includes|budgets|banned|text|headers|self|levels|isa|symbols|install|faults|cli_keys)$'
verdict=0

[ "$(uname -m)" = x86_64 ] || { echo "galerne: old-x86.sh needs a machine of the kind x86-64, this is $(uname -m)" >&2; exit 1; }
qemu=$(command -v qemu-x86_64-static || command -v qemu-x86_64 || true)
for tool in cmake pkg-config "${qemu:-qemu-x86_64-static}"; do
    command -v "$tool" >/dev/null 2>&1 || { echo "galerne: $tool is missing; sh tools/deps.sh --old-x86 installs it" >&2; exit 1; }
done

cmake -S . -B $build -DGAL_WERROR=ON -DGAL_THIN_TESTS=ON "-DGAL_TEST_LAUNCHER=$qemu" >/dev/null
cmake --build $build -j "$jobs"

[ $# -gt 0 ] || set -- Nehalem SandyBridge Haswell
for processor; do
    only='^(kernels.*|blocks|convert|quantise.*|ops_.*|parity|optim|train.*|infer_.*|cli_model)$'
    case $processor in # what the emulator lacks is taken away by name, or it would warn on stderr of every program
    Nehalem) level=sse42 cpu=Nehalem only=. ;;
    SandyBridge) level=avx cpu=SandyBridge,-x2apic,-tsc-deadline ;;
    Haswell) level=avx2 cpu=Haswell-noTSX,-x2apic,-tsc-deadline,-pcid,-invpcid ;;
    *)
        echo "galerne: old-x86.sh: unknown processor $processor: Nehalem, SandyBridge or Haswell" >&2
        exit 2
        ;;
    esac
    export QEMU_CPU=$cpu
    echo "== $processor"
    found=$($qemu $build/galerne bench --machine --threads 1 --repeats 1 --json |
        sed -n 's/^{"level": "\([a-z0-9]*\)".*/\1/p')
    if [ "$found" != $level ]; then
        echo "galerne: $processor takes the level '$found', expected '$level'" >&2
        exit 1
    fi
    echo "level $level"
    sh tools/run-tests.sh quick -E "$without" -R "$only" $build || verdict=1
done
exit $verdict
