#!/usr/bin/env python3
"""Conversations beside mistral-common: 1,000 random ones a version, and strange bodies, give the same ids or are rejected by both.

    peer_chat.py GALERNE SHARED FOLDER [SEED]

Needs mistral-common; SHARED is the folder with data/tokenizers and tools/make_template_vectors.py. Prints one line a vocabulary and
exits 1 if any differs. SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import random
import subprocess
import sys
import warnings

warnings.filterwarnings("ignore")
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

galerne, shared, folder = sys.argv[1:4]
seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.SystemRandom().randrange(1 << 30)
data = os.path.join(shared, "data", "tokenizers")
rng = random.Random(seed)
choice, chance = rng.choice, rng.random
failed = 0
print("seed", seed)

TEXTS = ["hi", "", "  ", "a b  ", "[INST] x </s>", "é漢🙂", "\n", "x\n\ny", '{"a": 1}', "[1, 2.50, 1e5, 1E-7, 123456789012345678901234567890, -0, -0.0]",
         '{"k":null,"k":true}', "NaN", '"s"', "{bad", "null", "3", ' {"z" : [ ] } ', "\u0000x", "\u2028", "1.0", "1e400", '[{"a":{"b":[]}}]']
IDS = ["abcdefghi", "ABCDEFGH1", "123456789"]


def chunk(kind):
    if kind == "text":
        return {"type": "text", "text": choice(TEXTS)}
    if kind == "thinking":
        more = {"closed": choice([True, False])} if chance() < .4 else {}
        return {"type": "thinking", "thinking": choice(TEXTS), **more}
    return choice([{"type": "zzz"}, {"text": "x"}, "str", {"type": "text"}, {"type": "text", "text": 1}, {"type": "text", "text": "a", "x": 1},
                   {"type": "image_url", "image_url": {"url": "http://x"}}, {"type": "input_audio", "input_audio": "UklGRg=="}])


def content():
    r = chance()
    if r < .6:
        return choice(TEXTS)
    if r < .97:
        return [chunk(choice(["text"] * 7 + ["thinking"] * 2 + ["odd"] * (chance() < .1))) for _ in range(rng.randint(0, 4))]
    return choice([None, 1, {}, True, [None]])


def call():
    name = choice(["f", "tool_1", "a-b", "bad name", "x" * 64, "x" * 65, "n\n"]) if chance() < .3 else "f"
    arguments = choice(TEXTS + [{"a": 1, "b": [1.5, None, "é"]}, {}, {"x": 1e22, "y": 1e16, "z": 0.00001}, None, [1], 1])
    d = {"id": choice(IDS) if chance() < .9 else choice(["null", "", "short", "abcdefghi\n", "ab cdefgh"]), "type": "function",
         "function": {"name": name, "arguments": arguments}}
    if chance() < .1:
        d.pop(choice(["id", "type", "function"]))
    if chance() < .05:
        d["index"] = 0
    return d


GOOD = {"type": ["object", ["string", "null"]], "properties": [{}, {"p": {"type": "string"}}], "required": [["a", "b"]], "items": [{}, [{}], True],
        "enum": [[1, "a", None]], "minimum": [1.5], "multipleOf": [2], "pattern": ["^a+$"], "anyOf": [[{}]], "description": ["d é"],
        "default": [{"a": 1}], "additionalProperties": [False], "x-foo": [[1]], "minLength": [1, 2.0], "const": [None], "uniqueItems": [True],
        "if": [{}], "dependencies": [{"a": ["b"], "c": {}}], "patternProperties": [{"^a": {}}]}
ODD = [1, "str", [], ["a", "a"], None, -1, {}, [{}], "(", True, 1.5, {"a": 1}]


def tool():
    f = {"name": choice(["f", "bad name"]) if chance() < .1 else "f",
         "parameters": {k: choice(GOOD[k]) if chance() < .93 else choice(ODD) for k in rng.sample(sorted(GOOD), rng.randint(0, 3))}}
    if chance() < .6:
        f["description"] = choice(["d", "", " é "])
    if chance() < .2:
        f["strict"] = choice([True, False, "yes", 1, "no", 2])
    if chance() < .05:
        f.pop("parameters")
    return {"function": f, **({"type": "function"} if chance() < .8 else {})}


def message(role):
    m = {"role": role, "content": content()}
    if role == "assistant":
        if chance() < .35:
            m["tool_calls"] = [call() for _ in range(rng.randint(0, 2))]
            if chance() < .6:
                m["content"] = choice(["", None])
        if chance() < .05:
            m["prefix"] = choice([True, False, "true", "x"])
    if role == "tool":
        m["tool_call_id"] = choice(IDS)
        if chance() < .5:
            m["name"] = choice(["f", "f", "bad name", None])
    if chance() < .01:
        m["weird"] = 1
    return m


def body():
    ms = [message("system")] if chance() < .5 else []
    for _ in range(rng.randint(0, 3)):
        ms += [message("user") for _ in range(choice([1, 1, 2]))]
        ms.append(message("assistant"))
        results = [{**message("tool"), "tool_call_id": c.get("id", "null")} for c in ms[-1].get("tool_calls", [])]
        rng.shuffle(results)
        ms += results
        if results and chance() < .7:
            ms.append(message("assistant"))
    if chance() < .1:
        ms = [message(choice(["system", "user", "assistant", "tool"])) for _ in range(rng.randint(0, 4))]
    if chance() < .8:
        ms.append(message("user"))
    elif ms and ms[-1]["role"] == "assistant":
        ms[-1]["prefix"] = True
    b = {"messages": ms}
    if chance() < .4:
        b["tools"] = choice([None, [], [tool()], [tool(), tool()]])
    if chance() < .2:
        b["reasoning_effort"] = choice(["none", "high", "low", "zzz", None])
    if chance() < .1:
        b["continue_final_message"] = choice([True, False, "true", 1])
    return b


def compare(path, name, lines):
    """lines: (body, ids or None where the reference rejects)."""
    global failed
    text = "".join(json.dumps(b, ensure_ascii=False) + "\n" for b, _ in lines)
    run = subprocess.run([galerne, "tokenize", path, "--chat", "--jsonl"], input=text.encode(), capture_output=True, check=True)
    answers = [json.loads(line) for line in run.stdout.decode().split("\n")[:-1]]
    differ = [(b, ids, a) for (b, ids), a in zip(lines, answers) if (a.get("ids") != ids if ids is not None else "error" not in a)]
    ok = len(answers) == len(lines) and not differ
    failed += not ok
    kept = sum(ids is not None for _, ids in lines)
    print("%s%s: %d conversations, %d rejected" % ("ok      " if ok else "FAILED  ", name, kept, len(lines) - kept))
    for b, ids, a in differ[:3]:
        print("    %s\n    wanted %s\n    got %s" % (json.dumps(b)[:2000], ids, a))


os.makedirs(folder, exist_ok=True)
subprocess.run([sys.executable, os.path.join(shared, "tools", "make_template_vectors.py"), os.path.join(data, "tekken_240911.json"), data, folder,
                str(seed), "1000"], check=True)
groups = {}
with open(os.path.join(folder, "templates.jsonl")) as f:
    for line in f:
        o = json.loads(line)
        groups.setdefault(o["tokenizer"], []).append((o["request"], o.get("ids")))
for name, lines in sorted(groups.items()):
    path = os.path.join(folder if name.startswith("toy") else data, name)
    compare(path, name, lines)
    reference, strange = MistralTokenizer.from_file(path), []
    while len(strange) < 1000:
        b = body()
        try:
            strange.append((b, reference.encode_chat_completion(ChatCompletionRequest.model_validate(b)).tokens))
        except Exception:
            if chance() < .4:
                strange.append((b, None))
    compare(path, name + ", strange", strange)
sys.exit(failed > 0)
