#!/bin/sh
# precision.sh [GALERNE [FOLDER [STEPS [LR]]]]: the same small training in the four precisions (gopher's comparison: f32;
# bf16 beside f32 weights; weights in bf16 alone, rounded by chance or to nearest), at a rate so small that many updates
# are below half a step of bf16. Prints final losses; seeds 1 to 3. SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."
galerne=${1:-build/galerne} out=${2:-/tmp/galerne-precision} steps=${3:-2000} lr=${4:-2e-4}
mkdir -p "$out"
printf '%-18s %-6s %-12s %s\n' precision seed 'train nats' 'valid nats'
for seed in 1 2 3; do
    for precision in f32 bf16 bf16_stochastic bf16_pure; do
        rm -rf "$out/$precision-$seed"
        line=$("$galerne" train examples/demo.yaml -o "$out/$precision-$seed" --quiet --json --set precision=$precision \
            --set seed="$seed" --set steps="$steps" --set optimizer.lr="$lr" --set schedule.warmup=100 \
            --set model.width=64 --set model.layers=2 --set model.heads=4 --set model.hidden=192 --set batch.sequence=64 \
            --set tokenizer.train_size=512 --set eval.every=0 --set data.shards="$out/shards-$seed" \
            --set sample.prompts='[]')
        train=$(printf %s "$line" | sed 's/.*"loss_nats": \([^,}]*\).*/\1/')
        valid=$(printf %s "$line" | sed 's/.*"valid_nats": \([^,}]*\).*/\1/')
        printf '%-18s %-6s %-12.5f %.5f\n' $precision $seed "$train" "$valid"
    done
done
