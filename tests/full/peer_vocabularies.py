#!/usr/bin/env python3
"""Official vocabularies beside mistral-common and tokenizer.json files beside tokenizers: the same ids for mixed strings,
and back to the same text.

    peer_vocabularies.py GALERNE SHARED FOLDER [SEED [COUNT]]

SHARED holds data/tokenizers; FOLDER gets the tokenizer.json files that are made of them and trained here. Prints one line a
check and exits 1 if any failed. SPDX-License-Identifier: Apache-2.0
"""
import codecs
import glob
import json
import os
import random
import subprocess
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

galerne, shared, folder = sys.argv[1:4]
seed = int(sys.argv[4]) if len(sys.argv) > 4 else 6
count = int(sys.argv[5]) if len(sys.argv) > 5 else 10000
data = os.path.join(shared, "data/tokenizers")
failed = 0

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def check(name, ok, detail):
    global failed
    failed += not ok
    print(("ok      " if ok else "FAILED  ") + name + ": " + detail, flush=True)


codecs.register_error("each", lambda e: ("\ufffd", e.start + 1))

# ---- strings ---------------------------------------------------------------------------------------------------------

corpus = ""
for name in sorted(glob.glob("src/text/*.c") + glob.glob("docs/*.md") + ["README.md"]):
    with open(name, encoding="utf-8") as f:
        corpus += f.read()
ASSIGNED = [c for c in range(0x110000) if not 0xd800 <= c < 0xe000]
EMOJI = ["😀", "👨‍👩‍👧‍👦", "🇫🇷", "👍🏽", "❤️", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☺", "✈️", "🤷🏿‍♀️"]
WORDS = ["the", "The", " don't", "I'LL", "we've ", "caſt's", "'ſ", "naïve", "Zürich", "ČESKÝ", "Straße", "HTTPServer", "camelCase", "x86_64",
         "foo_bar", "12345", "3.14159", "½", "Ⅷ", "²", "٣٤", "１２", "日本語", "漢字かな交じり文", "中文，标点。", "한국어", "ไทยภาษา", "हिन्दी", "العربية",
         "עברית", "שָׁלוֹם", "ру́сский", "Ελληνικά", "à", "é̂", "Å", "ﬁ", "ǅ", "ʰ", "𝒳", "𐍈", "\u200d", "\u200b", "\ufeff", "\u00a0", "\u2028", "\u3000",
         "\u0085", "\t", "\n", "\r\n", "\n\n\n", " \n ", "//", "/*", "*/", "->", "!=", "{}", "();", "...", "—", "«»", "\0", "\x01", "\x1b[31m", "\x7f",
         "\U000323af", "\U0002ebf0", "\ua7da", "\u1c89", "\U00010d40"]
SPELLED = ["<s>", "</s>", "<unk>", "<pad>", "[INST]", "[/INST]", "[IMG]", "<0x0A>", "▁", "▁▁", "[TOOL_CALLS]", "<|endoftext|>", "[REF]", "<tag>", "[gap]",
           "NOTE", "Ġ", "Ċ"]


def one(rng):
    kind = rng.randrange(12)
    if kind == 0:
        at = rng.randrange(len(corpus) - 400)
        return corpus[at:at + rng.randrange(400)]
    if kind == 1:
        return "".join(chr(rng.choice(ASSIGNED)) for _ in range(rng.randrange(1, 40)))
    if kind == 2:
        block = rng.randrange(0x110000 >> 7) << 7  # every block in turn, by chance
        block = block if rng.random() < 0.3 else rng.randrange(0x3200 >> 7) << 7
        return "".join(chr(c) for c in (rng.randrange(block, block + 128) for _ in range(rng.randrange(1, 60))) if not 0xd800 <= c < 0xe000)
    if kind == 3:
        return rng.choice(["a", " ", "▁", "the", "\n", "\0", "é", "😀", "7", "\t", " \n", "aA", "'s", "\u0301", "中"]) * rng.randrange(120)
    if kind == 4:
        return "".join(rng.choice(EMOJI + [" ", "a"]) for _ in range(rng.randrange(30)))
    if kind == 5:
        return "".join(chr(rng.randrange(0x80)) for _ in range(rng.randrange(80)))
    if kind == 6:
        return "".join(rng.choice(SPELLED + [" ", "a", "b c"]) for _ in range(rng.randrange(20)))
    if kind == 7:
        return "".join(rng.choice([" ", "  ", "\n", "\t", "x", "=", "    ", "\r"]) for _ in range(rng.randrange(60)))
    if kind == 8:
        return "".join(rng.choice(["a", "e", "o", "ا", "ש", "क"]) + "".join(chr(rng.randrange(0x300, 0x370)) for _ in range(rng.randrange(4)))
                       for _ in range(rng.randrange(20)))
    if kind == 9:
        return "".join(chr(rng.choice([rng.randrange(0x4e00, 0xa000), rng.randrange(0x3040, 0x3100), rng.randrange(0xac00, 0xd7a4)]))
                       for _ in range(rng.randrange(40)))
    return "".join(rng.choice(WORDS) + rng.choice(["", " ", "", "  "]) for _ in range(rng.randrange(30)))


def strings(n, salt):
    rng = random.Random("%d %s" % (seed, salt))
    blocks = ["".join(chr(c) for c in range(b, b + 128) if not 0xd800 <= c < 0xe000) for b in range(0, 0x110000, 128)]
    some = blocks[:0x600] + rng.sample(blocks[0x600:], 200)  # all planes with letters, some of the rest
    return (some if n >= 5000 else rng.sample(some, n // 5)) + [one(rng) for _ in range(n)] + ["", " ", "  ", "\n", "\0"]


# ---- comparing -------------------------------------------------------------------------------------------------------


def run(path, *options, lines):
    done = subprocess.run([galerne, "tokenize", path, *options, "--jsonl"], input="".join(json.dumps(x) + "\n" for x in lines).encode(),
                          capture_output=True)
    if done.returncode:
        return None, done.stderr.decode()
    return [json.loads(x) for x in done.stdout.decode().split("\n")[:-1]], ""


def compare(name, path, encode, decode, n=count):
    texts = strings(n, name)
    theirs = [encode(t) for t in texts]
    ours, why = run(path, "--encode", lines=[{"text": t} for t in texts])
    if ours is None:
        check("ids of " + name, False, why.strip())
        return
    differ = [(t, a.get("ids"), b) for t, a, b in zip(texts, ours, theirs) if a.get("ids") != b]
    check("ids of " + name, len(ours) == len(texts) and not differ,
          "%d strings, %d ids" % (len(texts), sum(map(len, theirs))) + (", %d differ, first %r" % (len(differ), differ[0]) if differ else ""))
    back, why = run(path, "--decode", lines=[{"ids": i} for i in theirs])
    want = [decode(i) for i in theirs]
    differ = [(t, a.get("text"), b) for t, a, b in zip(texts, back, want) if a.get("text") != b]
    check("texts of " + name, not differ, "%d lists" % len(want) + (", %d differ, first %r" % (len(differ), differ[0]) if differ else ""))
    rng = random.Random(seed)
    bad = 0
    for i in range(10):
        raw = b"".join(rng.choice([b"abc", b" ", b"\xff", b"\xe2\x82", "é".encode(), "😀".encode()[:3], b"\xed\xa0\x80", b"\xc0\x80", "中".encode()])
                       for _ in range(40))
        done = subprocess.run([galerne, "tokenize", path], input=raw, capture_output=True)
        bad += [int(x) for x in done.stdout.split()] != encode(raw.decode("utf-8", "each"))
    check("bad bytes in " + name, bad == 0, "10 strings" + (", %d differ" % bad if bad else ""))


def official():
    from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
    from mistral_common.tokens.tokenizers.tekken import SpecialTokenPolicy, Tekkenizer
    for path in sorted(glob.glob(data + "/*.model.v*")):
        sp = SentencePieceTokenizer(path)
        compare(os.path.basename(path), path, lambda t: sp.encode(t, False, False), lambda i: sp.decode(i, SpecialTokenPolicy.IGNORE))
    for path in sorted(glob.glob(data + "/tekken_*.json")):
        tk = Tekkenizer.from_file(path)
        compare(os.path.basename(path), path, lambda t: tk.encode(t, False, False), lambda i: tk.decode(i, SpecialTokenPolicy.IGNORE))


# ---- tokenizer.json --------------------------------------------------------------------------------------------------


def of_tekken(path):
    from transformers.integrations.mistral.tokenizer import MistralConverter
    return MistralConverter(path).converted()


def of_pieces(path, style):
    """As converters have written them, from the first to the latest."""
    import sentencepiece
    sp = sentencepiece.SentencePieceProcessor(model_file=path)
    size = sp.vocab_size()
    pieces = [sp.id_to_piece(i) for i in range(size)]
    plain = {p: (-sp.get_score(i), i) for i, p in enumerate(pieces) if not (sp.is_control(i) or sp.is_unknown(i) or sp.is_byte(i) or i < 771 and size > 32000)}
    merges = []
    for p, rank in plain.items():
        merges += [(rank, p[:k], p[k:]) for k in range(1, len(p)) if p[:k] in plain and p[k:] in plain]
    merges = [(a, b) for _, a, b in sorted(merges)]
    t = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if style == "legacy":
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif style == "doubled":
        t.normalizer = normalizers.Sequence([normalizers.Replace(" ", "▁"), normalizers.Replace(Regex(r"\A▁"), "▁▁")])
        t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=False)
    else:
        scheme, split = style.split("-")
        t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=split == "split")
    end = [] if style.startswith("never") else [decoders.Strip(" ", 1, 0)]
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *end])
    special = [p for i, p in enumerate(pieces) if sp.is_control(i) or sp.is_unknown(i)]
    t.add_special_tokens([AddedToken(p, special=True, normalized=False) for p in special])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return t


def trained(style):
    special = ["<unk>", "<s>", "</s>"]
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True) if style.startswith("pieces") else models.BPE())
    options = dict(vocab_size=1200, special_tokens=special, show_progress=False)
    if style.startswith("pieces"):
        t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always" if "always" in style else "first", split=True)
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        options["special_tokens"] = special + ["<0x%02X>" % b for b in range(256)]
    else:
        split = {"gpt2": [], "llama3": [pre_tokenizers.Split(Regex(LLAMA3), "isolated")],
                 "digits": [pre_tokenizers.Digits(individual_digits=True)],
                 "runs": [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split("e", "merged_with_previous"),
                          pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.Split(Regex(r"[\r\n]+"), "contiguous")],
                 "removed": [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split(Regex(GPT2), "removed", invert=True)]}[style.split("-")[0]]
        prefix = style.endswith("-prefix")
        t.pre_tokenizer = pre_tokenizers.Sequence(split + [pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex="llama3" not in style)])
        t.decoder = decoders.ByteLevel()
        options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator([corpus[i:i + 2000] for i in range(0, len(corpus), 2000)] + [w for w in WORDS if w != "\0"] * 5, trainers.BpeTrainer(**options))
    if style.startswith("pieces"):
        j = json.loads(t.to_str())
        j["added_tokens"] = j["added_tokens"][:3]
        t = Tokenizer.from_str(json.dumps(j))
    if style == "llama3":
        t.model.ignore_merges = True
    return t


def with_added(t):
    """Tokens that are no special ones, of each kind."""
    t.add_tokens([AddedToken("<tag>", normalized=False), AddedToken("NOTE", single_word=True, normalized=False),
                  AddedToken("[gap]", lstrip=True, rstrip=True, normalized=False), AddedToken("b c"), AddedToken("<tag>x", normalized=False),
                  AddedToken("漢字", normalized=False), AddedToken("foo_bar", rstrip=True)])
    return t


def files():
    for path in sorted(glob.glob(data + "/tekken_*.json")):
        yield os.path.basename(path)[:-5] + "-hf", of_tekken(path), count
    spm = sorted(glob.glob(data + "/*.model.v*"))
    for path in spm:
        yield os.path.basename(path) + "-legacy", of_pieces(path, "legacy"), count // 2
    for style in ["doubled", "always-whole", "first-whole", "never-whole", "first-split", "always-split", "never-split"]:
        yield "pieces-" + style, of_pieces(spm[-1], style), count // 4
    for style in ["gpt2", "llama3", "gpt2-prefix", "llama3-prefix", "digits", "runs", "removed", "pieces-always", "pieces-first"]:
        yield "trained-" + style, trained(style), count // 4
        yield "trained-" + style + "-added", with_added(trained(style)), count // 4
    for style in ["legacy", "first-whole", "doubled"]:
        yield "pieces-" + style + "-added", with_added(of_pieces(spm[-1], style)), count // 4


def main():
    os.makedirs(folder, exist_ok=True)
    only = os.environ.get("ONLY", "")
    if not only:
        official()
    for name, t, n in files():
        if only and only not in name:
            continue
        at = os.path.join(folder, name)
        os.makedirs(at, exist_ok=True)
        path = os.path.join(at, "tokenizer.json")
        t.save(path)
        t = Tokenizer.from_file(path)
        t.encode_special_tokens = True  # text that spells a special token stays text
        compare(name, path, lambda s, t=t: t.encode(s, add_special_tokens=False).ids, lambda i, t=t: t.decode(i), n)
    sys.exit(1 if failed else 0)


main()
