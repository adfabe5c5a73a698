#!/usr/bin/env python3
"""Conversations with the ids that mistral-common gives them, for vocabularies of our own that are small enough to be checked in.

    make_chat.py OUTDIR

Needs mistral-common, sentencepiece, soundfile and soxr. Writes chat.model (SentencePiece: control pieces, 256 bytes, a few letters), chat.json (Tekken: 256
bytes, three pieces, special tokens), chat-audio.json (the same with what cuts audio) and chat.jsonl: {"vocabulary", "version", "body": text of a request, "ids"} or "error" with the
reference's message. One vocabulary serves all versions; the reference reads copies of it under the names that it tells versions by.
SPDX-License-Identifier: Apache-2.0
"""
import base64
import io
import json
import os
import struct
import sys
import tempfile
import warnings
import zlib

warnings.filterwarnings("ignore")
import numpy
import mistral_common.tokens.tokenizers.image as image
import soundfile
from mistral_common.protocol.fim.request import FIMRequest
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from sentencepiece import sentencepiece_model_pb2

out = sys.argv[1]
image.transform_image = lambda picture, size: numpy.zeros(1)  # pixels are of no matter here, and would need OpenCV
SPM = ("[INST] [/INST] [TOOL_CALLS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [IMG] [PREFIX] [MIDDLE] [SUFFIX] "
       "[IMG_BREAK] [IMG_END] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]").split()
TEKKEN = ("<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] [IMG] <pad> "
          "[IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT] [ARGS] [CALL_ID] [THINK] "
          "[/THINK] [MODEL_SETTINGS] [/MODEL_SETTINGS]").split()
PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
           r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def spm():
    m = sentencepiece_model_pb2.ModelProto()
    kinds = m.SentencePiece
    pieces = [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)] + [(p, kinds.CONTROL) for p in SPM]
    pieces += [("<0x%02X>" % b, kinds.BYTE) for b in range(256)] + [(p, kinds.NORMAL) for p in ("\u2581", "a", "\u2581a", "b", "\n", "\"")]
    for i, (piece, kind) in enumerate(pieces):
        m.pieces.add(piece=piece, score=0 if kind != kinds.NORMAL else -i, type=kind)
    t = m.trainer_spec
    t.model_type, t.vocab_size, t.byte_fallback, t.unk_id, t.bos_id, t.eos_id, t.pad_id = t.BPE, len(pieces), True, 0, 1, 2, -1
    n = m.normalizer_spec
    n.name, n.add_dummy_prefix, n.remove_extra_whitespaces, n.escape_whitespaces = "identity", True, False, True
    return m.SerializeToString()


AUDIO = "[AUDIO] [BEGIN_AUDIO] [TRANSCRIBE]".split()


def tekken(version, audio=False):
    special = TEKKEN + AUDIO * audio
    raw = [bytes([b]) for b in range(256)] + [b" a", b": ", b"\", \""]
    size = len(raw) + len(special)
    d = {"config": {"pattern": PATTERN, "num_vocab_tokens": len(raw), "default_vocab_size": size, "default_num_special_tokens": len(special),
                    "version": "v%d" % version},
         "vocab": [{"rank": i, "token_bytes": base64.b64encode(b).decode(), "token_str": None} for i, b in enumerate(raw)],
         "special_tokens": [{"rank": i, "token_str": s, "is_control": True} for i, s in enumerate(special)]}
    d["image"] = {"image_patch_size": 2, "max_image_size": 8}
    if audio:
        d["audio"] = {"sampling_rate": 1000, "frame_rate": 50.0, "audio_encoding_config": {"num_mel_bins": 8, "hop_length": 5, "window_size": 10},
                      "chunk_length_s": 0.1}
    if version >= 15:
        d["model_settings_builder"] = {"reasoning_effort": {"type": "enum", "values": ["none", "high"], "accepts_none": True, "default": "none"}}
    return json.dumps(d, separators=(",", ":"))


def user(c):
    return {"role": "user", "content": c}


def says(c, **more):
    return {"role": "assistant", "content": c, **more}


def call(name, arguments, id="abcdefghi"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(c, id="abcdefghi"):
    return {"role": "tool", "name": "f", "tool_call_id": id, "content": c}


def text(t):
    return {"type": "text", "text": t}


def png(width, height):
    def part(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) +
                            part(b"IDAT", zlib.compress(bytes((width + 1) * height))) + part(b"IEND", b"")).decode()


SYSTEM = {"role": "system", "content": "s"}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"é": {"minimum": 1.50, "x": 1e22}}}}},
         {"function": {"name": "g", "description": "d", "parameters": {}, "strict": True}}]
ODD = '{"a":1.0,"b":-0,"c":1E400,"a":[100000000000000000000000,0.00001,1e16,"\\u00e9\\n\\u0001/"], "d":{}}'
BODIES = [
    {"messages": [user("a")]},
    {"messages": [SYSTEM, user("[INST] </s>"), says("b  "), user("a\u0000é")]},
    {"messages": [SYSTEM]},
    {"messages": [user("a"), user([text("b"), text(""), text("c")]), says("a"), says([text("b")]), user("")]},
    {"messages": [user("a"), SYSTEM, SYSTEM, user("b"), says(" x ", prefix=True)]},
    {"messages": [user("a"), says("b")], "continue_final_message": True},
    {"messages": [says("b"), user("a")]},
    {"messages": [user("a"), says("", tool_calls=[call("f", ODD)]), result(ODD), says("b"), user("a")], "tools": TOOLS},
    {"messages": [user("a"), says(None, tool_calls=[call("f", "{bad"), call("g", "", "ABCDEFGH1")]), result("[1,2]", "ABCDEFGH1"), result("")]},
    {"messages": [user("a"), says("b", tool_calls=[call("f", {"k": "é"})]), result([text("x"), text("y")])], "tools": TOOLS[:1]},
    {"messages": [user("a"), says([{"type": "thinking", "thinking": "t"}, text("b"), {"type": "thinking", "thinking": "u", "closed": False}],
                                  prefix=True)]},
    {"messages": [{"role": "system", "content": [text("s"), {"type": "thinking", "thinking": "t"}]}, user("a")]},
    {"messages": [SYSTEM, user("a\ud800b\udc00\ud83d\ud83d\ude00")]},
    {"messages": [user("a"), says("", tool_calls=[call("f", {"k": "\udfff"})]), result("{\"k\": \"\\ud800\"}")], "tools": TOOLS[:1]},
    {"messages": [user("a")], "reasoning_effort": "high"},
    {"messages": [user("a")], "reasoning_effort": "low"},
    {"messages": [user([text("a"), {"type": "image_url", "image_url": {"url": "data:image/png;base64," + png(5, 3)}}])]},
    {"messages": [user([{"type": "image", "image": png(100, 20)}, text("a"), {"type": "image", "image": png(1, 1)}])]},
    # what every version refuses
    {"messages": []},
    {"messages": [user("a"), says("b")]},
    {"messages": [user("a"), result("x")]},
    {"messages": [user("a"), says("b"), SYSTEM, user("a")]},
    {"messages": [user("a")], "tools": [{"type": "function", "function": {"name": "a b", "parameters": {}}}]},
    {"messages": [user("a")], "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "no such"}}}]},
    {"messages": [{"role": "user", "content": "a", "x": 1}]},
    {"messages": [user(None)]},
    {"messages": [user([{"type": "image_url", "image_url": "x"}])]},
    {"messages": [user("a"), says("b", prefix=True), user("c")]},
    {"messages": [user("a"), says("", tool_calls=[call("f", "{}", "short")]), result("x", "short")]},
]


def wav(samples, rate=1000, channels=1, bits=16, data=None, more=b""):
    body = bytes(samples * channels * bits // 8)
    format = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    body = (b"WAVEfmt " + struct.pack("<I", len(format)) + format + more + b"data" + struct.pack("<I", len(body) if data is None else data) + body)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def written(samples, kind, rate):
    o = io.BytesIO()
    soundfile.write(o, numpy.zeros(samples), rate, format=kind, subtype="PCM_16")
    return o.getvalue()


def sound(b, how="input"):
    s = base64.b64encode(b).decode()
    return {"input": {"type": "input_audio", "input_audio": {"data": s, "format": "wav"}}, "bare": {"type": "input_audio", "input_audio": s},
            "url": {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64," + s}}, "bare url": {"type": "audio_url", "audio_url": s}}[how]


CALLED = [user("a"), says("", tool_calls=[call("f", "{}")])]
SOUNDS = [
    {"messages": [user([text("a"), sound(wav(3)), text("b")])]},
    {"messages": [user([sound(wav(100), "bare"), sound(wav(101), "url"), sound(wav(0), "bare url"), text("a")])]},
    {"messages": [user([sound(wav(150, 8000))]), user("a"), says("b"), user([text("a"), sound(wav(150, 300, bits=8))])]},
    {"messages": [user([sound(written(250, "FLAC", 2000)), sound(written(7, "AU", 22050)), sound(written(201, "RF64", 1000)), sound(written(5, "WAVEX", 8000))])]},
    {"messages": [user([sound(wav(20, data=8)), sound(wav(200, data=1 << 30)), sound(wav(120, data=0)), sound(wav(130, more=b"LIST\3\0\0\0abc\0"))])]},
    {"messages": [user([{"type": "input_audio", "input_audio": "\n ".join(base64.b64encode(wav(3)).decode())}])]},
    {"messages": [SYSTEM, user([sound(wav(3))])]},
    {"messages": [SYSTEM, user([sound(wav(3), "url")])]},
    {"messages": [{"role": "system", "content": [text("s"), sound(wav(3))]}, user("a")]},
    {"messages": CALLED + [result([text("x"), sound(wav(3))])]},
    # what is refused
    {"messages": [user([sound(wav(3, channels=2))])]},
    {"messages": [user([sound(wav(3, rate=0))])]},
    {"messages": [user([sound(wav(3, bits=40))])]},
    {"messages": [user([sound(wav(3)[:24])])]},
    {"messages": [user([sound(written(250, "FLAC", 2000)[:-4])])]},
    {"messages": [user([sound(b"no sound")])]},
    {"messages": [user([{"type": "input_audio", "input_audio": " "}])]},
    {"messages": [user([{"type": "input_audio", "input_audio": "UklGRé"}])]},
    {"messages": [user([{"type": "input_audio", "input_audio": "U"}])]},
    {"messages": [user([{"type": "input_audio", "input_audio": "data:audio/wav," + base64.b64encode(wav(3)).decode()}])]},
    {"messages": [user([{"type": "audio_url", "audio_url": "file:///no/such.wav"}])]},
    {"messages": [says([sound(wav(3))]), user("a")]},
]
FILLS = [{"prompt": "def f(", "suffix": " a"}, {"prompt": "a", "suffix": ""}, {"prompt": "", "suffix": "é\n"}, {"prompt": "[SUFFIX] a"},
         {"prompt": "a", "suffix": None}, {"suffix": "a"}, {"prompt": 1}, {"prompt": "a", "tools": []}]


def ids(t, body):
    if "messages" in body:
        return t.encode_chat_completion(ChatCompletionRequest.model_validate(body)).tokens
    return t.encode_fim(FIMRequest.model_validate(body)).tokens


def main():
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "chat.model"), "wb") as o:
        o.write(spm())
    with open(os.path.join(out, "chat.json"), "w") as o:
        o.write(tekken(15))
    with open(os.path.join(out, "chat-audio.json"), "w") as o:
        o.write(tekken(15, True))
    with tempfile.TemporaryDirectory() as d, open(os.path.join(out, "chat.jsonl"), "w") as o:
        for kind, versions, bodies in (("chat.model", (1, 2, 3, 7), BODIES + FILLS), ("chat.json", (3, 7, 11, 13, 15), BODIES + FILLS),
                                       ("chat-audio.json", (7, 11, 13, 15), SOUNDS)):
            for v in versions:
                path = os.path.join(d, "tokenizer.model.v%d" % v if kind == "chat.model" else "tekken.json")
                with open(path, "wb") as f:
                    f.write(spm() if kind == "chat.model" else tekken(v, "audio" in kind).encode())
                t = MistralTokenizer.from_file(path)
                for body in bodies:
                    line = {"vocabulary": kind, "version": v, "body": json.dumps(body)}
                    try:
                        line["ids"] = ids(t, body)
                    except Exception as e:
                        line["error"] = type(e).__name__
                    o.write(json.dumps(line, separators=(",", ":")) + "\n")


main()
