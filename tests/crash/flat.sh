#!/bin/sh
# flat.sh GALERNE FOLDER [STEPS]: trains the model of examples/demo.yaml for 10,000 steps, twice, and looks at its resident
# memory all the while. The model, its vocabulary, its text and its learning rate are the demo's; a step has one row of
# 64 tokens instead of eight of 256, so that 10,000 of them take minutes, and a save and an evaluation come every
# hundredth of the run, so that there are 100 of each.
#
# Flat means: from the middle of the run to its last tenth the median VmRSS grows by at most 1 MiB, a hundred and more
# times less than any leak of a step's own memory would make of it (200 bytes a step would show), and the peak (VmHWM) by
# no more. Before the middle things are still taken for the first time: SQLite's cache of pages fills up to its limit of
# 256 KiB, the C library keeps what the first saves and evaluations gave back. THREADS, NICE: how to run.
# SPDX-License-Identifier: Apache-2.0
set -eu
galerne=$1 folder=$2 steps=${3:-10000}
allowed=1024 # KiB
mkdir -p "$folder"

train() { # NAME: leaves NAME/samples.txt: seconds, VmRSS, VmHWM, steps made
    run=$folder/$1
    rm -rf "$run" "$run.samples"
    nice -n "${NICE:-0}" "$galerne" train examples/demo.yaml -o "$run" --threads "${THREADS:-2}" --quiet \
        --set steps="$steps" --set batch.rows=1 --set batch.sequence=64 --set eval.every=$((steps / 100)) --set eval.rows=64 \
        --set save.keep=2 &
    pid=$!
    begin=$(date +%s)
    while kill -0 "$pid" 2>/dev/null; do
        awk -v s=$(($(date +%s) - begin)) -v step="$(sed -n '$s/^step \([0-9]*\):.*/\1/p' "$run/log.txt" 2>/dev/null || :)" '
            /^VmRSS/ { rss = $2 } /^VmHWM/ { hwm = $2 } END { if (rss) print s, rss, hwm, step + 0 }' \
            "/proc/$pid/status" >>"$run.samples" 2>/dev/null || :
        sleep 0.2
    done
    wait "$pid"
    awk -v name="$1" -v allowed="$allowed" '
        $4 > 0 { rss[n] = $2; hwm[n] = $3; last = $1; step[n++] = $4 }
        function median(from, to, i, j, k, x, v) {
            k = 0
            for (i = from; i < to; i++) v[k++] = rss[i]
            for (i = 1; i < k; i++) {
                x = v[i]
                for (j = i - 1; j >= 0 && v[j] > x; j--) v[j + 1] = v[j]
                v[j + 1] = x
            }
            return v[int(k / 2)]
        }
        END {
            if (n < 40) { printf "%s: only %d samples of memory: too short a run to judge\n", name, n; exit 1 }
            t = int(n / 10)
            early = median(4 * t, 5 * t); late = median(n - t, n)
            printf "%s: %d samples in %d s; VmRSS, median of a tenth, KiB:", name, n, last
            for (i = 0; i < 10; i++) printf " %d", median(i * t, (i + 1) * t)
            printf "\n%s: peak %d KiB at step %d, %d at the end\n", name, hwm[5 * t], step[5 * t], hwm[n - 1]
            grown = late - early; peak = hwm[n - 1] - hwm[5 * t]
            printf "%s: VmRSS grew by %d KiB from the middle to the end, its peak by %d; %d are allowed\n", name, grown, peak, allowed
            exit grown > allowed || peak > allowed
        }' "$run.samples"
}

train one
train two
for file in model.safetensors optimizer.safetensors trainer.json; do
    cmp "$folder/one/checkpoints/step-$steps/$file" "$folder/two/checkpoints/step-$steps/$file"
done
echo "the same bytes after $steps steps: $(sha256sum <"$folder/one/checkpoints/step-$steps/optimizer.safetensors" | cut -c1-16)"
