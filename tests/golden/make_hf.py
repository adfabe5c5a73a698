#!/usr/bin/env python3
"""Makes hf-*.json, small vocabularies in the layout of tokenizer.json, and what the tokenizers package makes of texts with them.

    python3 make_hf.py TEXTFILE OUTDIR

Joins are learnt from TEXTFILE and the texts below. Needs tokenizers in an environment that may be thrown away afterwards. The
texts of tiny.jsonl and some more go into hf-*.jsonl. SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
ADDED = [AddedToken("<tag>", normalized=False), AddedToken("NOTE", single_word=True, normalized=False),
         AddedToken("[gap]", lstrip=True, rstrip=True, normalized=False), AddedToken("b c"), AddedToken("<tag>x", normalized=False),
         AddedToken("漢字", normalized=False)]
MORE = ["camelCaseWords and HTTPServer2Go", "1234567 3.14", "tabs\tand\r\nlines\n\n\n  two", "a  b   c    ", "   ", " \n \n", "don't WON'T I'LL",
        "[INST] is text </s>", "Zürich, Ελλάδα, Москва", "你好，世界。こんにちは 漢字かな", "ﷺ العربية", "हिन्दी में", "e\u0301 a\u0300\u0323", "👩‍👩‍👧 🇫🇷 ✂️",
        "\u0085\u00a0\u2003x\u3000y", "ǅ ʰ ª º ⅷ ²", "\u0001\x7f", "http://a.b/c?d=e&f//\n", "++--==\n\n/x", "A" * 70, "ab" * 40, "\U0001f600" * 9,
        "x\u200dy\u200c", "(hello) «bon» \"quoted\"'s", "ſ K ß İ", "a <tag> b<tag>x c", "NOTE this, NOTES not, aNOTE, NOTE", "one  [gap]  two[gap]three",
        "b c ab c b cd", "▁ ▁▁a▁b", "<0x41> <s><s>", " <s> "]


def pieces_decoder():
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def make(style, texts):
    spaced = style != "bytes" and style != "prefix"
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True) if spaced else models.BPE())
    options = dict(vocab_size=900, special_tokens=SPECIAL + (["<0x%02X>" % b for b in range(256)] if spaced else []), show_progress=False)
    if spaced:
        # learnt word by word; "legacy" is used without the words
        t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=True)
        t.decoder = pieces_decoder()
    else:
        split = [pre_tokenizers.Split(Regex(LLAMA3), "isolated")] if style == "bytes" else [pre_tokenizers.Digits(individual_digits=True)]
        t.pre_tokenizer = pre_tokenizers.Sequence(split + [pre_tokenizers.ByteLevel(add_prefix_space=style == "prefix", use_regex=style == "prefix")])
        t.decoder = decoders.ByteLevel()
        options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(texts, trainers.BpeTrainer(**options))
    j = json.loads(t.to_str())
    j["added_tokens"] = j["added_tokens"][:len(SPECIAL)]
    t = Tokenizer.from_str(json.dumps(j))
    if style == "legacy":
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.pre_tokenizer = None
    if style == "bytes":
        t.model.ignore_merges = True
    if style in ("prefix", "metaspace"):
        t.add_tokens(ADDED)
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return t


# Of the vocabularies made before: added tokens that are changed as the text is and then spell a word of the vocabulary, which is how
# transformers adds them unless told otherwise, and no token for what is unknown.
VARIED = {"nounk": "hf-legacy.json", "vanish": "hf-metaspace.json"}
WORDS = ["Paris", "the", "theory", "of the", AddedToken("and", single_word=True), AddedToken("é", single_word=True), AddedToken("Q", single_word=True),
         AddedToken("▁to", normalized=False)]
SOME = ["Paris", "in Paris", "inParis, Parisian and Paris", "the theory of the theatre", "of the", "and sand and. andand", "é café é", "Q xQ Q", "to to▁to",
        "the\U0001f600 \U0001f600the a\u4e00\u4e8cb", "th\U0001f600e", "a \U0001f600 b", "  \U0001f600  ", " lead", "  two"]


def vary(path, style):
    t = Tokenizer.from_file(path)
    t.add_tokens(WORDS)
    j = json.loads(t.to_str())
    j["model"]["unk_token"] = None
    if style == "vanish":
        j["model"].update(byte_fallback=False, fuse_unk=False)
    return j


def main(text, out):
    with open(text, encoding="utf-8") as f:
        novel = f.read(60000)
    learnt = [novel[i:i + 500] for i in range(0, len(novel), 500)] + 3 * MORE[:-2]  # what spells special tokens is not learnt
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "text", "tiny.jsonl"), encoding="utf-8") as f:
        texts = [json.loads(line)["text"] for line in f] + MORE
    for style in ("bytes", "prefix", "legacy", "metaspace", "nounk", "vanish"):
        path = os.path.join(out, "hf-%s.json" % style)
        if style in VARIED:
            j = vary(os.path.join(out, VARIED[style]), style)
        else:
            j = json.loads(make(style, [s for s in learnt if "\0" not in s]).to_str())
        if style in ("legacy", "prefix"):  # as files before 2024 have it
            j["model"]["merges"] = [" ".join(m) if isinstance(m, list) else m for m in j["model"]["merges"]]
        with open(path, "w", encoding="utf-8") as f:
            json.dump(j, f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
        t = Tokenizer.from_file(path)
        t.encode_special_tokens = True  # text that spells a special token stays text
        with open(path + "l", "w", encoding="utf-8") as f:
            for s in texts + (SOME if style in VARIED else []):
                ids = t.encode(s, add_special_tokens=False).ids
                f.write(json.dumps(dict(text=s, ids=ids, decoded=t.decode(ids))) + "\n")
        print(path, len(texts), "texts")


main(*sys.argv[1:])
