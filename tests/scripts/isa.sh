#!/bin/sh
# isa.sh LIBRARY: each object of the library holds instructions of its own level at most (kernels/cpu, and the
# quantisers of tensor/ for AVX2), all others those that every x86-64 processor has. SPDX-License-Identifier: Apache-2.0
set -eu
command -v objdump >/dev/null 2>&1 || { echo "skipped: there is no objdump"; exit 77; }
objdump -d --no-show-raw-insn "$1" | awk '
    function wrong(what) {
        if (!seen[object, what]++) print object ": " what " (" $2 " in " name ")"
        bad = 1
    }
    /file format/ {
        if ($0 !~ /x86-64/) { other = 1; exit }
        object = $1
        sub(/:$/, "", object)
        objects++
        level = 0 # baseline
        if (object ~ /_sse42\.c/) level = 1
        else if (object ~ /_avx\.c/) level = 2
        else if (object ~ /_(avx2|avx_vnni)\.c/) level = 3
        else if (object ~ /_avx512/) level = 4
        levels[level]++
        next
    }
    /^[0-9a-f]+ <.*>:$/ { name = $2; next }
    level < 1 && $2 ~ /^(p(shufb|maddubsw|mulld|abs[bwd]|sign[bwd]|blendvb|m[ai][xn](s[bd]|u[wd])|movsx|movzx|extr[bdq]|insr[bdq]|cmp[ei]str|cmpgtq|alignr|ackusdw)|blendv?p|round[sp]|dpp|h(add|sub)p|popcnt|crc32|insertps|ptest)/ { wrong("beyond SSE2") }
    level < 2 && $2 ~ /^v/ && $2 !~ /^ver[rw]/ { wrong("AVX") }
    level < 3 && ($2 ~ /^(vf[n]?m(add|sub)|vcvtph2ps|vcvtps2ph|vpbroadcast|vbroadcasti|vinserti|vextracti|vperm2i|vpgather|vpsllv|vpsrlv|vpmaskmov)|^(andn|bextr|bls[ir]|blsmsk|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|lzcnt)[lq]?$/ ||
        ($2 ~ /^v(p|movntdqa|mpsadbw)/ && $2 !~ /^vp(erm2f128|ermil|test)/ && /%ymm/) || ($2 ~ /^vbroadcasts/ && $3 ~ /^%xmm/)) { wrong("AVX2, FMA, F16C or BMI") }
    level < 4 && /%zmm|%k[0-7]|%[xy]mm(1[6-9]|2[0-9]|3[01])/ { wrong("AVX-512") }
    END {
        if (other) { print "skipped: another kind of processor"; exit 77 }
        if (objects < 50 || !levels[0] || !levels[1] || !levels[2] || !levels[3] || !levels[4]) {
            print objects + 0 " objects, not all of the levels among them: the names have changed"
            bad = 1
        }
        exit bad
    }'
