#!/usr/bin/env python3
"""What galerne converts, read by others: GGUF files by llama.cpp, folders by transformers. Same logits, same token ids.

    peer_convert.py GALERNE MODEL...

MODEL: folders in Hugging Face's layout. Needs numpy, torch, transformers and, for GGUF files, llama-cpp-python (skipped with a
line where it is not there). Prints one line a check and exits 1 if any failed. SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

try:
    import llama_cpp
except ImportError:
    llama_cpp = None
    print("skipped  GGUF files: no llama-cpp-python")

transformers.utils.logging.disable_progress_bar()
galerne = sys.argv[1]
failed = 0
TEXTS = ["The captain stood upon the deck.", " ", "two  spaces\n\nand lines\t", "été, 漢字, 😀 and <s> [INST]", "x" * 300,
         "1234567890 3.14", "".join(chr(c) for c in range(33, 1000, 7))]


def check(name, ok, detail):
    global failed
    failed += not ok
    print(("ok      " if ok else "FAILED  ") + name + ": " + detail)


def run(*args):
    return subprocess.run([galerne, *args], check=True, capture_output=True).stdout.decode()


def our_logits(model, ids, t):
    out = os.path.join(t, "out.npy")
    run("logits", model, "--ids", " ".join(map(str, ids)), "-o", out)
    return np.load(out)


def near(name, a, b, most):
    check(name, a.shape == b.shape and np.abs(a - b).max() <= most, "largest difference %.2e of %s, at most %g"
          % (np.abs(a - b).max(), a.shape, most))


def with_llama_cpp(name, path, ids, want, source):
    m = llama_cpp.Llama(path, n_ctx=512, logits_all=True, verbose=False, flash_attn=False, n_threads=1, type_k=0,
                        type_v=0)  # keys and values in f32, as ours
    m.eval(ids)
    got = np.array(m.scores[:len(ids)])
    check(name + " vocabulary size", m.n_vocab() == want.shape[1], "%d" % m.n_vocab())
    near(name + " logits by llama.cpp", got, want, 2e-4)
    if not os.path.exists(os.path.join(source, "tokenizer.model")):
        return
    for text in TEXTS:
        theirs = m.tokenize(text.encode(), add_bos=False, special=False)
        ours = [int(x) for x in run("tokenize", source, text).split()]
        if theirs != ours:
            check(name + " token ids by llama.cpp", False, "%r: %s, %s" % (text, theirs[:20], ours[:20]))
            return
    check(name + " token ids by llama.cpp", True, "%d texts" % len(TEXTS))


def with_transformers(name, path, ids, want, source):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        got = model(torch.tensor([ids])).logits[0].numpy()
    near(name + " logits by transformers", got, want, 2e-4)
    if not os.path.exists(os.path.join(path, "tokenizer.model")):
        return
    tok = AutoTokenizer.from_pretrained(path)
    for text in (x for x in TEXTS if "<s>" not in x):  # which becomes a control token there
        theirs = tok(text, add_special_tokens=False)["input_ids"]
        ours = [int(x) for x in run("tokenize", source, text).split()]
        if theirs != ours:
            check(name + " token ids by transformers", False, "%r: %s, %s" % (text, theirs[:20], ours[:20]))
            return
    check(name + " token ids by transformers", True, "%d texts" % (len(TEXTS) - 1))


def config(source):
    with open(os.path.join(source, "config.json"), encoding="utf-8") as f:
        return json.load(f)


def possible(source):
    """Whether params.json has words for the model: not for linear scaling, nor for every attention factor of YaRN."""
    rope = config(source).get("rope_parameters") or {}
    return rope.get("rope_type", "default") == "default" or (rope["rope_type"] == "yarn" and
                                                             rope.get("mscale") == rope.get("mscale_all_dim"))


for source in sys.argv[2:]:
    name = os.path.basename(source.rstrip("/"))
    with tempfile.TemporaryDirectory() as t:
        gguf, hf, own = (os.path.join(t, x) for x in ("model.gguf", "hf", "own"))
        # FP8 times its scale does not fit bf16, which is what it becomes by default.
        keep = ["--dtype", "f32"] if config(source).get("quantization_config") else []
        run("convert", source, own, "--to", "own", "--quiet", *keep) if possible(source) else None
        run("convert", own if possible(source) else source, gguf, "--quiet", *keep)
        run("convert", gguf, hf, "--quiet")
        # In f32, because the products of 16-bit weights round their activations there.
        run("convert", hf, gguf, "--dtype", "f32", "--force", "--quiet")
        rng = np.random.default_rng(7)
        probe = our_logits(source, [1], t)
        # llama.cpp does not read the window of these architectures (formats.md 4.2): ids that fit into it.
        ids = rng.integers(3, probe.shape[1], config(source).get("sliding_window") or 60).tolist()[:60]
        want = our_logits(source, ids, t)
        with_transformers(name, hf, ids, want, source)
        if llama_cpp:
            with_llama_cpp(name, gguf, ids, want, source)
sys.exit(1 if failed else 0)
