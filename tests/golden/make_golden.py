#!/usr/bin/env python3
"""Makes the random-weight models of this folder and the reference implementation's answers for them.

    python3 make_golden.py OUTDIR [NAME ...]

Needs torch, transformers, safetensors and numpy in an environment that may be thrown away afterwards; origin.json of each
model says which versions were used. Neither building nor `make test` needs any of them. README.md beside this file says
what each model is there for and what golden.npz holds.
SPDX-License-Identifier: Apache-2.0
"""
import glob
import json
import os
import sys

import numpy as np
import torch
import transformers
from safetensors import safe_open
from transformers import (Ministral3Config, Ministral3ForCausalLM, MinistralConfig, MinistralForCausalLM, MistralConfig,
                          MistralForCausalLM, MixtralConfig, MixtralForCausalLM)

PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
COMMON = dict(vocab_size=131, hidden_size=40, intermediate_size=108, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, head_dim=10, max_position_embeddings=256, rms_norm_eps=1e-5, sliding_window=None,
              rope_parameters=PLAIN, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=None)
YARN = dict(rope_type="yarn", type="yarn", rope_theta=500000.0, factor=6.0, original_max_position_embeddings=40,
            beta_fast=24.0, beta_slow=1.5, mscale=1.0, mscale_all_dim=0.5, llama_4_scaling_beta=0.2,
            max_position_embeddings=256)

# name: configuration class, model class, changes to COMMON, seed, batch, length, options
MODELS = {
    "mistral-base": (MistralConfig, MistralForCausalLM, {}, 101, 2, 37, {"train"}),
    "mistral-window": (MistralConfig, MistralForCausalLM,
                       dict(sliding_window=5, hidden_size=36, num_attention_heads=6, num_key_value_heads=3, head_dim=6,
                            num_hidden_layers=3), 102, 2, 44, set()),
    "mistral-tied": (MistralConfig, MistralForCausalLM,
                     dict(tie_word_embeddings=True, vocab_size=257, hidden_size=44, head_dim=12, num_hidden_layers=3),
                     103, 2, 29, {"bfloat16", "shards", "older"}),
    "mistral-nemo": (MistralConfig, MistralForCausalLM,
                     dict(head_dim=18, num_attention_heads=3, num_key_value_heads=1, hidden_size=52,
                          rope_parameters=dict(PLAIN, rope_theta=1e6)), 104, 1, 41, set()),
    "mistral-layers": (MinistralConfig, MinistralForCausalLM,
                       dict(sliding_window=6, num_hidden_layers=4, hidden_size=28, intermediate_size=60, head_dim=8,
                            rope_parameters=dict(PLAIN, rope_type="linear", factor=2.5),
                            layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"]),
                       105, 1, 39, {"float16"}),
    "mixtral-base": (MixtralConfig, MixtralForCausalLM,
                     dict(num_local_experts=5, num_experts_per_tok=2, vocab_size=97, hidden_size=24, intermediate_size=20,
                          head_dim=6), 107, 2, 33, {"train"}),
    "mistral-yarn": (Ministral3Config, Ministral3ForCausalLM,
                     dict(rope_parameters=YARN, tie_word_embeddings=True, num_key_value_heads=1), 106, 2, 90, set()),
}


def randomise(model, seed):
    """Weights large enough that every part of the network shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    tied = model.config.tie_word_embeddings
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() == 1:
                p.copy_(1 + 0.15 * noise)
            elif "embed" in name and not tied:
                p.copy_(noise)
            else:
                p.copy_(noise * 1.2 / p.shape[-1] ** 0.5)


def loss_of(model, ids):
    logits = model(ids, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def greedy(model, prompt, count):
    """The whole sequence each time, so that no cache of the reference is involved."""
    ids = prompt
    for _ in range(count):
        ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    return ids[:, prompt.shape[1]:]


def experts_apart(named):
    """In memory the experts of a layer are one tensor; files keep them apart."""
    out = {}
    for name, x in named.items():
        layer, _, rest = name.partition(".mlp.")
        layer += ".block_sparse_moe"
        if rest == "gate.weight":
            out[f"{layer}.gate.weight"] = x
        for e in range(len(x)):
            if rest == "experts.gate_up_proj":
                out[f"{layer}.experts.{e}.w1.weight"], out[f"{layer}.experts.{e}.w3.weight"] = x[e].chunk(2)
            elif rest == "experts.down_proj":
                out[f"{layer}.experts.{e}.w2.weight"] = x[e]
    return out


def train(model, ids, folder):
    """Gradients by the names of the file, then the losses of 20 steps of AdamW (the loss before each update)."""
    out = {}
    loss_of(model, ids).backward()
    named = {name: p.grad for name, p in model.named_parameters()}
    named.update(experts_apart(named))
    for path in glob.glob(os.path.join(folder, "*.safetensors")):
        with safe_open(path, "np") as f:
            for name in f.keys():
                out["grad/" + name] = named[name].detach().numpy().copy()
    groups = [dict(params=[p for p in model.parameters() if p.dim() > 1], weight_decay=0.1),
              dict(params=[p for p in model.parameters() if p.dim() == 1], weight_decay=0.0)]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = loss_of(model, ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    out["adamw_loss"] = np.array(losses, np.float32)
    return out


def older_config(folder):
    """config.json as releases before 5 wrote it."""
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        config = json.load(f)
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.40.0"
    with open(path, "w") as f:
        json.dump(config, f, indent=2)


def answers(model, ids):
    """What golden.npz holds of every model."""
    gold = {"ids": ids.numpy()}
    with torch.no_grad():
        out = model(ids, output_hidden_states=True, use_cache=False)
        gold["logits"] = out.logits.numpy()
        for i, h in enumerate(out.hidden_states):
            gold[f"hidden_{i}"] = h.numpy()
        gold["loss"] = loss_of(model, ids).numpy()
        gold["greedy"] = greedy(model, ids[:, :12], 24).numpy()
        gold["inv_freq"] = model.model.rotary_emb.inv_freq.numpy()
        gold["rope_scale"] = np.array(model.model.rotary_emb.attention_scaling, np.float32)
    return gold


def make(root, name):
    config_class, model_class, changes, seed, batch, length, options = MODELS[name]
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    folder = os.path.join(root, name)
    os.makedirs(folder, exist_ok=True)
    for old in glob.glob(os.path.join(folder, "*")):
        os.remove(old)
    model = model_class(config_class(**{**COMMON, **changes}))
    randomise(model, seed)
    stored = next((t for t in ("bfloat16", "float16") if t in options), "float32")
    model.to(getattr(torch, stored)).save_pretrained(folder, max_shard_size="20KB" if "shards" in options else "1GB")
    # Answers come from the file read back in float32; widening in place would keep 16-bit rotary frequencies.
    model = model_class.from_pretrained(folder, dtype=torch.float32).eval()
    model.set_attn_implementation("eager")
    if "older" in options:
        older_config(folder)
    ids = torch.randint(3, model.config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed + 1))
    gold = answers(model, ids)
    if "train" in options:
        gold.update(train(model, ids, folder))
    np.savez_compressed(os.path.join(folder, "golden.npz"), **gold)
    with open(os.path.join(folder, "origin.json"), "w") as f:
        json.dump(dict(made_by="tests/golden/make_golden.py", seed=seed, torch=torch.__version__,
                       transformers=transformers.__version__, numpy=np.__version__), f, indent=1)
        f.write("\n")
    print(f"{name}: loss {gold['loss']:.4f}, standard deviation of the logits {gold['logits'].std():.3f}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for case in sys.argv[2:] or MODELS:
        make(sys.argv[1], case)
