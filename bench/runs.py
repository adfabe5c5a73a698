# SPDX-License-Identifier: Apache-2.0
"""What the comparisons in this folder share: commands that must succeed, files that are made once, differences of pairs."""
import math
import os
import shutil
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(*command):
    child = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True, check=False)
    if child.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {child.returncode}")
    return child.stdout


def once(path, make):
    """path, which make(temporary path) writes if it is not there."""
    if not os.path.exists(path):
        part = path + ".part"
        if os.path.isdir(part):
            shutil.rmtree(part)
        make(part)
        os.rename(part, path)
    return path


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def difference(ours, theirs):
    """The mean of ours - theirs, pair by pair, with its standard error, as text."""
    gaps = [a - b for a, b in zip(ours, theirs)]
    error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else float("nan")
    return f"{statistics.mean(gaps):+.5f} ± {error:.5f} (pairs: {' '.join(f'{g:+.5f}' for g in gaps)})"
