#!/usr/bin/env python3
"""Texts, what the sentencepiece package makes of them by its own normalisers, and the ids that it gives them: by
vocabularies that galerne trains with such (nfkc-forms.jsonl, nfkc.jsonl, nmt-nfkc.jsonl), and by two that it trains
itself, with rules of our own (rules-map.model, rules-map-spaces.model and their .jsonl).

    python3 make_nfkc.py GALERNE OUTDIR

Needs sentencepiece 0.2.3 in an environment that may be thrown away afterwards. The vocabularies are those of test_nfkc.c:
of corpus.txt beside this file, 480 pieces, a coverage of 0.999. SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import sentencepiece

galerne, out = sys.argv[1:3]
HERE = os.path.dirname(os.path.abspath(__file__))
rng = random.Random(11)
ranges = ((0x20, 0x7f), (0xa0, 0x180), (0x300, 0x370), (0x1100, 0x1200), (0x1e00, 0x2000), (0x2000, 0x2200), (0x2460, 0x2500),
          (0x3000, 0x3400), (0xac00, 0xad00), (0xf900, 0xfb50), (0xfe30, 0x10000), (0x1d400, 0x1d800), (1, 0x20), (0x900, 0xa00))
BASES = "ae oAEIO\u03b1\u03b9\u0915\u304b\u1100\u1112\u3131\uac00"
MARKS = "\u0301\u0300\u0308\u0327\u0313\u0345\u093c\u3099\u1161\u11a8\u314f"
FIXED = ["", " ", "\ufb01ne", "\uff21\uff42\uff11", "x\u00b2", "e\u0301\u0327", "\u1112\u1161\u11ab", "\u3131\u314f", "\uffa1\uffc2",
         "\uac00\u11a8", "a\u00a0b\u3000", "\uff76\uff9e", "\ufdfa", "\u0344", "\u1f82", "\u03b1\u0313\u0300\u0345", "a\tb\nc\u0001",
         "\u2581a\u2581 b", "\u200b\ufeff", "<s>\uff1cs\uff1e", "the \ufb02ower", "\u00bd cup", "\u2126 \u212b", "\0\u2460"]


def text(i):
    if i < len(FIXED):
        return FIXED[i]
    if i % 3 == 0:
        return "".join(rng.choice(BASES if rng.random() < 0.5 else MARKS) for _ in range(rng.randrange(1, 30)))
    low, high = rng.choice(ranges)
    pick = [chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 24))]
    return "".join(c if rng.random() < 0.7 else rng.choice((" ", "the", "a", "sea ")) for c in pick)


def write(name, lines):
    with open(os.path.join(out, name), "w", encoding="ascii") as f:
        f.writelines(json.dumps(line) + "\n" for line in lines)


# Rules that the longest one wins among, that go across a space, make one, nothing, or more than one; and one that begins with it.
RULES = "41\t61\n41 42\t62 62\n23\t\n3000\t20\n78 20 79\t7A\n41 42 43\t20 63 20\nFB01\t66 69\n"
BEGINS = "20 21\t21\n"
PIECES = ["A", "B", "C", "AB", "ABC", " ", "  ", "!", " !", "#", "x", "y", "x y", "\u3000", "\ufb01", "<XY>", "AB<XY>", "the sea", "\u2581", "\n"]


def rules_text():
    return "".join(rng.choice(PIECES) for _ in range(rng.randrange(12)))


def vectors(name, sp, texts):
    write(name, [{"text": t, "ids": sp.encode(t), "decoded": sp.decode(sp.encode(t))} for t in texts])


texts = [text(i) for i in range(400)]
plain = {}
for rule in ("nfkc", "nmt_nfkc"):
    n = sentencepiece.SentencePieceNormalizer(rule_name=rule, add_dummy_prefix=False, escape_whitespaces=False,
                                              remove_extra_whitespaces=False)
    plain[rule] = [n.normalize(t) for t in texts]
write("nfkc-forms.jsonl", [{"text": t, "nfkc": a, "nmt_nfkc": b} for t, a, b in zip(texts, plain["nfkc"], plain["nmt_nfkc"])])
with tempfile.TemporaryDirectory() as folder:
    for rule in plain:
        model = os.path.join(folder, rule + ".model")
        subprocess.run([galerne, "tokenize", "--train", os.path.join(HERE, "text", "corpus.txt"), "-o", model, "--vocab-size", "480",
                        "--character-coverage", "0.999", "--normalizer", rule], check=True)
        sp = sentencepiece.SentencePieceProcessor(model_file=model)
        vectors(rule.replace("_", "-") + ".jsonl", sp, texts[:200])
    lines = [rules_text() for _ in range(200)]
    for name, spaces in (("rules-map", False), ("rules-map-spaces", True)):
        with open(os.path.join(folder, "rules.tsv"), "w") as f:
            f.write(RULES + (BEGINS if spaces else ""))
        sentencepiece.SentencePieceTrainer.train(
            input=os.path.join(HERE, "text", "corpus.txt"), model_prefix=os.path.join(folder, name), vocab_size=320, model_type="bpe",
            byte_fallback=True, character_coverage=0.98, user_defined_symbols=["<XY>"], remove_extra_whitespaces=spaces,
            normalization_rule_tsv=os.path.join(folder, "rules.tsv"), minloglevel=2)
        shutil.copy(os.path.join(folder, name + ".model"), out)
        vectors(name + ".jsonl", sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, name + ".model")), lines)
