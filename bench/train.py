#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Training speed beside PyTorch: `galerne train` and the peer's script take turns on the same shapes and threads.

    make bench-train [PYTHON=PATH] [PEER=PATH] [ARGS="--shape 10m --rounds 3 --modes f32,compile-f32 --limit 120"]

Ours: the time of each optimiser step as the program itself measures it (column tokens_per_s of the run's
metrics.sqlite: forward, backward, clipping and update; no evaluation, no checkpoint, no reading of text), the median
of the steps after the first two; peak resident memory of the whole process. Theirs: what the peer's script prints,
measured the same way around the same work. FLOP/s by the peer's formula for both: 6 (weights without the embedding) +
6 layers x sequence x width a token.

PYTHON needs torch and transformers; without it a virtual environment is made once in build/, where a package index
can be reached. Without a peer ours is measured alone. A mode that takes longer than the limit is named and left out
of later rounds. The peak of bf16 dot products is measured before and after each of our runs (`galerne bench --machine`):
the part of it that a run reaches is of the mean of both.
"""
import argparse
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# width, hidden, layers, heads, vocabulary, experts (of which a token takes two)
SHAPES = {"10m": (288, 768, 6, 6, 8192, 0), "124m": (768, 2048, 12, 12, 32000, 0), "350m": (1024, 2816, 24, 16, 32000, 0),
          "moe8": (288, 768, 6, 6, 8192, 8)}
USED = 2
EXPERTS = ["grouped_mm", "batched_mm", "eager"]  # the peer's ways to compute them
MASTER_MODES = ["f32", "compile-f32", "bf16-autocast", "compile-bf16-autocast"]  # f32 master weights, as ours
BARE_MODES = ["bf16", "compile-bf16"]  # weights and moments in bf16: shown, not compared with
SKIP = 2  # first steps that do not count, for both sides


def weights(shape, experts=None):
    width, hidden, layers, _, vocab, all_experts = SHAPES[shape]
    n = max(all_experts if experts is None else experts, 1)
    router = all_experts * width
    return 2 * vocab * width + layers * (4 * width * width + n * 3 * width * hidden + router + 2 * width) + width


def flops_per_token(shape, sequence):
    width, _, layers, _, vocab, experts = SHAPES[shape]
    return 6 * (weights(shape, USED if experts else None) - vocab * width) + 6 * layers * sequence * width


class TooLong(Exception):
    pass


def run(command, limit):
    """Standard output of a command; what it started ends with it."""
    begin = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             preexec_fn=os.setpgrp)
    try:
        out, err = child.communicate(timeout=limit)
    except BaseException as why:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        if not isinstance(why, subprocess.TimeoutExpired):
            raise
        raise TooLong(f"stopped after {time.monotonic() - begin:.0f} s") from None
    if child.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {child.returncode}: {err.strip()[-500:]}")
    return out


# Runs a command as its only child, so that getrusage tells that command's peak.
PEAK = """import json, resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(code)"""


def bf16_peak(o):
    """GFLOP/s of bf16 dot products on the threads of the race, or None where the machine has none."""
    out = run([o.galerne, "bench", "--machine", "--json", "--threads", str(o.threads)], o.limit)
    peaks = [f["median"] for f in json.loads(out)["figures"] if f["threads"] == o.threads and f.get("type") == "bf16"]
    return peaks[0] if peaks else None


def run_ours(o, shape, precision):
    width, hidden, layers, heads, vocab, experts = SHAPES[shape]
    where = os.path.join(o.folder, f"run-{shape}-{precision}")
    shutil.rmtree(where, ignore_errors=True)
    config = os.path.join(o.folder, f"{shape}-{precision}.yaml")
    with open(config, "w", encoding="utf-8") as f:
        f.write(f"""model: {{ vocab: {vocab}, width: {width}, layers: {layers}, heads: {heads}, hidden: {hidden}, experts: {experts} }}
data: {{ text: ["{os.path.join(ROOT, 'examples/text/wuthering-heights.txt')}"], valid_fraction: 0 }}
tokenizer: {{ train_size: 8192 }}
batch: {{ rows: {o.batch}, sequence: {o.sequence} }}
steps: {o.steps + SKIP}
precision: {precision}
device: {{ threads: {o.threads} }}
optimizer: {{ lr: 3e-4, weight_decay: 0.1, clip: 1.0 }}
""")
    before = bf16_peak(o)
    memory = run([sys.executable, "-c", PEAK, o.galerne, "train", config, "-o", where, "--quiet"], o.limit)
    db = sqlite3.connect(os.path.join(where, "metrics.sqlite"))
    speeds = [row[0] for row in db.execute("SELECT tokens_per_s FROM steps ORDER BY step")][SKIP:]
    db.close()
    shutil.rmtree(where)
    speed = statistics.median(speeds)
    gflops = speed * flops_per_token(shape, o.sequence) / 1e9
    result = {"tokens_per_s": speed, "gflops": gflops, "peak_mib": int(memory)}
    if before:
        result["of_peak"] = 2 * gflops / (before + bf16_peak(o))
    return result


def run_peer(o, shape, mode):
    mode, _, experts = mode.partition("/")
    out = run([o.python, o.peer, "--shape", shape, "--seq", str(o.sequence), "--batch", str(o.batch), "--steps",
               str(o.steps), "--threads", str(o.threads), "--mode", mode] +
              (["--experts", experts] if experts else []), o.limit)
    return json.loads(out.strip().splitlines()[-1])


def find_python(o):
    """A Python with torch, or None."""
    def fits(python):
        return subprocess.run([python, "-c", "import torch, transformers"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode == 0
    if o.python:
        if not shutil.which(o.python) or not fits(o.python):
            sys.exit(f"bench-train: {o.python}: expected a Python with torch and transformers")
        return o.python
    venv = os.path.join(o.folder, "venv")
    python = os.path.join(venv, "bin", "python")
    if os.path.exists(python) and fits(python):
        return python
    print("making a virtual environment with torch and transformers, once", file=sys.stderr)
    made = subprocess.run([sys.executable, "-m", "venv", venv], check=False).returncode == 0 and subprocess.run(
        [python, "-m", "pip", "install", "-q", "torch", "transformers"], check=False).returncode == 0
    return python if made and fits(python) else None


def contestants(o, shape):
    modes = [m for m in o.modes.split(",") if m]
    if SHAPES[shape][5]:
        modes = [f"{m}/{e}" for m in modes for e in EXPERTS]
    ours = [("galerne " + p, lambda shape, p=p: run_ours(o, shape, p)) for p in o.precisions.split(",") if p]
    theirs = [("torch " + m, lambda shape, m=m: run_peer(o, shape, m)) for m in modes] if o.python else []
    # One of ours, one of theirs, and so on.
    mixed = []
    for i in range(max(len(ours), len(theirs))):
        mixed += ours[i:i + 1] + theirs[i:i + 1]
    return mixed


def race(o, shape):
    results, gone = {}, {}
    field = contestants(o, shape)
    for turn in range(o.rounds):
        for name, call in field if turn % 2 == 0 else reversed(field):
            if name in gone:
                continue
            try:
                r = call(shape)
            except (TooLong, RuntimeError) as why:  # a mode that cannot run here is a result too
                gone[name] = str(why)
                print(f"{shape} round {turn + 1}: {name}: {why}", file=sys.stderr)
                continue
            results.setdefault(name, []).append(r)
            peak = f", {r['of_peak']:.0%} of the bf16 peak" if "of_peak" in r else ""
            print(f"{shape} round {turn + 1}: {name}: {r['tokens_per_s']:.1f} tokens/s, {r['peak_mib']} MiB{peak}",
                  file=sys.stderr)
    return [name for name, _ in field], results, gone


def median(results, name, key):
    return statistics.median(r[key] for r in results[name])


def table(o, shape, names, results, gone):
    width, hidden, layers, heads, vocab, experts = SHAPES[shape]
    mode = lambda n: n.removeprefix("torch ").partition("/")[0]
    rivals = [n for n in names if n in results and mode(n) in MASTER_MODES]
    best = max(rivals, key=lambda n: median(results, n, "tokens_per_s"), default=None)
    print(f"\n{shape}: {weights(shape) / 1e6:.1f} M weights (width {width}, hidden {hidden}, {layers} layers, {heads} heads, "
          f"{vocab} logits{f', {experts} experts' if experts else ''}), {o.batch} rows of {o.sequence}, {o.threads} threads; medians of {o.rounds} rounds of "
          f"{o.steps} steps")
    print(f"{'':30} {'tokens/s':>9} {'lowest':>9} {'highest':>9} {'GFLOP/s':>8} {'peak MiB':>9} {'of peak':>7}  ours/best peer")
    for n in names:
        if n in results:
            speeds = [r["tokens_per_s"] for r in results[n]]
            line = (f"{n:30} {statistics.median(speeds):9.1f} {min(speeds):9.1f} {max(speeds):9.1f} "
                    f"{median(results, n, 'gflops'):8.1f} {median(results, n, 'peak_mib'):9.0f} "
                    + (f"{median(results, n, 'of_peak'):7.0%}" if "of_peak" in results[n][0] else " " * 7))
            if n.startswith("galerne") and best:
                pairs = [a["tokens_per_s"] / b["tokens_per_s"] for a, b in zip(results[n], results[best])]
                line += f"  {statistics.median(speeds) / median(results, best, 'tokens_per_s'):.2f}"
                line += f" (rounds: {' '.join(f'{p:.2f}' for p in pairs)})"
            elif n == best:
                line += "  best with f32 master weights"
            elif mode(n) in BARE_MODES:
                line += "  no master weights"
            print(line)
        if n in gone:
            print(f"{n:30} {gone[n]}")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--shape", default="10m,124m", help="some of " + " ".join(SHAPES) + ", with commas")
    a.add_argument("--sequence", type=int, default=512)
    a.add_argument("--batch", type=int, default=4, help="rows")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--steps", type=int, default=6, help="that count; two more come before")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--precisions", default="f32,bf16", help="ours")
    a.add_argument("--modes", default=",".join(MASTER_MODES + BARE_MODES), help="the peer's")
    a.add_argument("--limit", type=float, default=300, help="seconds for one run of one contestant")
    a.add_argument("--galerne", default=os.path.join(ROOT, "build", "galerne"))
    a.add_argument("--peer", default=os.environ.get("PEER") or os.path.join(ROOT, "../shared/tools/bench_torch_train.py"))
    a.add_argument("--python", default=os.environ.get("PYTHON"))
    o = a.parse_args()
    for shape in o.shape.split(","):
        if shape not in SHAPES:
            sys.exit(f"bench-train: unknown shape {shape}: {', '.join(SHAPES)}")
    o.folder = os.path.join(ROOT, "build", "bench-train")
    os.makedirs(o.folder, exist_ok=True)
    if not os.path.exists(o.peer):
        print(f"no peer: {o.peer} is not there (PEER=PATH names it)", file=sys.stderr)
        o.python = None
    else:
        o.python = find_python(o)
        if not o.python:
            print("no peer: no Python with torch and transformers, and none could be made", file=sys.stderr)
    for shape in o.shape.split(","):
        table(o, shape, *race(o, shape))


if __name__ == "__main__":
    main()
