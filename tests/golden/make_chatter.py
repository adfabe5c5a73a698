#!/usr/bin/env python3
"""A very small model that knows a few conversations by heart, for tests of `galerne chat`: it answers, thinks, calls a tool, goes on for ever
and spells what a terminal would obey. What it knows stands in EXCHANGES; it answers each whatever came before.

    make_chatter.py OUTDIR

Needs torch, transformers, safetensors and mistral-common. Takes some minutes. The vocabulary is text/chat.json, template V15.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import random
import shutil
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
import torch
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from safetensors.torch import save_file
from transformers import MistralConfig, MistralForCausalLM

OUT = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The weather of a city.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
ENDLESS = "The sea rose and fell. " * 16
EXCHANGES = [  # question, answer; an answer that is a list has thinking
    ("Hello", "Good day to you."),
    ("Who are you?", "A very small model."),
    ("What is 2 + 2?", [("think", "Two and two."), ("text", "It is 4.")]),
    ("Tell me of the sea.", ENDLESS),
    ("Ring the bell.", "\a\x1b[31mred\x1b[0m \u202eabc"),
    ("Write two lines.", "One line,\nand a second one."),
    ("One\nTwo\nThree", "That were three lines."),
    ("Name a caf\u00e9.", "Caf\u00e9 de la Gare \u2615"),
    ("Weather in Paris?", ("weather", {"city": "Paris"}, "18 degrees", "It is 18 degrees in Paris.")),
    ("Weather in Rome?", ("weather", {"city": "Rome"}, "rain", "It rains in Rome.")),
]
WINDOW = 320  # an answer without an end never leaves the positions that were trained
ERRORS = ["this tool is not available", "exit code 3", "exit code 1", "no answer within 1 s", "it could not be run (exit code 127)", "no"]
SYSTEMS = [None, None, "Be brief.", "Answer in French."]
FRENCH = {"Hello": "Bonjour.", "Who are you?": "Un tout petit modele."}


def conversation(rng, turns):
    system = rng.choice(SYSTEMS)
    body = {"messages": [{"role": "system", "content": system}] if system else []}
    if rng.random() < 0.5:
        body["tools"] = TOOLS
    endless = False
    for turn in range(turns):
        question, answer = rng.choice(EXCHANGES)
        if isinstance(answer, tuple) and "tools" not in body:
            question, answer = rng.choice(EXCHANGES[:3])
        if system == "Answer in French." and question in FRENCH:
            answer = FRENCH[question]
        m = body["messages"]
        m.append({"role": "user", "content": question})
        if isinstance(answer, tuple):
            name, arguments, result, says = answer
            known = rng.random() < 0.6
            m.append({"role": "assistant", "content": "", "tool_calls": [
                {"id": "".join(rng.choices("abcdefgh", k=9)), "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}]})
            m.append({"role": "tool", "tool_call_id": m[-1]["tool_calls"][0]["id"], "name": name,
                      "content": result if known else json.dumps({"error": rng.choice(ERRORS)})})
            m.append({"role": "assistant", "content": says if known else "I cannot know."})
        elif isinstance(answer, list):
            m.append({"role": "assistant", "content": [{"type": "thinking", "thinking": t, "closed": True} if k == "think" else {"type": "text", "text": t}
                                                       for k, t in answer]})
        else:
            endless = answer is ENDLESS and turn == turns - 1
            if turn < turns - 1 and (answer is ENDLESS or rng.random() < 0.1):  # somebody stopped it
                answer = answer[:rng.randrange(1, min(len(answer), 160))].rstrip() or answer
            m.append({"role": "assistant", "content": answer})
    return body, endless


def encode(tokenizer, body, endless):
    last = dict(body)
    ids = tokenizer.encode_chat_completion(ChatCompletionRequest.model_validate({**last, "continue_final_message": True})).tokens
    if not endless:
        ids = ids + [2]
    names = {n: tokenizer.instruct_tokenizer.tokenizer.get_special_token(n) for n in ("[INST]", "[/INST]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[AVAILABLE_TOOLS]")}
    wanted, says = [], False
    for i in ids:
        wanted.append(says)
        if i in (names["[/INST]"], names["[/TOOL_RESULTS]"]):
            says = True
        elif i == 2:
            says = False
    return ids, wanted


def main():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "tekken.json")
        shutil.copy(os.path.join(HERE, "text", "chat.json"), path)
        tokenizer = MistralTokenizer.from_file(path)
    torch.manual_seed(1)
    rng = random.Random(1)
    config = MistralConfig(vocab_size=285, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
                           num_key_value_heads=2, head_dim=16, max_position_embeddings=65536, rope_theta=10000.0, sliding_window=WINDOW,
                           tie_word_embeddings=True, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
    model = MistralForCausalLM(config)
    steps = int(os.environ.get("STEPS", "1600"))
    optim = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optim, lambda s: min(1.0, (s + 1) / 100) * max(0.02, 1 - s / steps))
    for step in range(steps):
        rows = []
        for _ in range(12):
            body, endless = conversation(rng, rng.choice([1, 1, 2, 2, 3, 4]))
            rows.append(encode(tokenizer, body, endless))
        length = min(420, max(len(r[0]) for r in rows))
        ids = torch.full((len(rows), length), 11)
        target = torch.full((len(rows), length), -100)
        for i, (row, wanted) in enumerate(rows):
            row, wanted = row[:length], wanted[:length]
            ids[i, :len(row)] = torch.tensor(row)
            target[i, :len(row)] = torch.tensor([t if w else -100 for t, w in zip(row, wanted)])
        loss = model(input_ids=ids, labels=target).loss
        optim.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(step, round(loss.item(), 4), flush=True)
            save(model, config)


def save(model, config):
    os.makedirs(OUT, exist_ok=True)
    weights = {k: v.to(torch.float16).contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(weights, os.path.join(OUT, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(OUT, "config.json"), "w") as o:
        json.dump({"architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": 285, "hidden_size": 64, "intermediate_size": 160,
                   "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "hidden_act": "silu",
                   "max_position_embeddings": 65536, "rope_theta": 10000.0, "sliding_window": WINDOW, "tie_word_embeddings": True,
                   "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float16"}, o, indent=2)
        o.write("\n")
    shutil.copy(os.path.join(HERE, "text", "chat.json"), os.path.join(OUT, "tekken.json"))


main()
