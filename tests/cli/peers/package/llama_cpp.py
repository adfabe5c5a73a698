# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the package llama-cpp-python: the functions that bench_llama_cpp.py calls, which take a time that
follows from the number of tokens (1 ms each with flash attention, 3 ms without) and complain of what would be wrong."""
import ctypes
import time

__version__ = "0.0.2"
llama_log_callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class Params:
    n_ctx = n_batch = n_ubatch = n_seq_max = n_threads = n_threads_batch = n_gpu_layers = 99
    flash_attn_type = -1
    kv_unified = None


class _Batch:
    def __init__(self, n):
        self.n_tokens = 0
        self.token, self.pos, self.n_seq_id, self.logits = ([None] * n for _ in range(4))
        self.seq_id = [[None] for _ in range(n)]


class _Context:
    def __init__(self, p):
        assert p.n_ctx % (256 * p.n_seq_max) == 0 and p.n_threads == p.n_threads_batch == 2
        assert p.kv_unified in ((True, False) if p.n_seq_max > 1 else (False,))
        assert p.n_batch == p.n_ubatch == 512 and p.flash_attn_type in (0, 1)
        self.p = p
        self.room = p.n_ctx // p.n_seq_max
        self.length = [0] * p.n_seq_max


def llama_log_set(callback, user):
    pass


def llama_backend_init():
    pass


def llama_print_system_info():
    print("noise on standard output")
    return b"no CPU"


def llama_model_default_params():
    return Params()


llama_context_default_params = llama_model_default_params


def llama_model_load_from_file(path, p):
    assert p.n_gpu_layers == 0
    return path if path.endswith(b".gguf") else None


def llama_init_from_model(model, p):
    return _Context(p)


def llama_batch_init(n, embeddings, sequences):
    return _Batch(n)


def llama_batch_free(b):
    pass


def llama_free(c):
    pass


def llama_synchronize(c):
    pass


def llama_get_memory(c):
    return c


def llama_memory_clear(c, data):
    c.length = [0] * len(c.length)


def llama_memory_seq_rm(c, sequence, begin, end):
    assert begin <= c.length[sequence] and end == -1
    c.length[sequence] = begin


def llama_decode(c, b):
    for i in range(b.n_tokens):
        sequence = b.seq_id[i][0]
        assert b.n_seq_id[i] == 1 and 0 <= b.token[i] < 1000000
        if b.pos[i] != c.length[sequence] or c.length[sequence] >= c.room:
            return 1
        c.length[sequence] += 1
    wanted = sum(b.logits)
    assert wanted == b.n_tokens if b.n_tokens <= len(c.length) else wanted <= 1
    c.wanted = wanted
    time.sleep(b.n_tokens * (0.001 if c.p.flash_attn_type else 0.003))
    return 0


def llama_get_logits_ith(c, i):
    assert i == -1 and c.wanted > 0
    return [0.5]
