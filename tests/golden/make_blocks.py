#!/usr/bin/env python3
"""Makes blocks.npz: random blocks of the formats of GGUF files, and what the package gguf of PyPI says they hold.

    python3 make_blocks.py OUTFILE

Needs gguf (0.19.0 made the file that is here) and numpy in an environment that may be thrown away afterwards.
README.md beside this file says what the arrays are. Bytes are kept as int32, four to a number: the tests' reader of
such archives knows no bytes.
SPDX-License-Identifier: Apache-2.0
"""
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

# format: how many blocks, and where in a block the f16 numbers stand. Four blocks are a whole number of int32.
READ = {"F32": (64, []), "F16": (256, [0]), "BF16": (256, []), "Q8_0": (32, [0]), "Q4_0": (32, [0]), "Q4_1": (32, [0, 2]),
        "Q5_0": (32, [0]), "Q5_1": (32, [0, 2]), "Q2_K": (8, [80, 82]), "Q3_K": (8, [108]), "Q4_K": (8, [0, 2]),
        "Q5_K": (8, [0, 2]), "Q6_K": (8, [208]), "IQ4_NL": (32, [0]), "IQ4_XS": (8, [0]), "MXFP4": (32, [])}
WRITE = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]


def words(a):
    return np.ascontiguousarray(a).view(np.uint8).reshape(-1).view(np.int32)


def random_blocks(name, rng):
    """All bytes at random, but f16 scales of which none is infinite or NaN; every fourth block has large ones."""
    count, scales = READ[name]
    blocks = rng.integers(0, 256, (count, GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]), dtype=np.uint8)
    for at in scales:
        for i in range(count):
            bits = int(rng.integers(0, 0x7c00 if i % 4 == 0 else 0x3c00)) | int(rng.integers(0, 2)) << 15
            blocks[i, at:at + 2] = [bits & 255, bits >> 8]
    if name == "MXFP4":
        blocks[:4, 0] = [0, 1, 2, 254]
    if name in ("F32", "BF16"):  # no infinity, no NaN
        blocks[:, -1] &= 0xbf
    return blocks


def numbers(rng):
    """64 rows of 32 to quantise: of many sizes, and those in which something ends in a tie."""
    x = rng.standard_normal((64, 32)).astype(np.float32)
    x[:40] *= (2.0 ** rng.integers(-14, 13, (40, 1))).astype(np.float32)
    x[40:44] += np.float32(5)                               # a minimum above zero
    x[44:48] = rng.integers(-16, 17, (4, 32))               # the largest size several times, with both signs
    x[48:52] = rng.integers(-254, 255, (4, 32)) / 2         # halves of Q8_0's step ...
    x[48:52, 7] = 127                                       # ... which is 1
    x[52:54] = np.arange(32) / np.float32(2)                # halves of the steps of the others
    x[54] = 0
    x[55] = -0.75
    x[56] = 3.25
    x[57, 1:] = 0
    x[58:60] *= np.float32(1e-6)                            # scales that are subnormal in f16
    x[60:62] *= np.float32(1e-30)                           # and those that vanish there
    x[62:] = np.abs(x[62:])
    return x


def near_ties(rng, top, symmetric):
    """Of many rows whose numbers are all about half a step from the next, the two in which most would come out
    differently if product and sum were one operation (in f64 here): x / d + 8.5 or 16.5, or (x - min) / d + 0.5."""
    x = rng.standard_normal((4000, 32)).astype(np.float32)
    first, second = x[:, :1], np.abs(x[:, 1:2])
    d = first / np.float32(-(top + 1) / 2) if symmetric else second / np.float32(top)
    least = np.zeros_like(d) if symmetric else first
    steps = rng.integers(0, top, (4000, 30)) + (0.5 - (top + 1) / 2 if symmetric else 0.5)
    x[:, 2:] = least + steps.astype(np.float32) * d
    x[:, 1] = 0 if symmetric else (first + second)[:, 0]
    x = (x.view(np.int32) + rng.integers(-3, 4, x.shape, dtype=np.int32) * (np.arange(32) > 1)).view(np.float32)
    if not symmetric:
        d = (x.max(1, keepdims=True) - x.min(1, keepdims=True)) / np.float32(top)
        least = x.min(1, keepdims=True)
    less, inverse, plus = x - least, 1 / d, np.float32((top + 2) / 2 if symmetric else 0.5)
    fused = (less.astype(np.float64) * inverse + plus).astype(np.float32)
    differ = (np.trunc(less * inverse + plus) != np.trunc(fused)).sum(1)
    best = np.argsort(differ)[-2:]
    assert differ[best].min() > 0
    return x[best]


def main():
    rng = np.random.default_rng(20261128)
    out = {"x": np.concatenate([numbers(rng)] + [near_ties(rng, top, s) for top in (15, 31) for s in (True, False)])}
    for name in READ:
        blocks = random_blocks(name, rng)
        values = dequantize(blocks, GGMLQuantizationType[name]).astype(np.float32).reshape(-1)
        assert not np.isnan(values).any()
        out[name + ".blocks"], out[name + ".values"] = words(blocks), values
    for name in WRITE:
        out[name + ".quantised"] = words(quantize(out["x"], GGMLQuantizationType[name]))
    np.savez_compressed(sys.argv[1], **out)


if __name__ == "__main__":
    main()
