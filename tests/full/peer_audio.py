#!/usr/bin/env python3
"""Audio in conversations, and filling in, beside mistral-common: random files of random rates and lengths, whole, cut and damaged, in every
template that takes them, cut into tokens in several ways.

    peer_audio.py GALERNE FOLDER [SEED] [COUNT]

Needs mistral-common, soundfile and soxr. Of files that the reference reads and galerne refuses by kind (MP3, Ogg, AIFF, packed ones), and of
those that it finds damaged, the number is printed; other ids, or ids for what the reference rejects, are a failure. SPDX-License-Identifier: Apache-2.0
"""
import base64
import io
import json
import os
import random
import struct
import subprocess
import sys
import warnings

warnings.filterwarnings("ignore")
import numpy
import soundfile
import soxr
from mistral_common.protocol.fim.request import FIMRequest
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

galerne, folder = sys.argv[1:3]
seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().randrange(1 << 30)
count = int(sys.argv[4]) if len(sys.argv) > 4 else 1600
rng = random.Random(seed)
choice, chance = rng.choice, rng.random
print("seed", seed)

SPECIAL = ("<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] [IMG] <pad> "
           "[IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT] [ARGS] [CALL_ID] [THINK] "
           "[/THINK] [MODEL_SETTINGS] [/MODEL_SETTINGS] [AUDIO] [BEGIN_AUDIO] [TRANSCRIBE] [STREAMING_PAD]").split()
PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
           r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
STREAMING = {"transcription_format": "streaming", "transcription_delay_ms": 480, "streaming_look_ahead_ms": 2.5, "streaming_look_back_ms": 52.5,
             "streaming_n_left_pad_tokens": 32}
RATES = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 96000]


def config(rate, frames, hop, window, **more):
    return {"sampling_rate": rate, "frame_rate": frames, "audio_encoding_config": {"num_mel_bins": 8, "hop_length": hop, "window_size": window}, **more}


CONFIGS = [config(16000, 12.5, 160, 400, chunk_length_s=30.0), config(16000, 12.5, 160, 400, chunk_length_s=0.01), config(16000, 12.5, 160, 400),
           config(1000, 50, 5, 10, chunk_length_s=0.1), config(24000, 12.5, 240, 960), config(16000, 0.3, 7, 9000, chunk_length_s=None),
           config(16000, 12.5, 160, 400, **STREAMING), config(22050, 7.7, 3, 1)]


def tekken(version, audio):
    pieces = [bytes([b]) for b in range(256)] + [b" a", b"ab"]
    d = {"config": {"pattern": PATTERN, "num_vocab_tokens": len(pieces), "default_vocab_size": len(pieces) + len(SPECIAL),
                    "default_num_special_tokens": len(SPECIAL), "version": "v%d" % version},
         "vocab": [{"rank": i, "token_bytes": base64.b64encode(b).decode(), "token_str": None} for i, b in enumerate(pieces)],
         "special_tokens": [{"rank": i, "token_str": s, "is_control": True} for i, s in enumerate(SPECIAL)], "audio": audio}
    if version >= 15:
        d["model_settings_builder"] = {"reasoning_effort": {"type": "enum", "values": ["none", "high"], "accepts_none": True, "default": "none"}}
    return json.dumps(d)


KINDS = ([("WAV", s) for s in ("PCM_16", "PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")] + [("FLAC", "PCM_16"), ("FLAC", "PCM_24")] * 2 +
         [("WAVEX", "PCM_16"), ("WAVEX", "FLOAT"), ("RF64", "PCM_16"), ("RF64", "PCM_24"), ("AU", "PCM_16"), ("AU", "ULAW"), ("AU", "FLOAT")])
OTHERS = [("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16")]


def sound():
    n = choice([0, 1, 2, rng.randint(0, 60), rng.randint(0, 3000), rng.randint(0, 30000)])
    rate = choice(RATES) if chance() < .7 else rng.randint(1000, 100000)
    kind, sub = choice(KINDS) if chance() < .93 else choice(OTHERS)
    out = io.BytesIO()
    samples = numpy.random.RandomState(rng.randrange(1 << 30)).randn(n, 2 if chance() < .04 else 1) * choice([.1, .1, 0])
    try:
        soundfile.write(out, samples, rate, format=kind, subtype=sub, endian="BIG" if kind == "WAV" and chance() < .06 else "FILE")
    except Exception:
        return sound()
    return out.getvalue()


def chunks(b):
    """The chunks of a RIFF file."""
    at, out = 12, []
    while at + 8 <= len(b):
        n = struct.unpack("<I", b[at + 4:at + 8])[0]
        out.append(b[at:at + 8 + n + (n & 1)])
        at += 8 + n + (n & 1)
    return out


def harm(b):
    r = chance()
    if b[:4] == b"RIFF" and r < .5:
        parts = chunks(b)
        if chance() < .3:
            rng.shuffle(parts)
        for _ in range(rng.randint(0, 2)):
            n = rng.randint(0, 9)
            size = n if chance() < .8 else choice([0, n + 1, 1 << 20, 0xffffffff, 0xffff0000])
            parts.insert(rng.randint(0, len(parts)), choice([b"LIST", b"junk", b"JUNK", b"abcd", b"fact", b"fmt ", b"data", b"PEAK", b"\1\2\3\4"]) +
                         struct.pack("<I", size) + bytes(n + (n & 1)))
        if chance() < .4:
            i = rng.randrange(len(parts))
            parts[i] = parts[i][:4] + struct.pack("<I", choice([0, 1, 7, 100, 0xffffffff, 0x80000000, rng.randint(0, 60000)])) + parts[i][8:]
        return b[:4] + (b[4:8] if chance() < .8 else struct.pack("<I", choice([0, 8, 36, 0xffffffff]))) + b[8:12] + b"".join(parts)
    if r < .6:
        return b[:rng.randint(0, len(b))]
    if r < .7:
        return b + bytes(rng.randrange(256) for _ in range(rng.randint(1, 20)))
    b = bytearray(b)
    for _ in range(rng.randint(1, 3)):
        if b:
            b[rng.randrange(min(len(b), choice([48, 48, 100, 100000])))] = choice([0, 1, 2, 0xff, rng.randrange(256)])
    return bytes(b)


def spelled(b):
    s = base64.b64encode(b).decode()
    r = chance()
    if r < .1:
        s = "\n".join(s[i:i + 60] for i in range(0, len(s), 60))
    elif r < .14 and s:
        i = rng.randrange(len(s))
        s = s[:i] + choice(["=", " ", "!", "é", "==", "A", "-", "\u0000"]) + s[i:]
    elif r < .17:
        s = s.rstrip("=")
    if chance() < .4:
        s = choice(["data:audio/wav;base64,", "data:;base64,", "data:audio/wav;x=y;base64,"]) + s
    elif chance() < .02:
        s = choice(["data:audio/wav,", "http://localhost:1/", "file:///no/such/", "DATA:audio/wav;base64,"]) + s
    return s


def part(kind):
    if kind == "text":
        return {"type": "text", "text": choice(["", "a", " ab", "x\n", "[AUDIO]"])}
    b = sound()
    s = spelled(harm(b) if chance() < .3 else b)
    if kind == "audio_url":
        return {"type": "audio_url", "audio_url": choice([s, {"url": s}])}
    return {"type": "input_audio", "input_audio": choice([s, {"data": s, "format": "wav"}])}


def content(kinds, most):
    return choice(["a", "b c"]) if chance() < .2 else [part(choice(kinds)) for _ in range(rng.randint(1, most))]


def body():
    both = ["text", "input_audio", "audio_url"]
    ms = [{"role": "system", "content": content(["text", "text", "input_audio"], 2)}] if chance() < .25 else []
    ms += [{"role": "user", "content": content(both, 3)} for _ in range(choice([1, 1, 2]))]
    if chance() < .4:
        ms += [{"role": "assistant", "content": "a"}, {"role": "user", "content": content(both, 2)}]
    elif chance() < .2:
        ms += [{"role": "assistant", "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
               {"role": "tool", "tool_call_id": "abcdefghi", "content": content(both, 2)}]
    return {"messages": ms}


def blank():
    texts = ["", "a", " ab", "def f(\n", "☺", "é漢", "[SUFFIX]", "  x  "]
    b = {"prompt": choice(texts), "suffix": choice(texts + [None])}
    if chance() < .2:
        b.pop(choice(["prompt", "suffix"]))
    return b


def reference(t, b):
    try:
        if "messages" in b:
            return t.encode_chat_completion(ChatCompletionRequest.model_validate(b)).tokens
        return t.encode_fim(FIMRequest.model_validate(b)).tokens
    except Exception:
        return None


KNOWN = ("found an Ogg", "found an MP3", "found an AIFF", "whose encoding", "of another kind", "is damaged", "nothing is fetched", "several things", "another header", "an RF64 file", "PEAK chunk")
failed = 0
os.makedirs(folder, exist_ok=True)
for version in (2, 3, 7, 11, 13, 15):
    for i, audio in enumerate(CONFIGS if version >= 7 else [None]):
        path = os.path.join(folder, "tekken.json")
        with open(path, "w") as f:
            f.write(tekken(version, audio))
        t = MistralTokenizer.from_file(path)
        lines = [blank() if chance() < .1 or version < 7 else body() for _ in range(max(1, count // len(CONFIGS)))]
        wanted = [reference(t, b) for b in lines]
        run = subprocess.run([galerne, "tokenize", path, "--chat", "--jsonl"], input="".join(json.dumps(b) + "\n" for b in lines).encode(),
                             capture_output=True, check=True)
        got = [json.loads(line) for line in run.stdout.decode().split("\n")[:-1]]
        skipped = bad = 0
        for b, want, have in zip(lines, wanted, got, strict=True):
            if have.get("ids") == want:
                continue
            if "ids" not in have and any(k in have["error"] for k in KNOWN):
                skipped += 1
                continue
            bad += 1
            if bad < 4:
                print("    %s\n    wanted %s\n    got %s" % (json.dumps(b)[:3000], want and (len(want), want[:60]), have.get("error") or (len(have["ids"]), have["ids"][:60])))
        failed += bad > 0
        print("%sV%d, audio in way %d: %d requests, %d rejected, %d of kinds or damage that are not read here" %
              ("FAILED  " if bad else "ok      ", version, i, len(lines), wanted.count(None), skipped))

# Lengths after resampling, for any two rates: one file a pair, one token a sample.
wrong = pairs = 0
for rate in (16000, 24000, 22050, 44100, 1000, rng.randint(500, 50000)):
    with open(path, "w") as f:
        f.write(tekken(13, config(rate, rate, 1, 1)))
    lines, wanted = [], []
    for _ in range(max(1, count // 2)):
        own = choice(RATES) if chance() < .4 else rng.randint(1, 200000)
        n = rng.randint(1, max(2, min(4000, 20000 * own // rate)))
        out = io.BytesIO()
        soundfile.write(out, numpy.zeros(n), own, format="WAV", subtype="PCM_U8")
        lines.append({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": base64.b64encode(out.getvalue()).decode()}]}]})
        wanted.append(max(1, n if own == rate else len(soxr.resample(numpy.zeros(n, dtype=numpy.float32), own, rate, quality="HQ"))))
    run = subprocess.run([galerne, "tokenize", path, "--chat", "--jsonl"], input="".join(json.dumps(b) + "\n" for b in lines).encode(),
                         capture_output=True, check=True)
    got = [json.loads(line) for line in run.stdout.decode().split("\n")[:-1]]
    wrong += sum(len(have.get("ids", [])) - 4 != want for want, have in zip(wanted, got, strict=True))
    pairs += len(lines)
failed += wrong > 0
print("%s%d lengths at pairs of rates, %d other than soxr's" % ("FAILED  " if wrong else "ok      ", pairs, wrong))
sys.exit(failed > 0)
