#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Routed models beside the dense one of equal FLOPs (arXiv:2202.01169): the same rows, curve and seeds, held-out loss.

    python3 bench/routed.py --train TRAIN.txt.zst --valid VALID.txt.zst [--seeds 1,2,3] [--steps 800]

A Gopher of --width and --layers; of the routed ones every other block has --experts experts, of which a token takes
one: a token meets as many weights as in the dense model, and besides them the router's experts x width. Routers choose
by their largest logit when they are evaluated, without a plan. A kind may name settings of its router, as in
rlr:policy=0.01:top_p=0.25. Prints a line for each run, then each router's gain over dense, in nats a token with the
standard error over pairs of the same seed. The files stay in --folder: what is there is not computed again.

bench/README.md has what it printed.
"""
import argparse
import json
import os
import statistics

from runs import ROOT, difference, once, run, write

KINDS = ["dense", "sbase", "hash", "rlr", "rlr:policy=0.01:top_p=0.25"]
WIDE = max(map(len, KINDS))  # of a kind's column


def configuration(o, kind, seed):
    path = f"{o.folder}/{kind}-{seed}.yaml"
    router, *settings = kind.split(":")
    settings = "".join(", " + s.replace("=", ": ") for s in settings)
    routed = "" if kind == "dense" else f", experts: {o.experts}, routed_every: 2, router: {router}"
    write(path, f"""model: {{ family: gopher, width: {o.width}, layers: {o.layers}, heads: {o.width // 32}, head_size: 32{routed} }}
data: {{ text: ["{os.path.abspath(o.train)}"], valid: ["{os.path.abspath(o.valid)}"], separator: "#@ ", shards: shards }}
tokenizer: {{ path: vocabulary.model }}
router: {{ capacity: {o.capacity}{settings} }}
batch: {{ rows: 16, sequence: 256 }}
steps: {o.steps}
seed: {seed}
precision: {o.precision}
optimizer: {{ lr: {o.lr}, weight_decay: 0.1 }}
schedule: {{ warmup: 50, final_fraction: 0.1 }}
eval: {{ rows: {o.rows} }}
device: {{ threads: {o.threads} }}
""")
    return path


def contest(o, kind, seed):
    """Held-out nats a token of one run."""
    config = configuration(o, kind, seed)
    out = once(f"{o.folder}/{kind}-{seed}.json", lambda p: write(p, run(
        o.galerne, "train", config, "-o", f"{o.folder}/{kind}-{seed}", "--quiet", "--json")))
    with open(out, encoding="utf-8") as f:
        result = json.load(f)
    print(f"seed {seed}  {kind:{WIDE}} {result['valid_nats']:9.5f} held out  {result['loss_nats']:9.5f} last step", flush=True)
    return result["valid_nats"]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--train", required=True)
    a.add_argument("--valid", required=True)
    a.add_argument("--kinds", default=",".join(KINDS))
    a.add_argument("--seeds", default="1,2,3")
    a.add_argument("--steps", type=int, default=800)
    a.add_argument("--width", type=int, default=128)
    a.add_argument("--layers", type=int, default=4)
    a.add_argument("--experts", type=int, default=8)
    a.add_argument("--capacity", type=float, default=2)
    a.add_argument("--lr", type=float, default=2e-3)
    a.add_argument("--precision", default="f32")
    a.add_argument("--rows", type=int, default=400, help="of held-out text")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--folder", default=os.path.join(ROOT, "build", "routed"))
    a.add_argument("--galerne", default=os.path.join(ROOT, "build", "galerne"))
    o = a.parse_args()
    kinds = o.kinds.split(",")
    os.makedirs(o.folder, exist_ok=True)
    once(f"{o.folder}/vocabulary.model", lambda p: run(
        o.galerne, "tokenize", "--train", o.train, "--vocab-size", 4096, "--separator", "#@ ", "-o", p, "--quiet"))
    losses = {kind: [] for kind in kinds}
    for seed in map(int, o.seeds.split(",")):
        for kind in kinds:
            losses[kind].append(contest(o, kind, seed))
    print(f"\n{o.steps} steps of 16 rows of 256; width {o.width}, {o.layers} layers, {o.experts} experts in every other "
          f"one; held-out nats a token, mean of {len(losses[kinds[0]])} seeds")
    for kind in sorted(kinds, key=lambda k: statistics.mean(losses[k])):
        line = f"{kind:{WIDE}} {statistics.mean(losses[kind]):9.5f}"
        if kind != kinds[0]:
            line += f"  {kind} - {kinds[0]}: {difference(losses[kind], losses[kinds[0]])}"
        print(line)


if __name__ == "__main__":
    main()
