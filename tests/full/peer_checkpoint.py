#!/usr/bin/env python3
"""A checkpoint that galerne wrote, read by the transformers package: same logits, prompts with BOS; its tokenizer, by
sentencepiece: same ids.

    peer_checkpoint.py GALERNE CHECKPOINT_FOLDER

Needs torch, transformers, sentencepiece, numpy (a throw-away virtual environment: `make test-full`). Prints one line a check and
exits 1 if any failed. SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import sentencepiece
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

galerne, folder = sys.argv[1:3]
failed = 0


def check(name, ok, detail):
    global failed
    failed += not ok
    print(("ok      " if ok else "FAILED  ") + name + ": " + detail)


def our_logits(ids, *options):
    with tempfile.TemporaryDirectory() as t:
        out = os.path.join(t, "out.npy")
        subprocess.run([galerne, "logits", folder, "--ids", " ".join(map(str, ids)), "-o", out, *options], check=True)
        return np.load(out)


model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
vocab = model.config.vocab_size
ids = torch.randint(0, vocab, (1, 70), generator=torch.Generator().manual_seed(5))
with torch.no_grad():
    want = model(ids).logits[0].numpy()
got = our_logits(ids[0].tolist())
check("logits", got.shape == want.shape and np.abs(got - want).max() <= 2e-4,
      "largest difference %.2e of %s" % (np.abs(got - want).max(), want.shape))

sp = sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, "tokenizer.model"))
texts = ["The captain stood upon the deck.", "", " ", "two  spaces\n\nand lines\t", "été, 漢字, 😀 and <s> [INST]", "a\u0000b",
         "x" * 300, "1234567890 3.14", "".join(chr(c) for c in range(32, 1000, 7))]
lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
run = subprocess.run([galerne, "tokenize", folder, "--encode", "--jsonl"], input=lines.encode(), capture_output=True, check=True)
ours = [json.loads(line)["ids"] for line in run.stdout.decode().splitlines()]
theirs = [sp.encode(t) for t in texts]
check("token ids", ours == theirs, "%d texts" % len(texts))
tokenizer = AutoTokenizer.from_pretrained(folder)
prompts = ["x", "The captain stood upon the deck.", "the sea, 1850"]
ours = [list(map(int, subprocess.run([galerne, "tokenize", folder, "--bos", p], capture_output=True, check=True).stdout.split()))
        for p in prompts]
check("prompts", ours == [tokenizer(p).input_ids for p in prompts], "%d texts begin with %d" % (len(prompts), ours[0][0]))
check("vocabulary", sp.vocab_size() == vocab, "%d pieces, %d rows" % (sp.vocab_size(), vocab))
sys.exit(1 if failed else 0)
