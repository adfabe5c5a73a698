#!/usr/bin/env python3
"""peer_quantize.py GALERNE FOLDER: what `galerne quantize` writes, beside llama.cpp's own quantiser.

Every mixture gives each tensor of a dense model, of one of 80 layers and of one of eight experts the type that the peer gives it, the peer loads
our files, and a file of ours gives in the peer nearly what it gives here. SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import json
import os
import subprocess
import sys

import gguf
import llama_cpp
import numpy as np

MIXTURES = {"F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
            "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30,
            "BF16": 32}
LAYERS, WIDTH, HEADS, KV, HIDDEN, VOCAB = 16, 256, 8, 2, 256, 64
quiet = llama_cpp.llama_log_callback(lambda *a: None)
llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))


def make(path, experts, hidden, layers):
    rng = np.random.default_rng(3)
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(64)
    w.add_embedding_length(WIDTH)
    w.add_block_count(layers)
    w.add_feed_forward_length(hidden)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(VOCAB)
    w.add_string("tokenizer.ggml.model", "no_vocab")
    if experts:
        w.add_expert_count(experts)
        w.add_expert_used_count(2)

    def put(name, *shape):
        w.add_tensor(name, (rng.standard_normal(shape) * 0.02).astype(np.float32))

    put("token_embd.weight", VOCAB, WIDTH)
    put("output.weight", VOCAB, WIDTH)
    put("output_norm.weight", WIDTH)
    size = WIDTH // HEADS
    for i in range(layers):
        for name, rows in (("q", HEADS * size), ("k", KV * size), ("v", KV * size)):
            put(f"blk.{i}.attn_{name}.weight", rows, WIDTH)
        put(f"blk.{i}.attn_output.weight", WIDTH, WIDTH)
        put(f"blk.{i}.attn_norm.weight", WIDTH)
        put(f"blk.{i}.ffn_norm.weight", WIDTH)
        if experts:
            put(f"blk.{i}.ffn_gate_inp.weight", experts, WIDTH)
            put(f"blk.{i}.ffn_gate_exps.weight", experts, hidden, WIDTH)
            put(f"blk.{i}.ffn_up_exps.weight", experts, hidden, WIDTH)
            put(f"blk.{i}.ffn_down_exps.weight", experts, WIDTH, hidden)
        else:
            put(f"blk.{i}.ffn_gate.weight", hidden, WIDTH)
            put(f"blk.{i}.ffn_up.weight", hidden, WIDTH)
            put(f"blk.{i}.ffn_down.weight", WIDTH, hidden)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def peer(source, out, file_type):
    p = llama_cpp.llama_model_quantize_default_params()
    p.nthread, p.ftype = 2, file_type
    assert llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(p)) == 0, (source, file_type)


def read(path):
    r = gguf.GGUFReader(path)
    return {t.name: t for t in r.tensors}, r.fields["general.file_type"].contents()


def loads(path):
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    assert model, f"{path}: the peer does not load it"
    llama_cpp.llama_model_free(model)


def compare_mixtures(galerne, folder):
    count = 0
    kinds = (("dense", 0, HIDDEN, LAYERS), ("odd", 0, 96, LAYERS), ("experts", 8, HIDDEN, LAYERS), ("80", 0, HIDDEN, 80))
    for kind, experts, hidden, layers in kinds:
        source, ours, theirs = (os.path.join(folder, f"{kind}{s}.gguf") for s in ("", "-ours", "-peer"))
        make(source, experts, hidden, layers)
        for name, number in MIXTURES.items():
            subprocess.run([galerne, "quantize", source, name, "-o", ours, "--quiet"], check=True)
            peer(source, theirs, number)
            (a, x), (b, y) = read(ours), read(theirs)
            assert a.keys() == b.keys() and x == y == number, (kind, name, x, y)
            for t in a:
                assert a[t].tensor_type == b[t].tensor_type, (kind, name, t, a[t].tensor_type, b[t].tensor_type)
                count += 1
            loads(ours)
    print(f"{count} tensors have the peer's types; the peer loads all {len(kinds) * len(MIXTURES)} files")


def compare_logits(galerne, folder):
    source = "tests/golden/gguf-mixed/model.gguf"
    wide, ours = os.path.join(folder, "wide.gguf"), os.path.join(folder, "ours.gguf")
    subprocess.run([galerne, "quantize", source, "F32", "-o", wide, "--quiet"], check=True)
    ids = [1, 30, 200, 17, 99, 250, 41, 8]
    for name in ("Q8_0", "Q6_K", "Q4_K_M", "Q4_0"):
        subprocess.run([galerne, "quantize", wide, name, "-o", ours, "--quiet"], check=True)
        lm = llama_cpp.Llama(model_path=ours, n_ctx=64, logits_all=True, verbose=False)
        lm.eval(ids)
        there = np.array(lm.scores[:len(ids)], dtype=np.float64)
        out = os.path.join(folder, "here.npy")
        subprocess.run([galerne, "logits", ours, "--ids", " ".join(map(str, ids)), "-o", out], check=True)
        here = np.load(out).astype(np.float64)
        p = [x - x.max(1, keepdims=True) for x in (here, there)]
        p = [x - np.log(np.exp(x).sum(1, keepdims=True)) for x in p]
        kl = float((np.exp(p[0]) * (p[0] - p[1])).sum(1).mean())
        print(json.dumps({"type": name, "kl": kl}))
        # Activations are quantised in both, in blocks of other sizes: as far apart as that puts either from the exact.
        assert kl < 2e-3, (name, kl)


if __name__ == "__main__":
    os.makedirs(sys.argv[2], exist_ok=True)
    compare_mixtures(sys.argv[1], sys.argv[2])
    compare_logits(sys.argv[1], sys.argv[2])
