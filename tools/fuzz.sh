#!/bin/sh
# fuzz.sh BUILD SECONDS [NAME...]: runs BUILD/fuzz_NAME (all of them without NAME) for so many seconds each, from the corpus
# in fuzz/corpus/NAME, and prints speed and coverage. What is new grows in BUILD/corpus/NAME; an input that ends a
# target (a crash, a leak, more than 512 MB, one allocation above 64 MB - for archives 160, Zstandard's window -, 5 s) is kept in BUILD/found/ and fails.
# SPDX-License-Identifier: Apache-2.0
set -u
build=$1 seconds=$2
shift 2
[ $# -gt 0 ] || set -- safetensors config params spm yaml npy gguf imatrix chat tekken hf jinja reader shard
mkdir -p "$build/found"
# A short memory for freed blocks: they count as resident.
export ASAN_OPTIONS=quarantine_size_mb=16:malloc_context_size=8
bad=0
for name; do
    mkdir -p "$build/corpus/$name"
    log=$build/fuzz_$name.log most=64
    [ "$name" = reader ] && most=160
    "$build/fuzz_$name" -max_total_time="$seconds" -rss_limit_mb=512 -malloc_limit_mb=$most -timeout=5 -max_len=16384 \
        -dict="fuzz/$name.dict" -print_final_stats=1 -artifact_prefix="$build/found/$name-" \
        "$build/corpus/$name" "fuzz/corpus/$name" >"$log" 2>&1 || {
        bad=1
        echo "$name: found something"
        grep -E 'ERROR|SUMMARY|galerne:|Test unit written' "$log" | head -n 5
    }
    awk -v name="$name" '
        /Loaded 1 modules/ { sub(/.*\(/, ""); edges = $1 }
        / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1) }
        /number_of_executed_units/ { runs = $2 }
        /average_exec_per_sec/ { speed = $2 }
        /peak_rss_mb/ { rss = $2 }
        END { printf "%-12s %9d inputs %7d/s  %5d of %d edges  peak %d MB\n", name, runs, speed, cov, edges, rss }' "$log"
done
exit $bad
