#!/usr/bin/env python3
"""How far llama.cpp's own quantisers are off on a few numbers; writes quantise.npz.

    make_quantise.py tests/golden/quantise.npz

Needs numpy and llama-cpp-python. x: rows of 512 numbers that f16 holds, eight of each of five kinds; importance: one for
each column; "TYPE.error" and "TYPE.weighted": the root of the mean square error of each kind, without and with the
importances. SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import os
import sys

import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType, dequantize

ROWS, COLS, KINDS = 8, 512, 5
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]

ggml = ctypes.CDLL(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so"))
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
floats = ctypes.POINTER(ctypes.c_float)
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, floats, ctypes.c_void_p] + 3 * [ctypes.c_int64] + [floats]


def quantise(x, kind, importance):
    out = np.zeros(4 * x.size, np.uint8)
    weights = None if importance is None else importance.ctypes.data_as(floats)
    n = ggml.ggml_quantize_chunk(kind, x.ctypes.data_as(floats), out.ctypes.data, 0, len(x), x.shape[1], weights)
    return dequantize(out[:n].reshape(len(x), -1), GGMLQuantizationType(kind)).reshape(x.shape)


def main():
    rng = np.random.default_rng(20261128)
    shape = (ROWS, COLS)
    outliers = rng.standard_normal(shape)
    outliers[:, ::97] *= 20
    kinds = [rng.standard_normal(shape), rng.laplace(size=shape), rng.standard_t(3, shape), outliers, rng.uniform(-1, 1, shape)]
    x = (0.02 * np.concatenate(kinds)).astype(np.float16)
    importance = np.exp(1.5 * rng.standard_normal(COLS)).astype(np.float32)
    out = {"x": x.astype(np.float32).reshape(-1), "importance": importance}
    wide = x.astype(np.float32)
    for name in TYPES:
        kind = int(GGMLQuantizationType[name])
        for what, weights in (("error", None), ("weighted", importance)):
            off = (quantise(wide, kind, weights) - wide).astype(np.float64) ** 2
            mean = np.average(off, axis=1, weights=weights).reshape(KINDS, ROWS).mean(axis=1)
            out["%s.%s" % (name, what)] = np.sqrt(mean).astype(np.float32)
    np.savez_compressed(sys.argv[1], **out)


if __name__ == "__main__":
    main()
