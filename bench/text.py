#!/usr/bin/env python3
"""Encoding beside tiktoken, tokenizers and sentencepiece: the same texts, one thread, in turns; seconds of the processor.

    python3 bench/text.py VOCABULARY [--file TEXT] [--megabytes 5] [--rounds 3] [--lines] [--no-growth]

VOCABULARY: a tekken.json (peers: tiktoken, tokenizers) or a SentencePiece BPE model (peers: sentencepiece, tokenizers); peers that
the caller's Python lacks are left out. Texts come from a seed: our examples and sources, invented words of other scripts,
and random pieces of the vocabulary itself, joined ("soup"), which no memory of words helps. --file adds one. --lines encodes line by line.
Then the time per byte of runs and of words without an end at 1 and 10 MB, and the time to open the vocabulary in a new process.
Best of the rounds; ids are compared by number. Build first (build/bench_text). SPDX-License-Identifier: Apache-2.0
"""
import argparse
import base64
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = pathlib.Path(__file__).resolve().parent.parent


def words_of(draw, ranges, count=4000, longest=9):
    """Invented words of a script; the first are drawn most often, as words are."""
    chars = [chr(c) for a, b in ranges for c in range(a, b)]
    return ["".join(draw.choice(chars) for _ in range(draw.randint(1, longest))) for _ in range(count)]


def prose(draw, words, size, gap=" "):
    out, have = [], 0
    while have < size:
        w = words[min(int(draw.paretovariate(0.6)) - 1, len(words) - 1)] if draw.random() < 0.8 else draw.choice(words)
        end = gap if draw.random() < 0.9 else draw.choice([", ", ". ", ".\n", "\n\n", " - ", "! "])
        out.append(w + end)
        have += len(out[-1].encode())
    return "".join(out)


def some_files(size, names):
    text = "\n".join(p.read_text(encoding="utf-8", errors="replace") for p in names)
    while len(text.encode()) < size:
        text += text
    return text.encode()[:size].decode("utf-8", "ignore")


def texts(size, soup):
    draw = random.Random(20240911)
    t = {"english": some_files(size, sorted((ROOT / "examples/text").glob("*.txt"))),
         "code": some_files(size, sorted((ROOT / "src").rglob("*.c"))),
         "chinese": prose(draw, words_of(draw, [(0x4E00, 0x5600)], 8000, 4), size, ""),
         "arabic": prose(draw, words_of(draw, [(0x621, 0x63B), (0x641, 0x64B)]), size),
         "russian": prose(draw, words_of(draw, [(0x430, 0x450)]), size),
         "hindi": prose(draw, words_of(draw, [(0x915, 0x93A), (0x93E, 0x94D)]), size),
         "emoji": prose(draw, words_of(draw, [(0x1F300, 0x1F650), (0x1F900, 0x1FA00)], 3000, 3), size),
         "numbers": prose(draw, [str(draw.randrange(10 ** draw.randint(1, 12))) for _ in range(5000)], size),
         "soup": soup(draw, size)}
    pieces, mixed = [x for x in t.values()], []
    while sum(map(len, mixed)) < size:
        p = draw.choice(pieces)
        at = draw.randrange(len(p))
        mixed.append(p[at:at + draw.randint(20, 2000)] + draw.choice(["", " ", "\n", " " * draw.randint(1, 80), "\n" * 3, "\t\t"]))
    t["mixed"] = "".join(mixed).encode()[:size].decode("utf-8", "ignore")
    return t


def growth(size):
    draw = random.Random(7)
    yield "one letter", "a" * size
    yield "capitals", "A" * size
    yield "one emoji", "\U0001F600" * (size // 4)
    yield "spaces", " " * size
    yield "line breaks", "\n" * size
    yield "digits", "7" * size
    yield "one CJK character", "\u4e2d" * (size // 3)
    yield "CJK without a space", "".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(size // 3))
    yield "combining marks", "\u0301" * (size // 2)
    yield "base64", base64.b64encode(draw.randbytes(size * 3 // 4)).decode()
    yield "small letters", "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=size))
    yield "words of 100 kB", " ".join("".join(draw.choices("etaoinsrhl", k=100000)) for _ in range(size // 100000))
    yield "signs", "".join(draw.choices("=-*/#", k=size))


class Ours:
    def __init__(self, vocabulary):
        self.p = subprocess.Popen([ROOT / "build/bench_text", "--serve", vocabulary], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.open = float(self.p.stdout.readline())

    def encode(self, path, lines):
        self.p.stdin.write(f"{'lines' if lines else 'whole'} {path}\n")
        self.p.stdin.flush()
        seconds, ids = self.p.stdout.readline().split()
        return float(seconds), int(ids)

    def close(self):
        self.p.stdin.close()
        self.p.wait()


def merges_of(ranks):
    """Every way to make a piece of two, by the rank of what is made: what `tokenizers` wants to be told."""
    out = []
    for piece, rank in ranks.items():
        for i in range(1, len(piece)):
            if piece[:i] in ranks and piece[i:] in ranks:
                out.append((rank, ranks[piece[:i]], ranks[piece[i:]], piece[:i], piece[i:]))
    return [(a, b) for _, _, _, a, b in sorted(out, key=lambda x: x[:3])]


def tekken_peers(path):
    d = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    c = d["config"]
    used = c["default_vocab_size"] - c["default_num_special_tokens"]
    ranks = {base64.b64decode(v["token_bytes"]): v["rank"] for v in d["vocab"][:used]}
    peers = {}
    try:
        import tiktoken
        e = tiktoken.Encoding("t", pat_str=c["pattern"], mergeable_ranks=ranks, special_tokens={})
        peers["tiktoken"] = lambda text: len(e.encode_ordinary(text))
    except ImportError:
        pass
    try:
        import tokenizers
        from tokenizers import models, pre_tokenizers
        keep = [*range(33, 127), *range(161, 173), *range(174, 256)]  # how byte-level vocabularies spell bytes
        rest = [b for b in range(256) if b not in keep]
        spell = {b: chr(b) for b in keep} | {b: chr(256 + i) for i, b in enumerate(rest)}
        named = {"".join(spell[b] for b in p): r for p, r in ranks.items()}
        t = tokenizers.Tokenizer(models.BPE(vocab=named, merges=merges_of(named), ignore_merges=True))
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(tokenizers.Regex(c["pattern"]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        peers["tokenizers"] = lambda text: len(t.encode(text, add_special_tokens=False).ids)
    except ImportError:
        pass
    return peers, [p.decode("utf-8", "ignore") for p in ranks]


def spm_peers(path):
    import sentencepiece
    s = sentencepiece.SentencePieceProcessor(model_file=str(path))
    n = s.get_piece_size()
    pieces = [s.id_to_piece(i) for i in range(n)]
    peers = {"sentencepiece": lambda text: len(s.encode(text))}
    try:
        import tokenizers
        from tokenizers import models, normalizers
        ids = {p: i for i, p in enumerate(pieces)}
        order = {p: i for i, p in enumerate(sorted((p for i, p in enumerate(pieces) if not s.is_control(i) and not s.is_byte(i)),
                                                   key=lambda p: -s.get_score(ids[p])))}
        t = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges_of(order), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        peers["tokenizers"] = lambda text: len(t.encode(text, add_special_tokens=False).ids)
    except ImportError:
        pass
    return peers, [p.replace("\u2581", " ") for i, p in enumerate(pieces) if not s.is_control(i) and not s.is_byte(i)]


def timed(peer, text, lines):
    parts = text.split("\n") if lines else [text]
    begin = time.process_time()
    ids = sum(peer(p) for p in parts)
    return time.process_time() - begin, ids


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("vocabulary")
    a.add_argument("--file", action="append", default=[])
    a.add_argument("--megabytes", type=float, default=5)
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--lines", action="store_true")
    a.add_argument("--no-growth", action="store_true")
    a.add_argument("--peers", default="tiktoken,sentencepiece,tokenizers")
    o = a.parse_args()
    json_file = pathlib.Path(o.vocabulary).read_bytes()[:1] in (b"{", b"[")
    peers, pieces = (tekken_peers if json_file else spm_peers)(o.vocabulary)
    peers = {k: v for k, v in peers.items() if k in o.peers.split(",")}
    soup = lambda draw, size: "".join(draw.choice(pieces) for _ in range(size // 4)).encode()[:size].decode("utf-8", "ignore")
    given = {pathlib.Path(f).name: pathlib.Path(f).read_text(encoding="utf-8") for f in o.file}
    ours = Ours(o.vocabulary)
    print(f"{'MB/s of one thread':20} {'galerne':>9}" + "".join(f"{p:>15} {'ours / it':>10}" for p in peers), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "text")
        for kind, text in {**texts(int(o.megabytes * 1e6), soup), **given}.items():
            data = text.encode()
            pathlib.Path(path).write_bytes(data)
            best, count = {}, {}
            for _ in range(o.rounds):
                for name in ["galerne", *peers]:
                    s, n = ours.encode(path, o.lines) if name == "galerne" else timed(peers[name], text, o.lines)
                    best[name], count[name] = min(s, best.get(name, s)), n
            row = f"{kind:20} {len(data) / 1e6 / best['galerne']:9.1f}"
            for p in peers:
                other = "" if count[p] == count["galerne"] else "*"
                row += f"{len(data) / 1e6 / best[p]:15.1f} {best[p] / best['galerne']:9.2f}{other or ' '}"
            print(row, flush=True)
        if not o.no_growth:
            print(f"\n{'ns a byte':20} {'1 MB':>9} {'10 MB':>9} {'growth':>9}", flush=True)
            for (kind, small), (_, large) in zip(growth(1000000), growth(10000000)):
                took = []
                for text in (small, large):
                    data = text.encode()
                    pathlib.Path(path).write_bytes(data)
                    took.append(min(ours.encode(path, False)[0] for _ in range(3)) / len(data) * 1e9)
                print(f"{kind:20} {took[0]:9.1f} {took[1]:9.1f} {took[1] / took[0]:9.2f}", flush=True)
    ours.close()
    opened = []
    for _ in range(7):
        one = Ours(o.vocabulary)
        opened.append(one.open)
        one.close()
    print(f"\nopening {pathlib.Path(o.vocabulary).name}: best {min(opened):.3f} s, median {sorted(opened)[3]:.3f} s of the processor")
    if peers:
        print("* another number of ids than ours: the peer's rules differ on this text", file=sys.stderr)


if __name__ == "__main__":
    main()
