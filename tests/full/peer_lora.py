#!/usr/bin/env python3
"""An adapter that galerne trained, loaded by the peft package: the logits of base and adapter are the same, and those of the
two merged by galerne. Where peft is not installed and cannot be, nothing is checked.

    peer_lora.py GALERNE BASE_FOLDER ADAPTER_FOLDER FOLDER

SPDX-License-Identifier: Apache-2.0
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from transformers import AutoModelForCausalLM

galerne, base, adapter, folder = sys.argv[1:5]
packages = os.path.join(folder, "peft")
sys.path.append(packages)
try:
    from peft import PeftModel
except ImportError:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", packages, "peft", "accelerate",
                    "psutil"])
    try:
        from peft import PeftModel
    except ImportError:
        print("skipped: peft is not here and could not be installed")
        sys.exit(0)

failed = 0


def check(name, have, want, most):
    global failed
    worst = np.abs(have - want).max()
    ok = have.shape == want.shape and worst <= most
    failed += not ok
    print(("ok      " if ok else "FAILED  ") + "%s: largest difference %.2e" % (name, worst))


def ours(model, *options):
    with tempfile.TemporaryDirectory() as t:
        out = os.path.join(t, "out.npy")
        subprocess.run([galerne, "logits", model, "--ids", " ".join(map(str, ids[0].tolist())), "-o", out, *options],
                       check=True)
        return np.load(out)


model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
ids = torch.randint(0, model.config.vocab_size, (1, 60), generator=torch.Generator().manual_seed(6))
with torch.no_grad():
    plain = model(ids).logits[0].numpy()
    want = PeftModel.from_pretrained(model, adapter).eval()(ids).logits[0].numpy()
print("the adapter moves logits by up to %.2f" % np.abs(want - plain).max())
assert np.abs(want - plain).max() > 1e-2
check("base and adapter", ours(base, "--lora", adapter), want, 2e-4)
check("the run as a model", ours(adapter), want, 2e-4)
merged = os.path.join(folder, "merged")
subprocess.run([galerne, "convert", base, merged, "--lora", adapter, "--dtype", "f32", "--force", "--quiet"], check=True)
check("merged by galerne", ours(merged), want, 2e-4)
with torch.no_grad():
    other = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()(ids).logits[0].numpy()
check("merged, in transformers", other, want, 2e-4)
sys.exit(1 if failed else 0)
