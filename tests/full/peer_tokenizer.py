#!/usr/bin/env python3
"""Vocabularies beside the sentencepiece package: one that galerne trains, and any model files given, encode to the same ids.

    peer_tokenizer.py GALERNE TEXT_FILE [MODEL_FILE...]

Needs sentencepiece (a throw-away virtual environment: `make test-full`). Prints one line a check and exits 1 if any failed.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

import sentencepiece

galerne, text_file = sys.argv[1:3]
rng = random.Random(20)
with open(text_file, encoding="utf-8", errors="replace") as f:
    text = f.read()
failed = 0


def check(name, ok, detail):
    global failed
    failed += not ok
    print(("ok      " if ok else "FAILED  ") + name + ": " + detail)


CHANGED = [(0xa0, 0x180), (0x300, 0x370), (0x1100, 0x1200), (0x1e00, 0x2200), (0x2460, 0x2500), (0x3000, 0x3400), (0xac00, 0xd7a4),
           (0xf900, 0xfb50), (0xfe30, 0xfffe), (0x1d400, 0x1d800), (1, 0x20), (0x900, 0xa00), (0x300, 0x330), (0x1160, 0x11c0)]


def samples(sp, count):
    """Corpus, random characters, pieces of the vocabulary (control pieces spelled out too), long runs, U+0000."""
    for i in range(count):
        kind = i % 5
        if i % 7 == 6:  # what normalisers change: compatibility characters, bases and marks, Hangul
            yield "".join(chr(rng.randrange(*rng.choice(CHANGED))) if rng.random() < 0.8 else rng.choice("ae o\u03b1\u0915") for _ in range(rng.randrange(60)))
        elif kind == 0:
            at = rng.randrange(max(1, len(text) - 1000))
            yield text[at:at + rng.randrange(1000)]
        elif kind == 1:
            yield "".join(chr(rng.choice([rng.randrange(0x20, 0x7f), rng.randrange(0xa0, 0x3000), rng.randrange(0x1f300, 0x1fa00)]))
                          for _ in range(rng.randrange(60)))
        elif kind == 2:
            yield "".join(sp.id_to_piece(rng.randrange(sp.vocab_size())) for _ in range(rng.randrange(20)))
        elif kind == 3:
            yield rng.choice(["a", " ", "\u2581", "the", "\n", "\0", "é", "😀", "7"]) * rng.randrange(300)
        else:
            yield "".join(rng.choice(" \u2581a\nb\0<s>[INST]") for _ in range(rng.randrange(80)))


def compare(path, count=2000):
    sp = sentencepiece.SentencePieceProcessor(model_file=path)
    texts = list(samples(sp, count)) + ["", " "]
    lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    run = subprocess.run([galerne, "tokenize", path, "--encode", "--jsonl"], input=lines.encode(), capture_output=True, check=True)
    ours = [json.loads(line)["ids"] for line in run.stdout.decode().split("\n")[:-1]]
    theirs = [sp.encode(t) for t in texts]
    differ = [t for t, a, b in zip(texts, ours, theirs) if a != b]
    check("ids of " + os.path.basename(path), len(ours) == len(texts) and not differ,
          "%d texts" % len(texts) + (", first difference %r" % differ[0] if differ else ""))
    lines = "".join(json.dumps({"ids": i}) + "\n" for i in theirs)
    run = subprocess.run([galerne, "tokenize", path, "--decode", "--jsonl"], input=lines.encode(), capture_output=True, check=True)
    back = [json.loads(line)["text"] for line in run.stdout.decode().split("\n")[:-1]]
    check("texts of " + os.path.basename(path), back == [sp.decode(i) for i in theirs], "%d lists of ids" % len(theirs))


with tempfile.TemporaryDirectory() as folder:
    model = os.path.join(folder, "trained.model")
    subprocess.run([galerne, "tokenize", "--train", text_file, "-o", model, "--vocab-size", "400"], check=True)
    sp = sentencepiece.SentencePieceProcessor(model_file=model)
    check("trained model", (sp.vocab_size(), sp.unk_id(), sp.bos_id(), sp.eos_id(), sp.pad_id()) == (400, 0, 1, 2, -1),
          "%d pieces" % sp.vocab_size())
    compare(model)
    # By the rules that galerne makes, and by those of the package.
    for rule in ("nfkc", "nmt_nfkc"):
        model, theirs = os.path.join(folder, rule + ".model"), os.path.join(folder, "their-" + rule)
        subprocess.run([galerne, "tokenize", "--train", text_file, "-o", model, "--vocab-size", "400", "--normalizer", rule], check=True)
        compare(model, 4000)
        sentencepiece.SentencePieceTrainer.train(input=text_file, model_prefix=theirs, vocab_size=400, model_type="bpe", byte_fallback=True,
                                                 normalization_rule_name=rule, character_coverage=0.9995, minloglevel=2)
        compare(theirs + ".model", 4000)
        mine, built_in = sentencepiece.SentencePieceNormalizer(model_file=model), sentencepiece.SentencePieceNormalizer(
            rule_name=rule, add_dummy_prefix=True, escape_whitespaces=True, remove_extra_whitespaces=False)
        single = [chr(c) for c in range(1, 0x110000) if not 0xd800 <= c < 0xe000]

        def differs(t):
            return mine.normalize("a" + t + "a") != built_in.normalize("a" + t + "a")

        # Characters of a Unicode that this Python does not know, or the other does not.
        newer = [c for c in single if differs(c)]
        texts = [s + m for s in single[:0x3100] for m in "\u0300\u0301\u0308\u0327\u0345"] + list(samples(sp, 20000))
        others = [t for t in texts if differs(t) and not any(c in t for c in newer)]
        check("rules of " + rule, not others and all(unicodedata.category(c) == "Cn" for c in newer),
              "%d characters but for %s, %d texts" % (len(single), newer, len(texts)) + (", first difference %r" % others[0] if others else ""))
for path in sys.argv[3:]:
    compare(path)
sys.exit(1 if failed else 0)
