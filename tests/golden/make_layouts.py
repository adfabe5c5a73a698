#!/usr/bin/env python3
"""Makes own-yarn, own-fp8, gguf-mistral3, gguf-mistral3-q, ministral-fp8 and mixtral-fp8: small random models in the layouts in
which others publish them, and the reference implementation's answers.

    python3 make_layouts.py OUTDIR [NAME ...]

Needs torch, transformers, safetensors, gguf and numpy in an environment that may be thrown away afterwards. README.md
beside this file says what each folder is there for. SPDX-License-Identifier: Apache-2.0
"""
import glob
import json
import os
import sys
from importlib.metadata import version

import gguf
import numpy as np
import torch
import transformers
from make_golden import answers, randomise
from safetensors.torch import save_file
from transformers import (Ministral3Config, Ministral3ForCausalLM, MistralConfig, MistralForCausalLM, MixtralConfig,
                          MixtralForCausalLM)

OWN = [("model.embed_tokens", "tok_embeddings"), ("model.norm", "norm"), ("lm_head", "output"), ("model.layers", "layers"),
       ("self_attn.q_proj", "attention.wq"), ("self_attn.k_proj", "attention.wk"), ("self_attn.v_proj", "attention.wv"),
       ("self_attn.o_proj", "attention.wo"), ("mlp.gate_proj", "feed_forward.w1"), ("mlp.down_proj", "feed_forward.w2"),
       ("mlp.up_proj", "feed_forward.w3"), ("input_layernorm", "attention_norm"), ("post_attention_layernorm", "ffn_norm")]
GGUF = [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output"), ("model.layers", "blk"),
        ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"), ("mlp.gate_proj", "ffn_gate"), ("mlp.down_proj", "ffn_down"),
        ("mlp.up_proj", "ffn_up"), ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")]


def renamed(name, table):
    for a, b in table:
        name = name.replace(a, b, 1)
    return name


def in_pairs(name, w, config):
    """Rows of q and k from (j, j + half), as in Hugging Face folders, to pairs (2j, 2j + 1)."""
    heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads if "k_proj" in name else 0
    return w.reshape(heads, 2, w.shape[0] // heads // 2, -1).transpose(1, 2).reshape(w.shape).contiguous() if heads else w


def half_split(name, w, config):
    """The way back."""
    heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads if "k_proj" in name else 0
    return w.reshape(heads, w.shape[0] // heads // 2, 2, -1).transpose(1, 2).reshape(w.shape) if heads else w


def finish(folder, model, seed, length, batch=1):
    model.set_attn_implementation("eager")
    ids = torch.randint(3, model.config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed + 1))
    gold = answers(model.eval(), ids)
    np.savez_compressed(os.path.join(folder, "golden.npz"), **gold)
    with open(os.path.join(folder, "origin.json"), "w", encoding="utf-8") as f:
        json.dump(dict(made_by="tests/golden/make_layouts.py", seed=seed, torch=torch.__version__,
                       transformers=transformers.__version__, gguf=version("gguf"), numpy=np.__version__), f, indent=1)
        f.write("\n")
    print(f"{folder}: loss {gold['loss']:.4f}, standard deviation of the logits {gold['logits'].std():.3f}")


def empty(root, name):
    folder = os.path.join(root, name)
    os.makedirs(folder, exist_ok=True)
    for old in glob.glob(os.path.join(folder, "*")):
        os.remove(old)
    return folder


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def fp8(w):
    """Of a tensor: its FP8 numbers and their scale; w becomes what they mean."""
    s = (w.abs().amax() / 448).to(torch.bfloat16)
    w8 = (w / s.float()).to(torch.float8_e4m3fn)
    w.copy_(w8.float() * s.float())
    return w8, s


def ministral3(seed, sizes=(36, 52, 12), **changes):
    width, hidden, size = sizes
    yarn = dict(rope_type="yarn", type="yarn", rope_theta=200000.0, factor=5.0, original_max_position_embeddings=24,
                beta_fast=20.0, beta_slow=1.25, llama_4_scaling_beta=0.3, max_position_embeddings=120, **changes)
    config = Ministral3Config(vocab_size=67, hidden_size=width, intermediate_size=hidden, num_hidden_layers=2,
                              num_attention_heads=3, num_key_value_heads=1, head_dim=size, max_position_embeddings=120,
                              rms_norm_eps=1e-5, sliding_window=None, rope_parameters=yarn, tie_word_embeddings=True)
    torch.manual_seed(seed)
    model = Ministral3ForCausalLM(config)
    randomise(model, seed)
    return model


def own_yarn(root, seed):
    """YaRN with its factor on cosine and sine, query scaling, tied, two files and an index; a third file that it does not
    name, and a config.json without weights, are to be passed over."""
    folder, model = empty(root, "own-yarn"), ministral3(seed)
    weights = {renamed(k, OWN): in_pairs(k, v, model.config) for k, v in model.state_dict().items() if k != "lm_head.weight"}
    names = sorted(weights)
    files = {f"consolidated-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, part in files.items():
        save_file({k: weights[k] for k in part}, os.path.join(folder, file))
    save_file({"stray": torch.zeros(1)}, os.path.join(folder, "consolidated-00003-of-00002.safetensors"))
    write_json(folder, "consolidated.safetensors.index.json",
               dict(metadata=dict(total_size=0), weight_map={k: f for f, part in files.items() for k in part}))
    write_json(folder, "config.json", dict(model_type="mistral"))
    write_json(folder, "params.json", dict(
        dim=36, n_layers=2, head_dim=12, hidden_dim=52, n_heads=3, n_kv_heads=1, norm_eps=1e-5, vocab_size=67,
        rope_theta=200000.0, max_position_embeddings=120, tied_embeddings=True, model_type="transformer", sliding_window=None,
        yarn=dict(original_max_position_embeddings=24, factor=5, beta=20, alpha=1.25, apply_scale=True),
        llama_4_scaling=dict(original_max_position_embeddings=24, beta=0.3)))
    finish(folder, model, seed, 60)


def gguf_mistral3(root, seed, name="gguf-mistral3", sizes=(36, 52, 12), kinds=()):
    """YaRN as converters write it (a logarithm's multiplier for what folders call mscale_all_dim), query scaling. kinds:
    formats of blocks that the matrices have in turn."""
    folder, model = empty(root, name), ministral3(seed, sizes, mscale=1.0, mscale_all_dim=0.6)
    width, hidden, size = sizes
    w = gguf.GGUFWriter(os.path.join(folder, "model.gguf"), "mistral3")
    w.add_context_length(120)
    w.add_embedding_length(width)
    w.add_block_count(2)
    w.add_feed_forward_length(hidden)
    w.add_head_count(3)
    w.add_head_count_kv(1)
    w.add_key_length(size)
    w.add_value_length(size)
    w.add_vocab_size(67)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(size)
    w.add_rope_freq_base(200000.0)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(5.0)
    w.add_rope_scaling_orig_ctx_len(24)
    w.add_rope_scaling_yarn_beta_fast(20.0)
    w.add_rope_scaling_yarn_beta_slow(1.25)
    w.add_rope_scaling_yarn_log_mul(0.6)
    w.add_attn_temperature_scale(0.3)
    w.add_float32("general.sampling.temp", 0.15)
    w.add_int32("general.sampling.top_k", 12)
    w.add_float32("general.sampling.top_p", 0.9)
    w.add_float32("general.sampling.min_p", 0.02)
    w.add_float32("general.sampling.penalty_repeat", 1.125)
    w.add_chat_template("{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}")
    n = 0
    for name, x in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        values = in_pairs(name, x, model.config).numpy()
        if not kinds or x.dim() == 1:
            w.add_tensor(renamed(name, GGUF), values)
            continue
        kind = kinds[n % len(kinds)]
        n += 1
        raw = gguf.quants.quantize(values, kind)
        w.add_tensor(renamed(name, GGUF), raw, raw_dtype=kind)
        x.copy_(half_split(name, torch.from_numpy(gguf.quants.dequantize(raw, kind).reshape(x.shape)), model.config))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    finish(folder, model, seed, 60)


def own_fp8(root, seed):
    """FP8 with a scale a tensor, a row (two shapes) and a block with ragged edges, inside a model of pictures; a window in
    the second layer only, written as text."""
    config = MistralConfig(vocab_size=67, hidden_size=132, intermediate_size=140, num_hidden_layers=2, num_attention_heads=2,
                           num_key_value_heads=1, head_dim=14, max_position_embeddings=64, rms_norm_eps=1e-5,
                           sliding_window=None, tie_word_embeddings=False,
                           rope_parameters=dict(rope_type="default", rope_theta=1e6))
    folder = empty(root, "own-fp8")
    torch.manual_seed(seed)
    model = MistralForCausalLM(config)
    randomise(model, seed)
    state, out = model.state_dict(), {}
    for name, w in state.items():
        own = renamed(name, OWN)
        if ".layers." not in name or w.dim() == 1:
            w.copy_(w.to(torch.bfloat16).float())
            out[own] = w.to(torch.bfloat16)
            continue
        rows, cols = w.shape
        kind = own.split(".")[-2]
        if kind in ("wq", "w1"):  # a row
            s = (w.abs().amax(1, keepdim=True) / 448).to(torch.bfloat16 if kind == "wq" else torch.float32)
            up, stored = s.float().expand(rows, cols), s if kind == "wq" else s[:, 0].contiguous()
        elif kind in ("w2", "w3"):  # blocks of 128 x 128
            s = torch.stack([torch.stack([b.abs().amax() / 448 for b in band.split(128, 1)]) for band in w.split(128, 0)])
            up, stored = s.repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :cols], s
        else:
            w8, stored = fp8(w)
        if kind not in ("wk", "wv", "wo"):
            w8 = (w / up).to(torch.float8_e4m3fn)
            w.copy_(w8.float() * up)
        out[own] = in_pairs(name, w8.view(torch.uint8), config).view(torch.float8_e4m3fn)
        if stored.dim() and stored.numel() == rows:  # scales of rows go where the rows go
            stored = in_pairs(name, stored.reshape(rows, 1), config).reshape(stored.shape)
        out[own[:-len("weight")] + "qscale_weight"] = stored
        out[own[:-len("weight")] + "qscale_act"] = torch.tensor(0.25, dtype=torch.bfloat16)
    for i in range(2):
        out[f"layers.{i}.attention.kv_fake_quantizer.qscale_act"] = torch.tensor(0.5)
    out["vision_encoder.patch_conv.weight"] = torch.zeros(4, 3, 2, 2)
    out["vision_encoder.ln_pre.weight"] = torch.ones(4)
    out["vision_language_adapter.w_in.weight"] = torch.zeros(132, 4)
    save_file(out, os.path.join(folder, "consolidated.safetensors"))
    write_json(folder, "params.json", dict(
        dim=132, n_layers=2, head_dim=14, hidden_dim=140, n_heads=2, n_kv_heads=1, norm_eps=1e-5, vocab_size=67,
        rope_theta=1e6, max_seq_len=64, _sliding_window="[null, 9]",
        quantization=dict(qformat_weight="fp8_e4m3", qscheme_act="TENSOR"),
        vision_encoder=dict(hidden_size=4, num_channels=3, image_size=4, patch_size=2, intermediate_size=4,
                            num_hidden_layers=1, num_attention_heads=1, rope_theta=10000.0, image_token_id=10)))
    layers = transformers.MinistralConfig(**{**config.to_dict(), "model_type": "ministral", "sliding_window": 9,
                                             "layer_types": ["full_attention", "sliding_attention"]})
    model = transformers.MinistralForCausalLM(layers)
    model.load_state_dict(state)
    finish(folder, model, seed, 40, 2)


def ministral_fp8(root, seed):
    """Both layouts in one folder, as Ministral 3 comes: FP8 with a scale a tensor, inside a model of pictures; YaRN whose
    factor on cosine and sine is 1, query scaling."""
    folder, model = empty(root, "ministral-fp8"), ministral3(seed, mscale=1.0, mscale_all_dim=1.0)
    hf, own = {}, {}
    for name, w in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        there, here = "language_model." + name, renamed(name, OWN)
        if ".layers." not in name or w.dim() == 1:
            w.copy_(w.to(torch.bfloat16).float())
            hf[there] = own[here] = w.to(torch.bfloat16)
            continue
        w8, s = fp8(w)
        hf[there] = w8
        hf[there + "_scale_inv"] = s
        hf[there[:-len("weight")] + "activation_scale"] = torch.tensor(0.25, dtype=torch.bfloat16)
        own[here] = in_pairs(name, w8.view(torch.uint8), model.config).view(torch.float8_e4m3fn)
        own[here[:-len("weight")] + "qscale_weight"] = s.clone()
        own[here[:-len("weight")] + "qscale_act"] = torch.tensor(0.25, dtype=torch.bfloat16)
    hf["vision_tower.ln_pre.weight"] = own["vision_encoder.ln_pre.weight"] = torch.ones(4)
    hf["multi_modal_projector.linear_1.weight"] = torch.zeros(36, 4)
    own["vision_language_adapter.w_in.weight"] = torch.zeros(36, 4)
    save_file({k: v.clone() for k, v in hf.items()}, os.path.join(folder, "model.safetensors"))
    save_file({k: v.clone() for k, v in own.items()}, os.path.join(folder, "consolidated.safetensors"))
    text = {k: v for k, v in model.config.to_dict().items() if k not in ("dtype", "transformers_version", "architectures")}
    write_json(folder, "config.json", dict(
        architectures=["Mistral3ForConditionalGeneration"], model_type="mistral3", dtype="bfloat16", image_token_index=10,
        text_config=text, vision_config=dict(model_type="pixtral", hidden_size=4, image_size=4, patch_size=2),
        quantization_config=dict(quant_method="fp8", activation_scheme="static", weight_block_size=None,
                                 modules_to_not_convert=["model.vision_tower", "model.multi_modal_projector", "lm_head"])))
    write_json(folder, "params.json", dict(
        dim=36, n_layers=2, head_dim=12, hidden_dim=52, n_heads=3, n_kv_heads=1, norm_eps=1e-5, vocab_size=67,
        rope_theta=200000.0, max_position_embeddings=120, tied_embeddings=True, model_type="transformer", sliding_window=None,
        yarn=dict(original_max_position_embeddings=24, factor=5, beta=20, alpha=1.25, apply_scale=False),
        llama_4_scaling=dict(original_max_position_embeddings=24, beta=0.3),
        quantization=dict(qformat_weight="fp8_e4m3", qscheme_act="TENSOR"),
        vision_encoder=dict(hidden_size=4, num_channels=3, image_size=4, patch_size=2, intermediate_size=4,
                            num_hidden_layers=1, num_attention_heads=1, rope_theta=10000.0, image_token_id=10)))
    finish(folder, model, seed, 60)


def mixtral_fp8(root, seed):
    """FP8 with a scale for each matrix of each expert, as such files of Mixtral come; the router stays bf16."""
    config = MixtralConfig(vocab_size=67, hidden_size=28, intermediate_size=36, num_hidden_layers=2, num_attention_heads=3,
                           num_key_value_heads=1, head_dim=10, max_position_embeddings=64, rms_norm_eps=1e-5,
                           sliding_window=None, tie_word_embeddings=False, num_local_experts=4, num_experts_per_tok=2,
                           rope_parameters=dict(rope_type="default", rope_theta=1e6))
    folder = empty(root, "mixtral-fp8")
    torch.manual_seed(seed)
    model = MixtralForCausalLM(config)
    randomise(model, seed)
    out = {}

    def put(name, w):
        w8, s = fp8(w)
        out[name + ".weight"], out[name + ".weight_scale"] = w8, s.float()
        out[name + ".input_scale"] = torch.tensor(0.25)

    for name, w in model.state_dict().items():
        old = name.replace(".mlp.", ".block_sparse_moe.")
        if "experts.gate_up_proj" in name or "experts.down_proj" in name:
            for e in range(w.shape[0]):
                parts = {"w2": w[e]} if "down" in name else dict(zip(("w1", "w3"), w[e].chunk(2)))
                for part, x in parts.items():
                    put(f"{old.rsplit('.', 1)[0]}.{e}.{part}", x)
        elif ".self_attn." in name:
            put(old[:-len(".weight")], w)
        else:
            w.copy_(w.to(torch.bfloat16).float())
            out[old] = w.to(torch.bfloat16)
    save_file({k: v.clone() for k, v in out.items()}, os.path.join(folder, "model.safetensors"))
    kept = {k: v for k, v in config.to_dict().items() if k not in ("dtype", "transformers_version")}
    write_json(folder, "config.json", dict(kept, dtype="bfloat16", architectures=["MixtralForCausalLM"], quantization_config=dict(
        quant_method="fp8", activation_scheme="static", ignored_layers=["lm_head"])))
    finish(folder, model, seed, 40)


MODELS = {
    "own-yarn": lambda root: own_yarn(root, 201),
    "gguf-mistral3": lambda root: gguf_mistral3(root, 202),
    "own-fp8": lambda root: own_fp8(root, 203),
    "gguf-mistral3-q": lambda root: gguf_mistral3(root, 204, "gguf-mistral3-q", (64, 96, 32),
                                                  [gguf.GGMLQuantizationType[k] for k in ("Q8_0", "Q4_0", "Q5_1", "Q4_1", "Q5_0")]),
    "ministral-fp8": lambda root: ministral_fp8(root, 205),
    "mixtral-fp8": lambda root: mixtral_fp8(root, 206),
}

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    for one in sys.argv[2:] or MODELS:
        MODELS[one](sys.argv[1])
