#!/usr/bin/env python3
"""Makes low-rank adapters of tests/golden/mistral-base (of mistral-yarn: lora-yarn) and the reference's logits with them.

    python3 make_lora.py OUTDIR

lora-peft: as PEFT saves it, ranks and alphas by pattern, f32. lora-own: in Mistral's own names, bf16, of wq, wk, w2 and the
head, with a params.json; its rows of q and k are rotary pairs. lora-yarn: PEFT's, two matrices of each block. Each has
adapted.npz: ids and logits of its base with W + scale B A in the place of W, from torch and transformers in f32. Where peft is installed, lora-peft is also loaded by it
and must give the same logits. Needs torch, transformers, safetensors, numpy.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
           "mlp.down_proj"]
OWN = {"attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "feed_forward.w2": "mlp.down_proj"}


def draw(g, w, rank):
    a = torch.randn(rank, w.shape[1], generator=g) / w.shape[1] ** 0.5
    b = torch.randn(w.shape[0], rank, generator=g) * 0.2
    return a, b


def logits(base, deltas, ids):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, d in deltas.items():
            model.get_submodule(name).weight += d
        return model(torch.tensor(ids)).logits.numpy()


def into_pairs(b, size):
    """Rows (j, j + half) of each head become neighbours (2j, 2j + 1)."""
    n = b.shape[0] // size
    return b.reshape(n, 2, size // 2, -1).swapaxes(1, 2).reshape(b.shape).contiguous()


def write(out, base, config, tensors, deltas, names):
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, names[0]), "w") as f:
        json.dump(config, f, indent=1)
        f.write("\n")
    save_file(tensors, os.path.join(out, names[1]), metadata={"format": "pt"})
    ids = np.load(os.path.join(base, "golden.npz"))["ids"].astype(np.int64)
    want = logits(base, deltas, ids)
    np.savez(os.path.join(out, "adapted.npz"), ids=ids, logits=want)
    plain = logits(base, {}, ids)
    print(out, "largest change of a logit:", np.abs(want - plain).max())
    return ids, want


def peft(out, base, seed, ranks, **more):
    """ranks: of every adapted matrix, from its block and module."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    g = torch.Generator().manual_seed(seed)
    tensors, deltas = {}, {}
    for layer in range(model.config.num_hidden_layers):
        for m, rank in ranks(layer).items():
            name = f"model.layers.{layer}.{m}"
            alpha = 4.5 if m.endswith("down_proj") else 7.0
            a, b = draw(g, model.get_submodule(name).weight, rank)
            tensors[f"base_model.model.{name}.lora_A.weight"] = a
            tensors[f"base_model.model.{name}.lora_B.weight"] = b
            deltas[name] = alpha / rank * (b @ a)
    config = dict(peft_type="LORA", task_type="CAUSAL_LM", base_model_name_or_path="../" + os.path.basename(base), r=3,
                  lora_alpha=7, target_modules=[m.split(".")[1] for m in ranks(0)], **more, lora_dropout=0.0, bias="none",
                  fan_in_fan_out=False, use_rslora=False, use_dora=False, modules_to_save=None, inference_mode=True)
    ids, want = write(out, base, config, tensors, deltas, ("adapter_config.json", "adapter_model.safetensors"))
    try:
        from peft import PeftModel
    except ImportError:
        print("peft is not installed: not compared with it")
        return
    other = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), out).eval()
    with torch.no_grad():
        have = other(torch.tensor(ids)).logits.numpy()
    print("largest difference from peft:", np.abs(have - want).max())
    assert np.abs(have - want).max() < 1e-4


def own(out, base):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    g = torch.Generator().manual_seed(902)
    tensors, deltas = {}, {}
    names = {f"layers.{l}.{o}": f"model.layers.{l}.{h}" for l in range(model.config.num_hidden_layers)
             for o, h in OWN.items()}
    names["output"] = "lm_head"
    for name, hf in names.items():
        a, b = (x.bfloat16() for x in draw(g, model.get_submodule(hf).weight, 4))
        tensors[f"{name}.lora_A.weight"] = a.contiguous()
        rotary = name.endswith(".wq") or name.endswith(".wk")
        tensors[f"{name}.lora_B.weight"] = into_pairs(b, model.config.head_dim) if rotary else b.contiguous()
        deltas[hf] = 1.5 * (b.float() @ a.float())
    write(out, base, {"lora": {"rank": 4, "scaling": 1.5}}, tensors, deltas, ("params.json", "lora.safetensors"))


def main():
    root = sys.argv[1]
    plain, yarn = os.path.join(HERE, "mistral-base"), os.path.join(HERE, "mistral-yarn")
    peft(os.path.join(root, "lora-peft"), plain, 901,
         lambda layer: {m: 2 if m.endswith("q_proj") else 5 if layer == 1 and m == "mlp.up_proj" else 3 for m in MODULES},
         rank_pattern={"q_proj": 2, "layers.1.mlp.up_proj": 5}, alpha_pattern={"down_proj": 4.5})
    own(os.path.join(root, "lora-own"), plain)
    peft(os.path.join(root, "lora-yarn"), yarn, 903, lambda layer: {"self_attn.q_proj": 3, "mlp.up_proj": 3})


if __name__ == "__main__":
    main()
