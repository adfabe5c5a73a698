#!/usr/bin/env python3
"""Makes small models of Gopher's family with random weights, and the answers of an implementation written from the equations
(gopher.md 2, routed-scaling.md 3) in float64 PyTorch; the relative term by the shift of Transformer-XL.

    python3 make_gopher.py OUTDIR [NAME ...]

Needs torch, safetensors and numpy in an environment that may be thrown away afterwards. README.md beside this file says what
each model is there for and what golden.npz holds. SPDX-License-Identifier: Apache-2.0
"""
import json
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)
COMMON = dict(model_type="gopher", architectures=["GopherForCausalLM"], vocab_size=131, hidden_size=36, intermediate_size=60,
              num_hidden_layers=2, num_attention_heads=3, head_dim=10, max_position_embeddings=64, max_relative_distance=None,
              norm="rms_norm", norm_eps=1e-6, hidden_act="gelu_tanh", tie_word_embeddings=True, bias=True, bos_token_id=1,
              eos_token_id=2, dtype="float32")
# name: changes to COMMON, seed, batch, length, whether with gradients
MODELS = {
    "gopher-base": (dict(), 201, 2, 37, True),
    "gopher-clamp": (dict(max_relative_distance=9, norm="layer_norm", hidden_size=26, num_attention_heads=2, head_dim=9,
                          num_hidden_layers=3), 202, 2, 41, False),
    "routed-sbase": (dict(num_experts=5, num_experts_per_tok=2, routed_every=2, router="sbase", gate="sigmoid",
                          norm_topk_prob=True, num_hidden_layers=4, hidden_size=24, intermediate_size=28), 203, 2, 33, False),
    "routed-rlr": (dict(num_experts=4, num_experts_per_tok=1, routed_every=1, router="rlr", hidden_size=24,
                        intermediate_size=28), 204, 1, 35, False),
    "routed-hash": (dict(num_experts=3, num_experts_per_tok=1, routed_every=2, router="hash", hidden_size=20,
                         intermediate_size=24), 205, 2, 29, True),
}


def routed(c, l):
    return c.get("num_experts", 0) > 0 and (l + 1) % c["routed_every"] == 0


def weights(c, seed):
    generator = torch.Generator().manual_seed(seed)
    d, f, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    heads, size = c["num_attention_heads"], c["head_dim"]
    a, w = heads * size, {}

    def put(name, *shape, scale=None, mean=0.0):
        x = torch.randn(*shape, generator=generator)
        w[name] = mean + x * (scale if scale else 1.2 / shape[-1] ** 0.5)

    def norm(name):
        put(name + ".weight", d, scale=0.15, mean=1.0)
        if c["norm"] == "layer_norm":
            put(name + ".bias", d, scale=0.1)

    def feed_forward(p):
        put(p + "up_proj.weight", f, d)
        put(p + "up_proj.bias", f, scale=0.1)
        put(p + "down_proj.weight", d, f)
        put(p + "down_proj.bias", d, scale=0.1)

    put("model.embed_tokens.weight", v, d)
    norm("model.norm")
    for l in range(c["num_hidden_layers"]):
        p = f"model.layers.{l}."
        norm(p + "input_norm")
        for x in "qkv":
            put(p + f"attn.{x}_proj.weight", a, d)
            put(p + f"attn.{x}_proj.bias", a, scale=0.1)
        put(p + "attn.r_proj.weight", a, d)
        put(p + "attn.u", heads, size, scale=0.4)
        put(p + "attn.v", heads, size, scale=0.4)
        put(p + "attn.o_proj.weight", d, a)
        put(p + "attn.o_proj.bias", d, scale=0.1)
        norm(p + "post_attn_norm")
        if not routed(c, l):
            feed_forward(p + "mlp.")
            continue
        if c["router"] != "hash":
            put(p + "moe.router.weight", c["num_experts"], d, scale=1.5 / d ** 0.5)
        if c["router"] == "rlr":
            put(p + "moe.value_up.weight", max(d // 8, 1), d)
            put(p + "moe.value_down.weight", 1, max(d // 8, 1))
        for e in range(c["num_experts"]):
            feed_forward(p + f"moe.experts.{e}.")
    return {name: x.float().double() for name, x in w.items()}


def norm(c, w, name, x):
    if c["norm"] == "layer_norm":
        return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], c["norm_eps"])
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + c["norm_eps"]) * w[name + ".weight"]


def linear(w, name, x, bias=True):
    return F.linear(x, w[name + ".weight"], w[name + ".bias"] if bias else None)


def attention(c, w, p, x):
    b, t, d = x.shape
    heads, size = c["num_attention_heads"], c["head_dim"]
    q, k, v = (linear(w, p + f"{n}_proj", x).view(b, t, heads, size) for n in "qkv")
    rate = 10000 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    distance = torch.arange(t - 1, -1, -1, dtype=torch.float64)
    if c["max_relative_distance"]:
        distance = distance.clamp(max=c["max_relative_distance"])
    angle = torch.outer(distance, rate)
    r = linear(w, p + "r_proj", torch.cat([angle.sin(), angle.cos()], 1), bias=False).view(t, heads, size)
    content = torch.einsum("bihk,bjhk->bhij", q + w[p + "u"], k)
    shifted = torch.einsum("bihk,jhk->bhij", q + w[p + "v"], r)
    shifted = F.pad(shifted, (1, 0)).view(b, heads, t + 1, t)[:, :, 1:]
    score = (content + shifted) / math.sqrt(size)
    future = torch.ones(t, t, dtype=torch.bool).triu(1)
    probability = score.masked_fill(future, -math.inf).softmax(-1)
    return linear(w, p + "o_proj", torch.einsum("bhij,bjhk->bihk", probability, v).reshape(b, t, heads * size))


def feed_forward(w, p, x):
    return linear(w, p + "down_proj", F.gelu(linear(w, p + "up_proj", x), approximate="tanh"))


def experts(c, w, p, x, ids):
    """As in evaluation: the largest logits; with "hash" the id alone decides."""
    if c["router"] == "hash":
        gate = F.one_hot(ids % c["num_experts"], c["num_experts"]).double()
    else:
        logits = linear(w, p + "router", x, bias=False)
        all_of_them = logits.sigmoid() if c.get("gate") == "sigmoid" else logits.softmax(-1)
        if c["router"] == "rlr":
            all_of_them = torch.ones_like(logits)
        chosen = torch.zeros_like(logits).scatter(-1, logits.topk(c["num_experts_per_tok"], -1).indices, 1.0)
        gate = all_of_them * chosen
        if c.get("norm_topk_prob"):
            gate = gate / gate.sum(-1, keepdim=True)
    return sum(gate[..., e:e + 1] * feed_forward(w, p + f"experts.{e}.", x) for e in range(c["num_experts"]))


def forward(c, w, ids, hidden=None):
    x = w["model.embed_tokens.weight"][ids]
    for l in range(c["num_hidden_layers"]):
        if hidden is not None:
            hidden.append(x)
        p = f"model.layers.{l}."
        x = x + attention(c, w, p + "attn.", norm(c, w, p + "input_norm", x))
        n = norm(c, w, p + "post_attn_norm", x)
        x = x + (experts(c, w, p + "moe.", n, ids) if routed(c, l) else feed_forward(w, p + "mlp.", n))
    x = norm(c, w, "model.norm", x)
    if hidden is not None:
        hidden.append(x)
    return x @ w["model.embed_tokens.weight"].T


def loss_of(c, w, ids):
    logits = forward(c, w, ids)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def greedy(c, w, prompt, count):
    ids = prompt
    for _ in range(count):
        ids = torch.cat([ids, forward(c, w, ids)[:, -1:].argmax(-1)], 1)
    return ids[:, prompt.shape[1]:]


def adamw(c, w, ids, steps=20):
    matrices = [x for name, x in w.items() if name.endswith(".weight") and x.dim() == 2]
    vectors = [x for name, x in w.items() if not (name.endswith(".weight") and x.dim() == 2)]
    optimiser = torch.optim.AdamW([dict(params=matrices, weight_decay=0.1), dict(params=vectors, weight_decay=0.0)],
                                  lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = loss_of(c, w, ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(w.values()), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses


def make(out, name):
    changes, seed, batch, length, train = MODELS[name]
    c = dict(COMMON, **changes)
    w = weights(c, seed)
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    save_file({k: v.float().contiguous() for k, v in w.items()}, os.path.join(folder, "model.safetensors"),
              metadata={"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(c, file, indent=1)
        file.write("\n")
    with open(os.path.join(folder, "origin.json"), "w") as file:
        json.dump(dict(torch=torch.__version__, numpy=np.__version__), file)
        file.write("\n")
    ids = torch.randint(0, c["vocab_size"], (batch, length), generator=torch.Generator().manual_seed(seed + 1000))
    hidden = []
    gold = dict(ids=ids.numpy(), logits=forward(c, w, ids, hidden).numpy(), greedy=greedy(c, w, ids[:, :12], 24).numpy(),
                loss=loss_of(c, w, ids).numpy(), **{f"hidden_{i}": x.numpy() for i, x in enumerate(hidden)})
    if train:
        for x in w.values():
            x.requires_grad_(True)
        loss_of(c, w, ids).backward()
        gold.update({"grad/" + k: x.grad.numpy().copy() for k, x in w.items()})
        gold["adamw_loss"] = np.array(adamw(c, w, ids))
    np.savez_compressed(os.path.join(folder, "golden.npz"),
                        **{k: x.astype(np.float32) if x.dtype == np.float64 else x for k, x in gold.items()})
    print(name, "loss %.4f, deviation of logits %.3f" % (gold["loss"], gold["logits"].std()))


if __name__ == "__main__":
    for model in sys.argv[2:] or MODELS:
        make(sys.argv[1], model)
