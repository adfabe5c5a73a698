#!/usr/bin/env python3
"""Random conversations through our templates, beside transformers' rendering of them.

    peer_jinja.py GALERNE FOLDER [CONVERSATIONS]

Needs transformers and jinja2. The vocabulary is tests/golden/text/chat.json, whose tokens are bytes and names, so that ids spell the text that was
rendered. SPDX-License-Identifier: Apache-2.0
"""
import base64
import glob
import json
import random
import subprocess
import sys
import warnings

warnings.filterwarnings("ignore")
from transformers.utils.chat_template_utils import _normalize_chat_messages, render_jinja_template

galerne, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 200
vocabulary = "tests/golden/text/chat.json"
with open(vocabulary) as f:
    d = json.load(f)
special = [s["token_str"] for s in d["special_tokens"]]
pieces = [s.encode() for s in special] + [base64.b64decode(v["token_bytes"]) for v in d["vocab"]]
WORDS = ["a", "Hello", " spaced ", "</s>", "[INST]", "<|im_end|>", "x\ny", "\n", "été", "日本", "\"q\"", "it's", "<think>", "</think>", "{{ a }}", "\\", "\t", "🙂", "", "  "]


def text(r):
    return "".join(r.choice(WORDS) + r.choice(["", " "]) for _ in range(r.randrange(6)))


def value(r, depth=0):
    return r.choice([lambda: text(r), lambda: r.randrange(-5, 1000), lambda: r.random() * 10 ** r.randrange(-8, 20), lambda: None, lambda: True,
                     lambda: [value(r, depth + 1) for _ in range(r.randrange(3))] if depth < 3 else 1,
                     lambda: {text(r) or "k": value(r, depth + 1) for _ in range(r.randrange(3))} if depth < 3 else 2])()


def tool(r):
    names = ["p%d" % i for i in range(r.randrange(4))]
    kinds = [{"type": "string", "enum": ["a", "b"]}, {"type": "integer"}, {"type": "array", "items": {"type": "number"}}, {"type": "object", "properties": {"z": {"type": "boolean"}}}]
    return {"type": "function", "function": {"name": r.choice(["f", "get_it"]), "description": text(r), "parameters": {"type": "object", "properties": {n: r.choice(kinds) for n in names}}}}


def body(r):
    messages = [{"role": "system", "content": text(r)}] if r.random() < .4 else []
    for i in range(r.randrange(1, 6)):
        messages.append({"role": "user", "content": text(r)})
        if r.random() < .3:
            messages.append({"role": "assistant", "content": r.choice([None, "", text(r)]), "tool_calls": [
                {"id": "abcdefgh%d" % k, "type": "function", "function": {"name": "f", "arguments": {"x": value(r), "y": value(r)}}} for k in range(r.randrange(1, 3))]})
            messages.append({"role": "tool", "tool_call_id": "abcdefgh0", "content": text(r)})
        if r.random() < .8:
            m = {"role": "assistant", "content": text(r)}
            if r.random() < .2:
                m["reasoning_content"] = text(r)
            messages.append(m)
    if r.random() < .1:
        messages.append({"role": r.choice(["user", "odd", "developer"]), "content": text(r)})
    out = {"messages": messages, "add_generation_prompt": r.random() < .5}
    if r.random() < .3:
        out["tools"] = [tool(r) for _ in range(r.randrange(1, 3))]
    if r.random() < .2:
        out["chat_template_kwargs"] = {"enable_thinking": r.random() < .5}
    return out


BOS = "\ue000"  # told from a text that spells <s>


def want(source, b):
    """What transformers makes of it, with BOS once: ours leaves out those that a template repeats."""
    try:
        return "<s>" + render_jinja_template(conversations=[_normalize_chat_messages(b["messages"])], tools=b.get("tools"), documents=None, chat_template=source,
                                     add_generation_prompt=b["add_generation_prompt"], bos_token=BOS, eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
                                     **b.get("chat_template_kwargs", {}))[0][0].replace(BOS, "")
    except Exception:
        return None


bad = done = errors = 0
for path in sorted(glob.glob("tests/golden/templates/*.jinja")):
    with open(path) as f:
        source = f.read()
    r = random.Random(path)
    bodies = [body(r) for _ in range(count)]
    lines = "".join(json.dumps(b) + "\n" for b in bodies)
    out = subprocess.run([galerne, "tokenize", vocabulary, "--chat", "--jsonl", "--template", path], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout
    for b, line in zip(bodies, out.decode().splitlines(), strict=True):
        got, expected = json.loads(line), want(source, b)
        mine = b"".join(pieces[i] for i in got["ids"]).decode() if "ids" in got else None
        done += 1
        errors += expected is None
        if mine != expected:
            bad += 1
            if bad <= 5:
                print(path, json.dumps(b), "\nours:", repr(mine), got.get("error"), "\nwant:", repr(expected))
print("%d conversations, %d of them refused by both, %d differ" % (done, errors, bad))
sys.exit(bad > 0)
