#!/usr/bin/env python3
"""Conversations with GGUF files: official vocabularies beside a model, converted and back, give the ids that mistral-common gave
(the vectors of ../shared), by the same template; files that the package gguf wrote, with a Jinja template and none of our keys, give
the folder's ids.

    peer_carried.py GALERNE SHARED FOLDER

Needs gguf. Prints one line a check and exits 1 if any failed. SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import shutil
import subprocess
import sys

import gguf

galerne, shared, folder = sys.argv[1:4]
data = os.path.join(shared, "data/tokenizers")
templates = os.path.join(data, "vectors/templates")
failed = 0
JINJA = "tests/golden/templates/mistral-v3.jinja"


def check(name, ok, detail):
    global failed
    failed += not ok
    print(("ok      " if ok else "FAILED  ") + name + ": " + detail, flush=True)


def run(*args, data=None):
    return subprocess.run([galerne, *args], check=True, capture_output=True, input=data).stdout.decode()


def ids_of(path, bodies, *options):
    lines = "".join(json.dumps(b) + "\n" for b in bodies).encode()
    answers = [json.loads(line) for line in run("tokenize", path, "--chat", "--jsonl", *options, data=lines).splitlines()]
    return [a.get("ids") for a in answers]


def shown(path):
    return run("tokenize", path, "--chat", "--show", data=b'{"messages": [{"role": "user", "content": "a"}]}').splitlines()[-1].split("template ")[1]


def as_others_write(source, target, template):
    """The same by the package gguf: without our keys, with a template."""
    r = gguf.GGUFReader(source)
    w = gguf.GGUFWriter(target, r.fields["general.architecture"].contents())
    for f in r.fields.values():
        if f.name.startswith(("GGUF.", "galerne.", "general.architecture")):
            continue
        array = f.types[0] == gguf.GGUFValueType.ARRAY
        w.add_key_value(f.name, f.contents(), f.types[0], sub_type=f.types[-1] if array else None)
    w.add_chat_template(template)
    for t in r.tensors:
        w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


cases = {}
with open(os.path.join(templates, "templates.jsonl"), encoding="utf-8") as f:
    for line in f:
        case = json.loads(line)
        cases.setdefault((case["tokenizer"], case["version"]), []).append(case)
v3 = next(c for (_, v), c in cases.items() if v == "v3")
for name in "tekken_240718.json", "tekken_240911.json":
    cases[(name, "v3")] = [{"request": c["request"], "ids": None} for c in v3]
with open(JINJA, encoding="utf-8") as f:
    jinja = f.read()
shutil.rmtree(folder, ignore_errors=True)
os.makedirs(folder)
for (name, version), lines in sorted(cases.items()):
    at = lambda x: os.path.join(folder, x)  # noqa: E731
    source = os.path.join(templates if name.startswith("toy") else data, name)
    for x in "m", "h", "x.gguf", "y.gguf":
        shutil.rmtree(at(x), ignore_errors=True)
    with open(at("c.yaml"), "w") as f:
        f.write("model: {layers: 1, width: 32, hidden: 64, heads: 2, kv_heads: 1}\ntokenizer: {path: %s}\n" % os.path.abspath(source))
    run("init", at("c.yaml"), "-o", at("m"))
    if ".model" in name:
        os.remove(at("m/tokenizer.model"))
        shutil.copy(source, at("m"))
    run("convert", at("m"), at("x.gguf"), "--force")
    run("convert", at("x.gguf"), at("h"), "--force")
    keys = gguf.GGUFReader(at("x.gguf")).fields
    told = "galerne.chat.version" in keys and int(keys["galerne.chat.version"].contents())
    # A folder's tokenizer.model may be of any version: of V1 alone nothing is said, and nothing need be.
    check(name, told == int(version[1:]) or name == "tokenizer.model.v1" and told in (False, 1), f"galerne.chat.version {told}")
    bodies = [c["request"] for c in lines]
    own = ids_of(at("m"), bodies)
    want = [c.get("ids") for c in lines] if not name.startswith("tekken") else own
    for x in "m", "x.gguf", "h":
        got, template = ids_of(at(x), bodies), shown(at(x))
        same = sum(a == b for a, b in zip(got, want))
        check(name, same == len(want) and template.lower() == version, f"{x}: template {template}, {same} of {len(want)} conversations")
    if name.startswith("toy") or version == "v1":
        certain = False
    else:
        certain = ".model" in name
    as_others_write(at("x.gguf"), at("y.gguf"), jinja)
    template = shown(at("y.gguf"))
    right = template.lower() == version if certain else template == "jinja (tokenizer.chat_template)"
    got, folders = ids_of(at("y.gguf"), bodies, "--template", "jinja"), ids_of(at("m"), bodies, "--template", JINJA)
    same = sum(a == b for a, b in zip(got, folders))
    check(name, right and same == len(bodies), f"by the package gguf: template {template}, {same} of {len(bodies)} conversations by its Jinja template")
sys.exit(failed > 0)
