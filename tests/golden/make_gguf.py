#!/usr/bin/env python3
"""Makes gguf-mixed: a small GGUF file with a matrix of every kind of block, and the reference implementation's answers.

    python3 make_gguf.py OUTDIR

Needs torch, transformers, gguf, sentencepiece and numpy in an environment that may be thrown away afterwards. Blocks are
drawn at random (their f16 scales are small and finite), so that nobody's way of quantising matters; the answers are the
float32 computation on the numbers that the gguf package makes of them. SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import sys
from importlib.metadata import version

import gguf
import numpy as np
import sentencepiece
import torch
import transformers
from make_golden import answers
from transformers import MistralConfig, MistralForCausalLM

SEED = 77
HERE = os.path.dirname(os.path.abspath(__file__))
WIDTH, HIDDEN, HEADS, KV, LAYERS, WINDOW = 256, 256, 8, 2, 1, 11
T = gguf.GGMLQuantizationType
KINDS = {"token_embd": T.Q6_K, "output": T.Q8_0, "attn_q": T.Q4_K, "attn_k": T.Q5_K, "attn_v": T.IQ4_NL,
         "attn_output": T.Q3_K, "ffn_gate": T.IQ4_XS, "ffn_up": T.Q5_1, "ffn_down": T.Q2_K}
# where a block's f16 numbers lie
SCALES = {T.Q6_K: [208], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.IQ4_NL: [0], T.Q3_K: [108], T.IQ4_XS: [0],
          T.Q5_1: [0, 2], T.Q2_K: [80, 82]}
# so that every matrix has numbers of about the same size
SIZE = {T.Q6_K: 2e-5, T.Q8_0: 1e-3, T.Q4_K: 2e-4, T.Q5_K: 1e-4, T.IQ4_NL: 1e-3, T.Q3_K: 1e-3, T.IQ4_XS: 4e-5,
        T.Q5_1: 4e-3, T.Q2_K: 4e-3}


def blocks(rng, rows, cols, kind):
    per, size = gguf.GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (rows * cols // per, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = (SIZE[kind] * rng.uniform(0.5, 1.5, len(raw))).astype(np.float16)
        if len(SCALES[kind]) == 2 and at == SCALES[kind][1]:  # a minimum about half the range below
            scale = (scale.astype(np.float32) * (-15 if kind == T.Q5_1 else 1)).astype(np.float16)
        raw[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return raw.reshape(rows, -1)


def half_split(x, heads):
    """Rows in pairs (2j, 2j + 1), as in GGUF, to (j, j + half), as in Hugging Face folders."""
    return x.reshape(heads, x.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(x.shape)


def main(out):
    rng = np.random.default_rng(SEED)
    torch.set_num_threads(1)
    sp = sentencepiece.SentencePieceProcessor(model_file=os.path.join(HERE, "text", "tiny.model"))
    vocab, size = sp.vocab_size(), WIDTH // HEADS
    config = MistralConfig(vocab_size=vocab, hidden_size=WIDTH, intermediate_size=HIDDEN, num_hidden_layers=LAYERS,
                           num_attention_heads=HEADS, num_key_value_heads=KV, head_dim=size, sliding_window=WINDOW,
                           max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=False,
                           rope_parameters={"rope_type": "default", "rope_theta": 50000.0})
    model = MistralForCausalLM(config).float().eval()
    state = model.state_dict()

    os.makedirs(out, exist_ok=True)
    w = gguf.GGUFWriter(os.path.join(out, "model.gguf"), "llama")
    w.add_context_length(256)
    w.add_embedding_length(WIDTH)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(HIDDEN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(50000.0)
    w.add_rope_dimension_count(size)
    w.add_sliding_window(WINDOW)
    w.add_vocab_size(vocab)
    w.add_tokenizer_model("llama")
    w.add_token_list([sp.id_to_piece(i) for i in range(vocab)])
    w.add_token_scores([sp.get_score(i) for i in range(vocab)])
    w.add_token_types([2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1
                       for i in range(vocab)])
    w.add_bos_token_id(sp.bos_id())
    w.add_eos_token_id(sp.eos_id())

    def matrix(name, key, rows, cols, heads=0):
        kind = KINDS[name.split(".")[-2]]
        raw = blocks(rng, rows, cols, kind)
        w.add_tensor(name, raw, raw_dtype=kind)
        x = gguf.quants.dequantize(raw, kind).reshape(rows, cols)
        state[key].copy_(torch.from_numpy(half_split(x, heads) if heads else x))

    def norm(name, key):
        x = (1 + 0.2 * rng.standard_normal(WIDTH)).astype(np.float32)
        w.add_tensor(name, x)
        state[key].copy_(torch.from_numpy(x))

    matrix("token_embd.weight", "model.embed_tokens.weight", vocab, WIDTH)
    for i in range(LAYERS):
        b, h = f"blk.{i}.", f"model.layers.{i}."
        norm(b + "attn_norm.weight", h + "input_layernorm.weight")
        matrix(b + "attn_q.weight", h + "self_attn.q_proj.weight", WIDTH, WIDTH, HEADS)
        matrix(b + "attn_k.weight", h + "self_attn.k_proj.weight", KV * size, WIDTH, KV)
        matrix(b + "attn_v.weight", h + "self_attn.v_proj.weight", KV * size, WIDTH)
        matrix(b + "attn_output.weight", h + "self_attn.o_proj.weight", WIDTH, WIDTH)
        norm(b + "ffn_norm.weight", h + "post_attention_layernorm.weight")
        matrix(b + "ffn_gate.weight", h + "mlp.gate_proj.weight", HIDDEN, WIDTH)
        matrix(b + "ffn_up.weight", h + "mlp.up_proj.weight", HIDDEN, WIDTH)
        matrix(b + "ffn_down.weight", h + "mlp.down_proj.weight", WIDTH, HIDDEN)
    norm("output_norm.weight", "model.norm.weight")
    matrix("output.weight", "lm_head.weight", vocab, WIDTH)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()

    model.set_attn_implementation("eager")
    ids = torch.from_numpy(rng.integers(3, vocab, (1, 40)))
    np.savez_compressed(os.path.join(out, "golden.npz"), **answers(model, ids))
    with open(os.path.join(out, "origin.json"), "w", encoding="utf-8") as f:
        json.dump(dict(made_by="tests/golden/make_gguf.py", seed=SEED, torch=torch.__version__,
                       transformers=transformers.__version__, gguf=version("gguf"), numpy=np.__version__), f, indent=1)
        f.write("\n")


main(sys.argv[1])
