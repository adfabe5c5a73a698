#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The peer of quality.py: trains a Mistral of the transformers package on rows of ids that galerne prints.

    quality_torch.py --init FOLDER --make "WIDTH HIDDEN LAYERS HEADS VOCAB SEQUENCE" --seed N      # fresh weights
    quality_torch.py --init FOLDER --rows ROWS.jsonl --batch 4 --lr 1e-3 --warmup 50 --mode compile-bf16-autocast --save FOLDER

Weights are f32 in all modes. AdamW as torch has it, decay on matrices alone, clipping by global norm, warm-up and
cosine written out here. Prints one JSON line: the loss of each step in nats a token, and the seconds of all of them.
"""
import argparse
import json
import math
import time
import warnings

import torch
from transformers import MistralConfig, MistralForCausalLM

warnings.filterwarnings("ignore")


def make(o):
    width, hidden, layers, heads, vocab, sequence = map(int, o.make.split())
    torch.manual_seed(o.seed)
    MistralForCausalLM(MistralConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, head_dim=width // heads,
        max_position_embeddings=sequence, sliding_window=None, tie_word_embeddings=False,
        initializer_range=0.02, rms_norm_eps=1e-5, rope_theta=10000.0)).save_pretrained(o.init)


def rate(o, step, steps):
    """Of step 1, 2, ... steps: a line up to o.lr, then a cosine that ends at a tenth of it."""
    if step <= o.warmup:
        return o.lr * step / o.warmup
    done = (step - o.warmup) / (steps - o.warmup)
    return o.lr * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))


def train(o):
    torch.set_num_threads(o.threads)
    torch.manual_seed(o.seed)
    model = MistralForCausalLM.from_pretrained(o.init, dtype=torch.float32)
    model.set_attn_implementation("sdpa")
    model.train()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    scales = [p for p in model.parameters() if p.dim() <= 1]
    optimiser = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": scales, "weight_decay": 0.0}],
                                  lr=o.lr, betas=(0.9, 0.95), eps=1e-8, fused=True)

    def loss_of(ids, targets):
        logits = model(ids, use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1)

    if o.mode.startswith("compile"):
        loss_of = torch.compile(loss_of)
    with open(o.rows, encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    steps = len(rows) // o.batch
    losses = []
    begin = time.monotonic()
    for step in range(1, steps + 1):
        part = rows[(step - 1) * o.batch:step * o.batch]
        ids = torch.tensor([r["ids"] for r in part])
        targets = torch.tensor([r["targets"] for r in part])
        for group in optimiser.param_groups:
            group["lr"] = rate(o, step, steps)
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="autocast" in o.mode):
            loss = loss_of(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    seconds = time.monotonic() - begin
    model.save_pretrained(o.save)
    print(json.dumps({"losses": losses, "seconds": seconds, "torch": torch.__version__}))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--init", required=True)
    a.add_argument("--make")
    a.add_argument("--rows")
    a.add_argument("--batch", type=int, default=4)
    a.add_argument("--lr", type=float, default=1e-3)
    a.add_argument("--warmup", type=int, default=50)
    a.add_argument("--mode", default="f32", help="f32, bf16-autocast, compile-f32 or compile-bf16-autocast")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--save")
    o = a.parse_args()
    if o.make:
        make(o)
    else:
        train(o)


if __name__ == "__main__":
    main()
