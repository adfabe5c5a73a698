#!/usr/bin/env python3
"""galerne quantize beside llama.cpp's llama_model_quantize: the same file, the same types, the same threads, in turns.

    python3 quantize.py GALERNE MODEL.gguf [--types Q4_K_M,Q8_0] [--threads 2] [--rounds 3] [--dir FOLDER]

Needs llama-cpp-python in an environment that may be thrown away afterwards. Each result is removed once it is timed; the
file is read once before, so that both find it in memory. Ours ends with fsync, the peer's does not. The peer's start of Python
counts for it (about 0.3 s). Times are medians. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import os
import statistics
import subprocess
import sys
import time

FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
              "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30,
              "BF16": 32}
PEER = """
import ctypes, sys, llama_cpp
quiet = llama_cpp.llama_log_callback(lambda *a: None)
llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
p = llama_cpp.llama_model_quantize_default_params()
p.nthread, p.ftype = int(sys.argv[3]), int(sys.argv[4])
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(p)))
"""


def timed(command):
    """Seconds on the clock, and of all processors."""
    begin, before = time.monotonic(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.monotonic() - begin, os.times()
    return wall, after.children_user - before.children_user + after.children_system - before.children_system


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("galerne")
    a.add_argument("model")
    a.add_argument("--types", default="Q8_0,Q4_0,Q4_1,Q5_0,Q5_1,Q2_K,Q3_K_S,Q4_K_S,Q5_K_S,Q6_K,IQ4_NL,IQ4_XS")
    a.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--dir", default=".")
    o = a.parse_args()
    out = os.path.join(o.dir, "bench_quantize.tmp.gguf")
    with open(o.model, "rb") as f:
        while f.read(1 << 24):
            pass
    print(f"{'type':8} {'galerne s':>10} {'llama.cpp s':>12} {'peer / ours':>12}   {'CPU s':>7} {'CPU s':>7} {'peer / ours':>12}",
          flush=True)
    for name in o.types.split(","):
        ours, theirs = [], []
        for _ in range(o.rounds):
            ours.append(timed([o.galerne, "quantize", o.model, name, "-o", out, "--threads", str(o.threads), "--quiet"]))
            os.remove(out)
            theirs.append(timed([sys.executable, "-c", PEER, o.model, out, str(o.threads), str(FILE_TYPES[name])]))
            os.remove(out)
        (wall, cpu), (wall2, cpu2) = ([statistics.median(x) for x in zip(*runs)] for runs in (ours, theirs))
        print(f"{name:8} {wall:10.2f} {wall2:12.2f} {wall2 / wall:12.2f}   {cpu:7.2f} {cpu2:7.2f} {cpu2 / cpu:12.2f}",
              flush=True)


if __name__ == "__main__":
    main()
