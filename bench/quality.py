#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a training reaches beside PyTorch: the same model, first weights, rows in the same order, optimiser and curve.

    python3 bench/quality.py --train TRAIN.txt.zst --valid VALID.txt.zst --python PATH [--seeds 1,2,3] [--steps 750]

PATH is a Python with torch and transformers. For each seed that package makes the first weights of a Mistral of 10.7
million parameters; `galerne train --show-batch --json` prints the rows of ids in the order of the run; both train on
them (--precisions ours, --modes theirs), and `galerne perplexity` measures what either left, in f32, on the same
tokens of the held-out text. Prints a line for each run and the means with the standard error of their difference, of
pairs of the same seed. The files stay in --folder: what is there is not computed again.

bench/README.md has what it printed.
"""
import argparse
import glob
import json
import os
import sqlite3
import statistics

from runs import ROOT, difference, once, run, write

HERE = os.path.dirname(os.path.abspath(__file__))
PEER = os.path.join(HERE, "quality_torch.py")
WIDTH, HIDDEN, LAYERS, HEADS, VOCAB = 288, 768, 6, 6, 8192
SEQUENCE, ROWS, RATE, WARMUP = 512, 4, 1e-3, 50


def shards_of(o, name, text):
    """A folder of token shards."""
    return once(f"{o.folder}/{name}", lambda p: run(
        o.galerne, "data", "tokenize", text, "--tokenizer", o.vocabulary, "--separator", "#@ ", "-o", p, "--quiet"))


def first_ids(o, folder, tokens):
    """The first tokens of a folder of shards as a line of ids."""
    shard = sorted(glob.glob(f"{folder}/*.shard"))[0]
    ids, document = [], 0
    while len(ids) < tokens:
        ids += run(o.galerne, "data", "inspect", shard, "--document", document).split()
        document += 1
    return " ".join(ids[:tokens]) + "\n"


def prepare(o):
    o.vocabulary = once(f"{o.folder}/vocabulary.model", lambda p: run(
        o.galerne, "tokenize", "--train", o.train, "--vocab-size", VOCAB, "--separator", "#@ ", "-o", p, "--quiet"))
    shards_of(o, "train", o.train)
    held_out = shards_of(o, "valid", o.valid)
    o.ids = once(f"{o.folder}/valid.ids", lambda p: write(p, first_ids(o, held_out, o.held_out)))


def configuration(o, seed, precision):
    path = f"{o.folder}/{precision}-{seed}.yaml"
    write(path, f"""init: init-{seed}
model: {{ vocab: {VOCAB}, width: {WIDTH}, layers: {LAYERS}, heads: {HEADS}, hidden: {HIDDEN} }}
data: {{ train: [train], packing: plain }}
tokenizer: {{ path: vocabulary.model }}
batch: {{ rows: {ROWS}, sequence: {SEQUENCE} }}
steps: {o.steps}
seed: {seed}
precision: {precision}
optimizer: {{ lr: {RATE}, weight_decay: 0.1, clip: 1 }}
schedule: {{ warmup: {WARMUP}, final_fraction: 0.1 }}
device: {{ threads: {o.threads} }}
""")
    return path


def train_ours(o, seed, precision, out):
    run(o.galerne, "train", configuration(o, seed, precision), "-o", out, "--quiet")
    db = sqlite3.connect(f"{out}/metrics.sqlite")
    rows = db.execute("SELECT loss_nats, tokens_per_s FROM steps ORDER BY step").fetchall()
    db.close()
    write(f"{out}/steps.json", json.dumps({"losses": [r[0] for r in rows],
                                           "seconds": sum(ROWS * SEQUENCE / r[1] for r in rows)}))


def train_theirs(o, seed, mode, out):
    os.makedirs(out)
    write(f"{out}/steps.json", run(
        o.python, PEER, "--init", f"{o.folder}/init-{seed}", "--rows", f"{o.folder}/rows-{seed}.jsonl", "--batch", ROWS,
        "--lr", RATE, "--warmup", WARMUP, "--mode", mode, "--threads", o.threads, "--save", f"{out}/model"))


def held_out(o, model, out):
    """Nats a token on the held-out text, of a finished run."""
    path = once(f"{out}/valid.json", lambda p: write(p, run(
        o.galerne, "perplexity", model, "--ids", o.ids, "--context", SEQUENCE, "--stride", SEQUENCE, "--json", "--quiet",
        "--threads", o.threads)))
    with open(path, encoding="utf-8") as f:
        return json.load(f)["nats_per_token"]


def contest(o, seed):
    """{name: nats a token} of all runs from one seed."""
    shape = f"{WIDTH} {HIDDEN} {LAYERS} {HEADS} {VOCAB} {SEQUENCE}"
    once(f"{o.folder}/init-{seed}", lambda p: run(o.python, PEER, "--init", p, "--make", shape, "--seed", seed))
    once(f"{o.folder}/rows-{seed}.jsonl", lambda p: write(p, run(
        o.galerne, "train", configuration(o, seed, "f32"), "--show-batch", "--rows", o.steps * ROWS, "--json")))
    results = {}
    for name in [f"galerne {p}" for p in o.precisions] + [f"torch {m}" for m in o.modes]:
        who, how = name.split()
        out = f"{o.folder}/{who}-{how}-{seed}"
        once(out, lambda p: (train_ours if who == "galerne" else train_theirs)(o, seed, how, p))
        model = f"{out}/checkpoints/step-{o.steps}" if who == "galerne" else f"{out}/model"
        with open(f"{out}/steps.json", encoding="utf-8") as f:
            steps = json.load(f)
        results[name] = held_out(o, model, out)
        last = statistics.mean(steps["losses"][-50:])
        print(f"seed {seed}  {name:32} {results[name]:9.5f} held out  {last:9.5f} last 50 steps  "
              f"{steps['losses'][0]:9.5f} first step  {steps['seconds']:6.0f} s", flush=True)
    return results


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--train", required=True)
    a.add_argument("--valid", required=True)
    a.add_argument("--python", required=True)
    a.add_argument("--steps", type=int, default=750)
    a.add_argument("--seeds", default="1,2,3")
    a.add_argument("--precisions", default="bf16,f32", help="ours")
    a.add_argument("--modes", default="compile-bf16-autocast", help="the peer's")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--held-out", type=int, default=200000, help="tokens of the held-out text")
    a.add_argument("--folder", default=os.path.join(ROOT, "build", "quality"))
    a.add_argument("--galerne", default=os.path.join(ROOT, "build", "galerne"))
    o = a.parse_args()
    o.precisions, o.modes = o.precisions.split(","), [m for m in o.modes.split(",") if m]
    os.makedirs(o.folder, exist_ok=True)
    prepare(o)
    seeds = [contest(o, int(s)) for s in o.seeds.split(",")]
    names = list(seeds[0])
    print(f"\n{o.steps} steps of {ROWS} rows of {SEQUENCE}; held-out nats a token, mean of {len(seeds)} seeds")
    for name in names:
        print(f"{name:32} {statistics.mean(r[name] for r in seeds):9.5f}")
    for other in names[1:]:
        print(f"{names[0]} - {other}: {difference([r[names[0]] for r in seeds], [r[other] for r in seeds])}")


if __name__ == "__main__":
    main()
