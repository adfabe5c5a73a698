# SPDX-License-Identifier: Apache-2.0
"""The other side of `galerne bench --vs llama.cpp`: measures through the package llama-cpp-python what it is asked.

galerne holds this text and starts `python3 -c TEXT`. One JSON object a line on standard input, one on standard output
for each; the first line comes unasked: {"version": ..., "system": ...}, or {"missing": WHY} and the end.

  {"do": "open", "model": PATH, "vocab": V, "threads": T, "chunk": 512, "longest": N, "flash": "best"|"on"|"off"}
  {"do": "prepare", "kind": "prefill"|"decode", "n": N, "depth": D, "batch": B}      not counted -> {"flash": true, ...}
  {"do": "measure", ...the same}                                                     -> {"value": SECONDS}
  {"do": "start", "n": 16, "repack": true}      opens the model, too, up to the first token   -> {"value": SECONDS}
  {"do": "memory", "n": 4096, "repack": true}   with a context of so many                     -> {"value": BYTES}

What an engine is given to be at its best: as many threads for prompts as for single tokens, prompts in pieces of 512
rows, logits of the last token of a prompt alone, a cache in f16, weights repacked as the library likes, flash
attention on or off by what is faster here ("best": tried before a cell, at a depth of at most 2048), and so for a
batch whether its sequences share one cache. Repacking costs time and memory at a start: who asks tries both there.
Times are those of the library's calls: batches are made before.
"""
import ctypes
import json
import os
import resource
import sys
import time

out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever else is printed is no answer


def say(**what):
    print(json.dumps(what), file=out, flush=True)


try:
    import llama_cpp as L
except Exception as why:  # not installed, or its library does not load here
    say(missing=f"{type(why).__name__}: {why}"[:300])
    sys.exit(0)


def of(*names):
    """The function under the first name that this version knows."""
    for name in names:
        if hasattr(L, name):
            return getattr(L, name)
    raise RuntimeError(f"this version of llama-cpp-python has no {names[0]}")


def resident():
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def token(sequence, position):
    return (((sequence * 7919 + position + 1) * 2654435761 & 0xFFFFFFFF) >> 8) % how["vocab"]


class Batch:
    """Tokens of one step: rows of (sequence, position), logits after the last one or after each."""

    def __init__(self, rows, all_logits):
        self.b = L.llama_batch_init(len(rows), 0, 1)
        self.b.n_tokens = len(rows)
        for i, (sequence, position) in enumerate(rows):
            self.b.token[i] = token(sequence, position)
            self.b.pos[i] = position
            self.b.n_seq_id[i] = 1
            self.b.seq_id[i][0] = sequence
            self.b.logits[i] = 1 if all_logits or i == len(rows) - 1 else 0

    def free(self):
        L.llama_batch_free(self.b)


class Context:
    def __init__(self, flash, sequences, longest, shared=False):
        p = L.llama_context_default_params()
        p.n_ctx = (longest + 255) // 256 * 256 * sequences
        p.n_batch = p.n_ubatch = how["chunk"]
        p.n_seq_max = sequences
        p.n_threads = p.n_threads_batch = how["threads"]
        if hasattr(p, "kv_unified"):
            p.kv_unified = shared
        if hasattr(p, "flash_attn_type"):
            p.flash_attn_type = 1 if flash else 0
        else:
            p.flash_attn = flash
        self.c = of("llama_init_from_model", "llama_new_context_with_model")(model(), p)
        if not self.c:
            raise RuntimeError("no context: out of memory?")
        self.sequences = sequences
        self.held = 0  # tokens of sequence 0

    def cut(self, length):
        if length == 0:
            if hasattr(L, "llama_memory_clear"):
                L.llama_memory_clear(L.llama_get_memory(self.c), True)
            else:
                of("llama_kv_self_clear", "llama_kv_cache_clear")(self.c)
        elif hasattr(L, "llama_memory_seq_rm"):
            L.llama_memory_seq_rm(L.llama_get_memory(self.c), 0, length, -1)
        else:
            of("llama_kv_self_seq_rm", "llama_kv_cache_seq_rm")(self.c, 0, length, -1)
        self.held = min(self.held, length)

    def run(self, batches):
        """Seconds."""
        begin = time.perf_counter()
        for b in batches:
            if L.llama_decode(self.c, b.b) != 0:
                raise RuntimeError("llama_decode failed")
            L.llama_synchronize(self.c)
        L.llama_get_logits_ith(self.c, -1)[0]
        seconds = time.perf_counter() - begin
        for b in batches:
            b.free()
        return seconds

    def prefill(self, begin, end):
        rows = [(0, i) for i in range(begin, end)]
        chunk = how["chunk"]
        batches = [Batch(rows[i:i + chunk], False) for i in range(0, len(rows), chunk)]
        for b in batches[:-1]:
            b.b.logits[b.b.n_tokens - 1] = 0
        seconds = self.run(batches)
        self.held = end
        return seconds

    def go_to(self, depth):
        self.cut(min(depth, self.held) if self.sequences == 1 else 0)
        if self.held < depth:
            self.prefill(self.held, depth)

    def decode(self, depth, n):
        self.go_to(depth)
        seconds = self.run([Batch([(s, depth + i) for s in range(self.sequences)], True) for i in range(n)])
        self.held = depth + n
        return seconds

    def measure(self, r):
        if r["kind"] == "decode":
            return self.decode(r["depth"], r["n"])
        self.cut(0)
        return self.prefill(0, r["n"])

    def free(self):
        L.llama_free(self.c)


how = {}  # of "open"
opened = []  # the model
contexts = {}  # by setting: (flash attention, sequences share a cache); of one number of sequences at a time
chosen = {}  # setting by cell


def model():
    if not opened:
        p = L.llama_model_default_params()
        p.n_gpu_layers = 0
        if hasattr(p, "use_extra_bufts"):
            p.use_extra_bufts = how.get("repack", True)
        m = of("llama_model_load_from_file", "llama_load_model_from_file")(os.fsencode(how["model"]), p)
        if not m:
            raise RuntimeError(f"{how['model']} does not load")
        opened.append(m)
    return opened[0]


def context(setting, r):
    if contexts and next(iter(contexts.values())).sequences != r["batch"]:
        for c in contexts.values():
            c.free()
        contexts.clear()
    if setting not in contexts:
        longest = how["longest"] if r["batch"] == 1 else r["n"]
        contexts[setting] = Context(setting[0], r["batch"], longest, setting[1])
    return contexts[setting]


def trial(setting, r):
    """Seconds of a small part of a cell: the best of a few."""
    c = context(setting, r)
    small = dict(r, n=min(r["n"], 512 if r["kind"] == "prefill" else 16), depth=min(r["depth"], 2048))
    c.measure(dict(small, n=min(small["n"], 32 if r["kind"] == "prefill" else 2)))
    return min(c.measure(small) for _ in range(1 if small["n"] > 128 else 2))


def key(r):
    return r["kind"], min(r["n"], 512), min(r["depth"], 2048), r["batch"]


def prepare(r):
    k = key(r)
    if k not in chosen:
        settings = [(flash, shared) for flash in (True, False) for shared in (False, True)
                    if how["flash"] in ("best", "on" if flash else "off") and (r["batch"] > 1 or not shared)]
        chosen[k] = min(settings, key=lambda setting: trial(setting, r))
    c = context(chosen[k], r)
    if r["kind"] == "decode":
        c.decode(r["depth"], min(r["n"], 2))
    else:
        c.measure(dict(r, n=min(r["n"], 32)))
    return {"flash": chosen[k][0], "shared": chosen[k][1]}


def measure(r):
    c = context(chosen[key(r)], r)
    if r["kind"] == "decode":
        c.go_to(r["depth"])
    return {"value": c.measure(r)}


def start(r):
    how["repack"] = r["repack"]
    begin = time.perf_counter()
    c = Context(how["flash"] != "off", 1, 512)  # its own default
    c.prefill(0, r["n"])
    return {"value": time.perf_counter() - begin}


def memory(r):
    how["repack"] = r["repack"]
    before = resident()
    c = Context(how["flash"] != "off", 1, r["n"])
    c.prefill(0, min(how["chunk"], r["n"] // 2))
    return {"value": max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)}


def remember(r):
    how.update(r)
    return {}


@L.llama_log_callback
def nothing(level, text, user):
    pass


def main():
    L.llama_log_set(nothing, ctypes.c_void_p(0))
    L.llama_backend_init()
    system = L.llama_print_system_info() if hasattr(L, "llama_print_system_info") else b""
    say(version=str(getattr(L, "__version__", "?")), system=system.decode("utf-8", "replace"))
    do = {"open": remember, "prepare": prepare, "measure": measure, "start": start, "memory": memory}
    for line in sys.stdin:
        r = json.loads(line)
        try:
            answer = do[r["do"]](r)
        except (RuntimeError, MemoryError, OSError) as why:
            answer = {"error": str(why)[:300] or type(why).__name__}
        say(**answer)


main()
