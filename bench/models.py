#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`galerne bench` of several models beside other programs, and one table of it all in Markdown.

    make bench [PYTHON=PATH] [PEER="NAME=PROGRAM ..."] [GENERATOR=PATH] [MODELS="A.gguf B.gguf"] [ONLY=1b-Q4_K,7b]
               [ARGS="--repeats 3 --threads 2 --fresh"]

PYTHON is a Python with llama-cpp-python, python3 if that has it; without one llama.cpp is left out. PEER is a program
with llama-bench's options, and its arguments; several with semicolons between them. MODELS are GGUF files to measure,
without blanks in their paths and each of another name. Without them models with random weights are made, one after
the other, and removed again: 1b in six formats; 3b, 7b and mixtral-small in two. ONLY=tiny tries the whole thing on
a small one. GENERATOR is a script that writes such a file (make_gguf.py OUT --shape SHAPE --type TYPE); without one,
galerne makes them itself (`init`, `quantize`) where memory and disk have room for it.

What was measured is kept in --folder, a file for each model, and not measured again by the next call unless the
program, the peers, the processor or what is asked have changed, or --fresh is given. So a run that was stopped goes
on where it was. Ends with 1 if a model that was asked for is missing in the table.
"""
import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# layers, width, heads, kv_heads, head_size, hidden, vocabulary, experts, experts_used
SHAPES = {
    "tiny": (4, 256, 8, 2, 32, 768, 4096, 0, 2),
    "1b": (22, 2048, 32, 4, 64, 5632, 32000, 0, 2),
    "3b": (26, 3072, 32, 8, 128, 8192, 131072, 0, 2),
    "7b": (32, 4096, 32, 8, 128, 14336, 32768, 0, 2),
    "mixtral-small": (12, 2048, 32, 8, 64, 5632, 32000, 8, 2),
}
TYPES = ("Q4_K", "Q6_K", "Q8_0", "Q4_0", "F16", "BF16")
ALL = [("1b", t) for t in TYPES] + [
    (shape, t) for shape in ("3b", "7b", "mixtral-small") for t in ("Q4_K", "Q8_0")]
WHOLE = ["--prefill", "32,128,512,2048", "--decode", "0,2048,8192", "--batch", "1,4,16", "--start"]
SHORT = ["--prefill", "32,128,512,2048", "--decode", "0,2048", "--batch", "1,4,16", "--start"]  # larger than 1b


def log(*words):
    print("bench:", *words, file=sys.stderr, flush=True)


def weights(shape):
    layers, width, heads, kv_heads, size, hidden, vocab, experts, _ = SHAPES[shape]
    block = 2 * width * heads * size + 2 * width * kv_heads * size + 3 * width * hidden * max(1, experts)
    return 2 * vocab * width + layers * block


def run(command, **how):
    """Ends with the program that was asked to stop, whatever it was doing."""
    done = subprocess.run(command, check=False, **how)
    if done.returncode in (130, -2):
        sys.exit(130)
    return done


# ---- models ---------------------------------------------------------------------------------------------------------


def make_ourselves(o, shape, kind, path):
    """None, or why not."""
    layers, width, heads, kv_heads, size, hidden, vocab, experts, used = SHAPES[shape]
    folder = os.path.join(o.folder, f"random-{shape}")
    need = 2 * weights(shape)
    with open("/proc/meminfo", encoding="ascii") as f:
        free = next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))
    if not os.path.isdir(folder):
        if need > 0.8 * free or 2.2 * need > shutil.disk_usage(o.folder).free:
            return f"without GENERATOR it takes {need / 1e9:.0f} GB of memory and twice that of disk"
        config = os.path.join(o.folder, f"{shape}.yaml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(f"""model: {{ vocab: {vocab}, width: {width}, layers: {layers}, heads: {heads},
  kv_heads: {kv_heads}, head_size: {size}, hidden: {hidden}, experts: {experts},
  experts_used: {used}, context: 32768, rope_theta: 1000000 }}
data: {{ text: none.txt }}
""")
        if run([o.galerne, "init", config, "-o", folder, "--dtype", "bf16", "--quiet"]).returncode:
            return "galerne init failed"
    for other in SHAPES:  # of the shape before
        if other != shape:
            shutil.rmtree(os.path.join(o.folder, f"random-{other}"), ignore_errors=True)
    done = run([o.galerne, "quantize", folder, kind, "--pure", "-o", path, "--quiet"], stdout=subprocess.DEVNULL)
    return "galerne quantize failed" if done.returncode else None


def make(o, shape, kind, path):
    if not o.generator:
        return make_ourselves(o, shape, kind, path)
    done = run([o.generator_python, o.generator, path, "--shape", shape, "--type", kind])
    return f"{o.generator} failed" if done.returncode else None


# ---- measuring ------------------------------------------------------------------------------------------------------


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()[:16]


def program_of(peer):
    """The program's path in NAME=PROGRAM ARGUMENTS; a path with blanks is a whole file's name, as for galerne."""
    name, equals, path = peer.partition("=")
    command = path if equals and name and "/" not in name and " " not in name else peer
    return command if os.path.exists(command) else command.split(" ")[0]


def libraries(path):
    """Of those that a program links, what is not the system's own."""
    done = subprocess.run(["ldd", path], check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found = [line.split(" => ")[1].split(" (")[0] for line in done.stdout.splitlines() if " => /" in line]
    return [digest(lib) for lib in found if not lib.startswith(("/lib", "/usr/lib"))]


def state_of(o):
    """What figures depend on beside what is asked."""
    peers = [[digest(found)] + libraries(found) if (found := shutil.which(program_of(p))) else None for p in o.peer]
    show = ("import glob, llama_cpp, os; print(llama_cpp.__version__, [(f, os.stat(f).st_size, os.stat(f).st_mtime_ns)"
            " for f in sorted(glob.glob(os.path.dirname(llama_cpp.__file__) + '/lib/*'))])")
    python = subprocess.run([o.python, "-c", show], check=False, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL).stdout if o.python else None
    return [digest(o.galerne), python, peers, processor()]


def measure(o, name, path, what):
    command = [o.galerne, "bench", path] + what + ["--json", "--repeats", str(o.repeats), "--tokens", str(o.tokens),
                                                   "--limit", str(o.limit), "--threads", str(o.threads)]
    if o.python:
        command += ["--vs", "llama.cpp", "--python", o.python]
    for peer in o.peer:
        command += ["--vs", peer]
    done = run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        log(f"{name}: galerne bench ended with code {done.returncode}")
        if done.stdout:
            part = os.path.join(o.folder, f"{name}.partial.json")
            with open(part, "w", encoding="utf-8") as f:
                f.write(done.stdout)
            log(f"{name}: what was measured before is in {part}")
        return None
    return json.loads(done.stdout)


def kept(o, name, key):
    if o.fresh:
        return None
    try:
        with open(os.path.join(o.folder, f"{name}.json"), encoding="utf-8") as f:
            r = json.load(f)
    except (OSError, ValueError):
        return None
    return r["report"] if r.get("key") == key else None


def keep(o, name, key, report):
    path = os.path.join(o.folder, f"{name}.json")
    with open(path + ".new", "w", encoding="utf-8") as f:
        json.dump({"key": key, "report": report}, f, indent=1)
    os.replace(path + ".new", path)


def wanted(o, name):
    return not o.only or any(name == one or name.startswith(one + "-") for one in o.only)


def each(o):
    """(name, report) of every model, made or given."""
    if o.models:
        todo = [(os.path.splitext(os.path.basename(m))[0], m, None) for m in o.models]
    else:
        todo = [(f"{shape}-{kind}", os.path.join(o.folder, f"{shape}-{kind}.gguf"), (shape, kind))
                for shape, kind in ALL + [("tiny", t) for t in TYPES if o.only]]
    for name, path, made in todo:
        if not wanted(o, name):
            continue
        what = WHOLE if made and made[0] == "1b" else SHORT if made else []
        what = o.cells or what
        key = [o.version, o.python, o.peer, o.threads, o.repeats, o.tokens, o.limit, what, o.generator,
               None if made else [os.path.abspath(path), os.path.getsize(path), os.stat(path).st_mtime_ns]]
        report = kept(o, name, key)
        if report:
            log(f"{name}: kept from an earlier call")
            yield name, report
            continue
        try:
            why = make(o, *made, path) if made else None
            if why:
                log(f"{name}: left out: {why}")
                o.missing = True
                continue
            log(f"{name}: measuring")
            report = measure(o, name, path, what)
        finally:
            if made and os.path.exists(path):
                os.remove(path)
        if not report:
            o.missing = True
            continue
        keep(o, name, key, report)
        yield name, report


# ---- the table ------------------------------------------------------------------------------------------------------


def amount(cell, x):
    if cell["unit"] == "bytes":
        return f"{x / 2**30:.2f} GiB"
    if cell["unit"] == "s":
        return f"{x:.2f} s"
    return f"{x:.1f}" if x < 999.5 else f"{x:.0f}"


def title(cell):
    if cell["what"] == "prefill":
        return f"prefill {cell['tokens']}"
    if cell["what"] == "decode":
        return f"decode x {cell['batch']}" if cell["batch"] > 1 else f"decode at {cell['depth']}"
    return "first token" if cell["what"] == "start" else f"memory, {cell['tokens']} tokens"


def entry(cell):
    """What is ours, the part of the limit, the ratio to each peer."""
    ours, *theirs = cell["results"]
    text = amount(cell, ours["median"])
    notes = [f"{100 * ours['of_limit']:.0f}/{100 * ours['of_best']:.0f} %"] if "of_limit" in ours else []
    notes += [f"{r['ratio']:.2f}" if r and "ratio" in r else "-" for r in theirs]
    return text + (f" ({'; '.join(notes)})" if notes else "")


def table(reports):
    columns = []
    for _, r in reports:
        columns += [title(c) for c in r["cells"] if title(c) not in columns]
    rows = [["file"] + columns, ["---"] * (len(columns) + 1)]
    for name, r in reports:
        cells = {title(c): entry(c) for c in r["cells"]}
        rows.append([name] + [cells.get(c, "") for c in columns])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return "a processor without a name"


def span(reports, key, scale):
    x = [r["machine"][key] * scale for _, r in reports if r["machine"][key]]
    return (f"{min(x):.0f}" if f"{min(x):.0f}" == f"{max(x):.0f}" else f"{min(x):.0f} to {max(x):.0f}") if x else "?"


def about(o, engine):
    text = engine["about"]
    for peer in o.peer:
        text = text.replace(program_of(peer), os.path.basename(program_of(peer)))
    return text


def page(o, reports):
    first = reports[0][1]
    peers = [e["name"] for e in first["engines"][1:]]
    lines = [
        f"{processor()}, {first['machine']['threads']} threads, level {first['machine']['level']}; in these runs it "
        f"read {span(reports, 'read_bytes_per_s', 1e-9)} GB/s and did {span(reports, 'f32_flops', 1e-9)} (f32), "
        f"{span(reports, 'bf16_flops', 1e-9)} (bf16) and {span(reports, 'int8_ops', 1e-9)} (int8) Gop/s.",
        "",
    ]
    busy = [name for name, r in reports if r["machine"]["unsteady"] > 0.25]
    if busy:
        lines += [f"The machine did other things too while these were measured: {', '.join(busy)}.", ""]
    lines += [f"- {e['name']}: {about(o, e)}" for e in first["engines"]]
    ratios = "".join(f"; ratio to {p}" for p in peers)
    turns = f"up to {o.repeats} turns" if o.repeats > 1 else "a single turn"
    lines += ["", f"Tokens a second, medians of {turns} (part of what the machine allowed around each turn / of the best "
              f"that it allowed in these runs{ratios}; above 1 galerne is faster, or needs less). `" + o.command + "`", "", table(reports)]
    return "\n".join(lines)


# ---- options --------------------------------------------------------------------------------------------------------


def imports(python, module):
    return shutil.which(python) and subprocess.run(
        [python, "-c", f"import {module}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, check=False).returncode == 0


def without_folder(peer):
    """NAME=PROGRAM ARGUMENTS as another machine would have it."""
    program = program_of(peer)
    return peer.replace(program, os.path.basename(program), 1)


def find(o):
    env = os.environ.get
    o.only = [x for x in (env("ONLY") or "").replace(",", " ").split() if x]
    names = [f"{shape}-{kind}" for shape, kind in ALL + [("tiny", t) for t in TYPES]]
    for one in o.only:
        if not env("MODELS") and not any(n == one or n.startswith(one + "-") for n in names):
            sys.exit(f"bench: ONLY={one}: expected some of {' '.join(names)}, or the first part of a name")
    o.models = (env("MODELS") or "").split()
    o.peer = [p.strip() for p in (env("PEER") or "").split(";") if p.strip()]
    python = env("PYTHON") or "python3"
    if env("PYTHON") and not imports(python, "llama_cpp"):
        sys.exit(f"bench: PYTHON={python}: expected a Python with llama-cpp-python")
    o.python = python if imports(python, "llama_cpp") else None
    if not o.python:
        log("llama.cpp is left out: PYTHON names no Python with llama-cpp-python")
    beside = os.path.join(ROOT, "..", "shared", "tools", "make_gguf.py")
    o.generator = env("GENERATOR") or (beside if os.path.exists(beside) else None)
    if env("GENERATOR") and not os.path.exists(o.generator):
        sys.exit(f"bench: GENERATOR={o.generator}: it is not there")
    numpy = [p for p in (sys.executable, python) if imports(p, "numpy")]
    o.generator_python = (numpy + [sys.executable])[0]
    if o.generator and not env("GENERATOR") and not numpy:
        o.generator = None
    for m in o.models:
        if not os.path.exists(m):
            sys.exit(f"bench: MODELS: {m} is not there")
    o.version = state_of(o)
    said = [("PYTHON", "python3" if o.python else ""), ("PEER", "; ".join(without_folder(p) for p in o.peer)),
            ("GENERATOR", os.path.basename(env("GENERATOR") or "")), ("MODELS", " ".join(map(os.path.basename, o.models))),
            ("ONLY", env("ONLY")), ("ARGS", env("ARGS"))]
    o.command = "make bench" + "".join(f" {name}={shlex.quote(value)}" for name, value in said if value)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--galerne", default=os.path.join(ROOT, "build", "galerne"))
    p.add_argument("--folder", default=os.path.join(ROOT, "build", "bench"))
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--tokens", type=int, default=32)
    p.add_argument("--limit", type=float, default=60, help="seconds after which an engine repeats a cell no more")
    p.add_argument("--cells", type=shlex.split, help="what to measure, as options of galerne bench in one word")
    p.add_argument("--fresh", action="store_true", help="measure everything again")
    o = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of what removes models
    os.makedirs(o.folder, exist_ok=True)
    o.missing = False
    find(o)
    reports = []
    try:
        for name, report in each(o):
            reports.append((name, report))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        for shape in SHAPES:
            shutil.rmtree(os.path.join(o.folder, f"random-{shape}"), ignore_errors=True)
        if reports:
            print(page(o, reports))
    if not reports:
        sys.exit("bench: nothing was measured")
    sys.exit(1 if o.missing else 0)


main()
