"""peer_quantisation.py GALERNE BASE TEXT FOLDER: how good quantised files are, ours beside llama.cpp's.

BASE is a GGUF file in F32, F16 or BF16, TEXT what its perplexity is measured on. For each type both quantisers make a file,
and both engines measure each file in the same convention (galerne perplexity --as llama.cpp; here its definition again,
on llama.cpp's logits). What must hold:
  BASE: the two engines agree within 0.1 %, the ids are the same, the error bars too
  each file: galerne's perplexity within 0.5 % of llama.cpp's
  each type: our file's perplexity no worse than its file's, beyond twice the error of the ratio
  all types: our files no farther from BASE than its files, by the geometric mean of the ratios of KL
Prints a Markdown table. SPDX-License-Identifier: Apache-2.0"""

import ctypes
import json
import math
import os
import subprocess
import sys

import llama_cpp
import numpy as np

# Our names and llama.cpp's numbers of whole-file types (llama.h).
TYPES = [("Q8_0", llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0), ("Q6_K", llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K),
         ("Q5_K_M", llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_K_M), ("Q4_K_M", llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M),
         ("Q4_0", llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0)]
CONTEXT = 512
failures = []


def check(what, holds):
    if not holds:
        failures.append(what)
        print("FAILED:", what, file=sys.stderr)


def ours(galerne, *arguments):
    done = subprocess.run([galerne, *arguments, "--json", "--quiet"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout) if done.stdout else {}


def peer_perplexity(path, text):
    """llama.cpp's logits, its tool's convention: chunks of n_ctx, the first id of each replaced by BOS, targets of the
    second half; the error is that of the mean loss times the perplexity."""
    with open(text, "rb") as f:
        data = f.read()
    data = data[:-1] if data.endswith(b"\n") else data
    model = llama_cpp.Llama(path, n_ctx=CONTEXT, n_batch=CONTEXT, n_ubatch=CONTEXT, logits_all=True, verbose=False)
    ids = model.tokenize(data, add_bos=True, special=False)
    losses = []
    for at in range(0, len(ids) - CONTEXT + 1, CONTEXT):
        chunk = ids[at:at + CONTEXT]
        chunk[0] = model.token_bos()
        model.reset()
        model.eval(chunk)
        first = CONTEXT // 2
        logits = np.array(model.scores[first:CONTEXT - 1], dtype=np.float64)
        top = logits.max(axis=1)
        total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        losses.append(total - logits[np.arange(len(logits)), chunk[first + 1:]])
    model.close()
    losses = np.concatenate(losses)
    n, mean = len(losses), losses.mean()
    error = math.sqrt((np.mean(losses**2) - mean**2) / (n - 1))
    return {"perplexity": math.exp(mean), "perplexity_error": math.exp(mean) * error, "tokens": n, "ids": ids}


def peer_quantise(base, path, ftype):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = ftype
    params.nthread = os.cpu_count()
    if llama_cpp.llama_model_quantize(base.encode(), path.encode(), ctypes.byref(params)) != 0:
        raise RuntimeError("llama_model_quantize failed")


def check_numpy(galerne, base, text, folder):
    """perplexity from `galerne logits` and numpy: one window, no BOS, so that rows and losses can be lined up."""
    with open(text, "rb") as f:
        data = f.read(2000).decode("utf-8", "ignore")
    ids = subprocess.run([galerne, "tokenize", base], input=data, check=True, capture_output=True, text=True).stdout.split()[:300]
    path = os.path.join(folder, "logits.npy")
    with open(os.path.join(folder, "ids"), "w") as f:
        f.write(" ".join(ids))
    subprocess.run([galerne, "logits", base, "--ids", " ".join(ids), "-o", path], check=True)
    logits = np.load(path).astype(np.float64)[:-1]
    targets = np.array([int(i) for i in ids[1:]])
    top = logits.max(axis=1)
    losses = top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - logits[np.arange(len(targets)), targets]
    r = ours(galerne, "perplexity", base, "--ids", os.path.join(folder, "ids"), "--no-bos", "--context", str(len(ids)))
    check("numpy: mean", abs(r["nats_per_token"] - losses.mean()) < 1e-5 * losses.mean())
    error = losses.std(ddof=1) / math.sqrt(len(losses))
    check("numpy: error", abs(r["nats_per_token_error"] - error) < 1e-4 * error)
    check("numpy: tokens", r["tokens"] == len(losses))


def main():
    galerne, base, text, folder = sys.argv[1:5]
    check_numpy(galerne, base, text, folder)
    measure = lambda path: ours(galerne, "perplexity", path, text, "--as", "llama.cpp")
    a, b = measure(base), peer_perplexity(base, text)
    apart = a["perplexity"] / b["perplexity"] - 1
    check(f"base: {a['perplexity']} beside {b['perplexity']}", abs(apart) <= 1e-3)
    check("base: error bars", abs(a["perplexity_error"] / b["perplexity_error"] - 1) <= 1e-2)
    check(f"base: {a['tokens']} tokens beside {b['tokens']}", a["tokens"] == b["tokens"])
    print(f"{a['tokens']} tokens counted; base: {a['perplexity']:.4f} ± {a['perplexity_error']:.4f} by galerne, "
          f"{b['perplexity']:.4f} ± {b['perplexity_error']:.4f} by llama.cpp: {100 * apart:+.4f} %\n")
    print("| type | quantised by | MiB | perplexity, galerne | llama.cpp | apart | above the base | KL from the base | same top-1 |")
    print("|---|---|---|---|---|---|---|---|---|")
    print(f"| F32 | - | {os.path.getsize(base) / 2**20:.2f} | {a['perplexity']:.4f} ± {a['perplexity_error']:.4f} | "
          f"{b['perplexity']:.4f} | {100 * apart:+.3f} % | | | |")
    distance = {"galerne": [], "llama.cpp": []}
    for name, ftype in TYPES:
        files = {"galerne": os.path.join(folder, f"ours-{name}.gguf"), "llama.cpp": os.path.join(folder, f"peer-{name}.gguf")}
        subprocess.run([galerne, "quantize", base, name, "-o", files["galerne"], "--quiet"], check=True)
        peer_quantise(base, files["llama.cpp"], ftype)
        for who, path in files.items():
            p, q = measure(path), peer_perplexity(path, text)
            c = ours(galerne, "compare", base, path, text, "--as", "llama.cpp", "--worst", "0")
            distance[who].append(math.log(c["kl"]))
            apart = p["perplexity"] / q["perplexity"] - 1
            check(f"{name} by {who}: engines {100 * apart:.3f} % apart", abs(apart) <= 5e-3)
            print(f"| {name} | {who} | {os.path.getsize(path) / 2**20:.2f} | {p['perplexity']:.4f} | {q['perplexity']:.4f} | "
                  f"{100 * apart:+.3f} % | {100 * (c['ratio'] - 1):+.3f} ± {100 * c['ratio_error']:.3f} % | "
                  f"{c['kl']:.3g} ± {c['kl_error']:.1g} | {100 * c['same_top']:.2f} % |", flush=True)
        c = ours(galerne, "compare", files["llama.cpp"], files["galerne"], text, "--as", "llama.cpp", "--worst", "0")
        check(f"{name}: our file's perplexity is {c['ratio']:.5f} ± {c['ratio_error']:.5f} of its file's",
              c["ratio"] <= 1 + 2 * c["ratio_error"])
        for path in files.values():
            os.remove(path)
    closer = math.exp((sum(distance["galerne"]) - sum(distance["llama.cpp"])) / len(TYPES))
    check(f"KL of our files: {closer:.4f} of its files', geometric mean", closer <= 1)
    print(f"\nKL of our files: {closer:.4f} of llama.cpp's, geometric mean of {len(TYPES)} types")
    print(f"\n{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
