#!/usr/bin/env python3
"""Makes tiny-tekken.json, a vocabulary of Mistral's Tekken kind, and what the reference makes of texts with it.

    python3 make_tekken.py TEXTFILE OUTDIR

Joins are learnt from TEXTFILE and the texts below. Needs mistral-common and regex in an environment that may be thrown away
afterwards. The texts of tiny.jsonl and some more go into tiny-tekken.jsonl. SPDX-License-Identifier: Apache-2.0
"""
import base64
import collections
import json
import os
import sys

import regex
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
           r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
           r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
JOINS = 600
SPECIAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
           "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
           "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"]
MORE = ["camelCaseWords and HTTPServer2Go", "1234567 3.14", "tabs\tand\r\nlines\n\n\n  two", "a  b   c    ", "   ", " \n \n", "don't WON'T",
        "[INST] is text </s>", "Zürich, Ελλάδα, Москва", "你好，世界。こんにちは", "ﷺ العربية", "हिन्दी में", "e\u0301 a\u0300\u0323", "👩‍👩‍👧 🇫🇷 ✂️",
        "\u0085\u00a0\u2003x\u3000y", "ǅ ʰ ª º ⅷ ²", "\u0000\u0001\x7f", "\ua7da\U00031350 \U0002ebf0", "http://a.b/c?d=e&f//\n", "++--==\n\n/x", "A" * 70, "ab" * 40,
        "\U0001f600" * 9, "x\u200dy\u200c", "(hello) «bon» \"quoted\"'s", "ſ K ß İ"]


def learn(texts):
    words = collections.Counter(w for t in texts for w in regex.findall(PATTERN, t))
    parts = {w: [bytes([b]) for b in w.encode()] for w in words}
    pieces = [bytes([b]) for b in range(256)]
    while len(pieces) < 256 + JOINS:
        pairs = collections.Counter()
        for w, n in words.items():
            for pair in zip(parts[w], parts[w][1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p))
        pieces.append(best[0] + best[1])
        for p in parts.values():
            i = 0
            while i + 1 < len(p):
                if (p[i], p[i + 1]) == best:
                    p[i:i + 2] = [pieces[-1]]
                i += 1
    return pieces


def main(text, out):
    with open(text, encoding="utf-8") as f:
        novel = f.read(60000)
    pieces = learn([novel] + 3 * MORE)
    special = len(SPECIAL) + 10  # ten without a name
    vocab = [dict(rank=i, token_bytes=base64.b64encode(p).decode(), token_str=p.decode() if is_text(p) else None)
             for i, p in enumerate(pieces)]
    file = os.path.join(out, "tiny-tekken.json")
    with open(file, "w", encoding="utf-8") as f:
        json.dump(dict(config=dict(pattern=PATTERN, num_vocab_tokens=len(pieces), default_vocab_size=special + len(pieces) - 20,
                                   default_num_special_tokens=special, version="v13"),
                       vocab=vocab,
                       special_tokens=[dict(rank=i, token_str=s, is_control=True) for i, s in enumerate(SPECIAL)]), f,
                  ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    reference = Tekkenizer.from_file(file)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "text", "tiny.jsonl"), encoding="utf-8") as f:
        texts = [json.loads(line)["text"] for line in f]
    with open(os.path.join(out, "tiny-tekken.jsonl"), "w", encoding="utf-8") as f:
        for t in texts + MORE:
            ids = reference.encode(t, bos=False, eos=False)
            f.write(json.dumps(dict(text=t, ids=ids, decoded=reference.decode(ids, SpecialTokenPolicy.IGNORE))) + "\n")
    print(len(texts) + len(MORE), "texts")


def is_text(p):
    try:
        p.decode()
        return True
    except UnicodeDecodeError:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:3])
