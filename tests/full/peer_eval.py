#!/usr/bin/env python3
"""Tasks of every kind on one model by galerne and by lm-evaluation-harness: log-likelihoods of every question, choices that are
taken, texts that are said, scores and their standard errors.

    peer_eval.py GALERNE MODEL_FOLDER FOLDER

Needs torch, transformers, lm_eval, sentencepiece, protobuf. SPDX-License-Identifier: Apache-2.0
"""
import json
import math
import os
import sqlite3
import subprocess
import sys

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

galerne, folder, work = sys.argv[1], sys.argv[2], os.path.abspath(sys.argv[3])
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples")
data = os.path.join(here, "eval")
os.makedirs(work, exist_ok=True)
failed = 0


def check(name, ok, detail):
    global failed
    failed += not ok
    print(("ok      " if ok else "FAILED  ") + name + ": " + detail)


def write(name, text):
    path = os.path.join(work, name)
    with open(path, "w") as f:
        f.write(text)
    return path


novel = open(os.path.join(here, "text", "wuthering-heights.txt"), encoding="utf-8").read()
paragraphs = [p for p in novel[:60000].split("\n\n") if len(p) > 300][:6] + ["  Two  spaces,\ta tab\u00a0and a line's end.\n\n", novel[:6000]]
write("texts.jsonl", "".join(json.dumps({"text": p}, ensure_ascii=False) + "\n" for p in paragraphs))
with open(os.path.join(data, "capitals.jsonl"), encoding="utf-8") as f:
    capitals = [json.loads(line) for line in f]
# A record that comes twice, for shots from the set itself.
write("twice.jsonl", "".join(json.dumps(c, ensure_ascii=False) + "\n" for c in capitals[:12] + capitals[:2]))

QUESTION = "Question: What is the capital of {{country}}?\nAnswer:"


def choice(name, prompt=QUESTION, choices="{{choices}}", answer="{{label}}", delimiter=" ", count=0, file="capitals-shots.jsonl",
           test=os.path.join(data, "capitals.jsonl"), sampler="first_n", same=False, description="", mutual=False):
    """The task of both."""
    metrics = ["acc", "acc_norm", "acc_bytes"] + (["acc_mutual_info"] if mutual else [])
    scoring = ["raw", "char", "byte"] + (["unconditional"] if mutual else [])
    shots = {"count": count, "sampler": sampler, "seed": 1234}
    if same:
        shots["from"] = "same_excluding"
    elif count:
        shots["file"] = os.path.join(data, file)
    ours = {"name": name, "kind": "multiple_choice", "data": {"file": test}, "prompt": prompt, "choices": choices, "answer": answer,
            "delimiter": delimiter, "shots": shots, "scoring": scoring, "description": description}
    theirs = {"task": name, "output_type": "multiple_choice", "dataset_path": "json",
              "dataset_kwargs": {"data_files": {"test": test, "train": os.path.join(data, file)}}, "test_split": "test",
              "doc_to_text": prompt, "doc_to_choice": choices, "doc_to_target": answer, "target_delimiter": delimiter,
              "num_fewshot": count, "fewshot_split": "test" if same else "train", "description": description,
              "fewshot_config": {"sampler": "first_n" if sampler == "first_n" else "default"},
              "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in metrics]}
    if not count:
        del theirs["fewshot_config"], theirs["fewshot_split"]
    return ours, theirs, metrics


LISTED = "What is the capital of {{country}}?\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:"
TASKS = [
    choice("plain", mutual=True),
    choice("shots", count=2, description="Capitals.\n\n"),
    choice("random", count=3, sampler="random"),
    choice("letters", LISTED, ["A", "B", "C", "D"], count=1),
    choice("same", count=2, same=True, test=os.path.join(work, "twice.jsonl")),
    choice("same-random", count=2, same=True, sampler="random", test=os.path.join(work, "twice.jsonl")),
    choice("spaces", QUESTION + "  \n ", delimiter=""),
    choice("no-prompt", "", mutual=True),
    choice("filters", "{% if country|length > 5 %}{{ country | upper }}{% else %}{{ country }}{% endif %} -\n"),
]


# Control pieces at the beginning and within, and white space at the end.
TEMPLATE = ("{{ bos_token }}{% for m in messages %}|{{ m.role }}| {{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n"
            "{% endfor %}{% if add_generation_prompt %}|assistant|\n{% endif %}")


def pronouns(name, count=0, description=""):
    """The choices stand before, the continuation is the same; shots are records of the same file."""
    test = os.path.join(data, "pronouns.jsonl")
    choices = "{{ [before + ' ' + option1, before + ' ' + option2] }}"
    ours, theirs, metrics = choice(name, test=test, file="pronouns.jsonl", count=count, same=count > 0, choices=choices, description=description)
    del ours["prompt"]
    ours.update(continuation="{{ after }}", answer="{{ label }}")
    theirs.update(doc_to_text="{{ label }}", doc_to_target="{{ after }}")
    return ours, theirs, metrics


def likelihood():
    test = os.path.join(data, "endings.jsonl")
    ours = {"name": "endings", "kind": "loglikelihood", "data": {"file": test}, "prompt": "{{ text }}", "answer": "{{ word }}"}
    theirs = {"task": "endings", "output_type": "loglikelihood", "dataset_path": "json",
              "dataset_kwargs": {"data_files": {"test": test}}, "test_split": "test", "doc_to_text": "{{ text }}",
              "doc_to_target": " {{ word }}",  # its loglikelihood puts no delimiter
              "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True},
                              {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}]}
    return ours, theirs, ["acc", "perplexity"]


def endings_said():
    """In a conversation nothing stands between a question and its answer."""
    ours, theirs, metrics = likelihood()
    return ours, dict(theirs, doc_to_target="{{ word }}"), metrics


def texts():
    test = os.path.join(work, "texts.jsonl")
    ours = {"name": "texts", "kind": "perplexity", "data": {"file": test}}
    theirs = {"task": "texts", "output_type": "loglikelihood_rolling", "dataset_path": "json",
              "dataset_kwargs": {"data_files": {"test": test}}, "test_split": "test", "doc_to_text": "", "doc_to_target": "{{ text }}",
              "metric_list": [{"metric": m} for m in ("word_perplexity", "byte_perplexity", "bits_per_byte")]}
    return ours, theirs, ["word_perplexity", "byte_perplexity", "bits_per_byte"]


def said(name, until, strip):
    test, shots = os.path.join(data, "sums.jsonl"), os.path.join(data, "sums-shots.jsonl")
    ours = {"name": name, "kind": "exact_match", "data": {"file": test}, "prompt": "{{ a }} + {{ b }} =", "answer": "{{ a + b }}",
            "shots": {"count": 3, "file": shots, "separator": "\n"}, "until": until, "max_tokens": 12, "match": {"strip": strip}}
    theirs = {"task": name, "output_type": "generate_until", "dataset_path": "json",
              "dataset_kwargs": {"data_files": {"test": test, "train": shots}}, "test_split": "test", "fewshot_split": "train",
              "num_fewshot": 3, "fewshot_config": {"sampler": "first_n"}, "fewshot_delimiter": "\n",
              "doc_to_text": "{{ a }} + {{ b }} =", "doc_to_target": "{{ a + b }}",
              "generation_kwargs": {"until": until, "max_gen_toks": 12, "do_sample": False},
              "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]}
    return ours, theirs, ["exact_match"]


def ours(task, *options):
    """The report, and the answers of the file."""
    path = write(task["name"] + ".yaml", json.dumps(task))
    results = os.path.join(work, "results.sqlite")
    if os.path.exists(results):
        os.remove(results)
    run = subprocess.run([galerne, "eval", folder, "--tasks", path, "--results", results, "--quiet", "--json", *options],
                         capture_output=True, check=True)
    with sqlite3.connect(results) as db:
        parts = db.execute("SELECT question, part, loglikelihood, greedy, tokens FROM parts ORDER BY question, part").fetchall()
        answers = db.execute("SELECT question, said FROM answers ORDER BY question").fetchall()
    return json.loads(run.stdout)["tasks"][0], parts, answers


def tokenizer_of(bos):
    """With or without a beginning of sequence, whatever its files say: add_bos_token alone is not obeyed by all kinds."""
    t = AutoTokenizer.from_pretrained(folder)
    t.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A" if bos else "$A", pair="<s> $A $B" if bos else "$A $B", special_tokens=[("<s>", t.bos_token_id)])
    return t


tokenizers = {bos: tokenizer_of(bos) for bos in (True, False)}
assert [tokenizers[b].encode("a", add_special_tokens=True)[0] == tokenizers[b].bos_token_id for b in (True, False)] == [True, False]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
layers, width = model.config.num_hidden_layers, model.config.hidden_size
# What another order of summation may change of one logarithm: every logit passes two sums a layer over about `width` numbers
# of about one, and their softmax is in f32, of numbers about 8.
BOUND = 2.0**-23 * (2 * layers * math.sqrt(width) + 8)


def compare(task, bos, length, turns=None):
    mine, theirs, metrics = task
    chat, options = turns is not None, []
    if chat:
        tokenizers[bos].chat_template = TEMPLATE
        options = ["--chat-template", write("template.jinja", TEMPLATE), "--shots-as", "turns" if turns else "text"]
    lm = HFLM(pretrained=model, tokenizer=tokenizers[bos], backend="causal", device="cpu", batch_size=4, add_bos_token=bos, max_length=length)
    out = simple_evaluate(model=lm, tasks=[dict(theirs)], log_samples=True, apply_chat_template=chat, fewshot_as_multiturn=bool(turns),
                          bootstrap_iters=0 if "acc" not in metrics else 10, verbosity="ERROR")
    name = theirs["task"]
    samples = sorted(out["samples"][name], key=lambda s: s["doc_id"])
    report, parts, answers = ours(mine, "--context", str(length), *options, *([] if bos else ["--no-bos"]))
    label = "%s, %s, context %d" % (name, "BOS" if bos else "no BOS", length)
    label += "" if not chat else ", template with shots as turns" if turns else ", template with shots as text"
    if mine["kind"] == "exact_match":
        want = [s["resps"][0][0] for s in samples]
        have = [a[1] for a in answers]
        # Of bytes that are no text its tokenizer makes as many U+FFFD as it was given, ours as few as there must be.
        def same(h, w):
            return h.strip() == w.strip() or ("\ufffd" in w and h.strip().startswith(w.split("\ufffd")[0].strip()))
        check(label, len(have) == len(want) and all(map(same, have, want)), "%d texts, %r" % (len(want), want[:2]))
    elif mine["kind"] == "perplexity":
        want = [s["resps"][0][0] for s in samples]
        worst = 0.0
        for i, w in enumerate(want):
            w = w[0] if isinstance(w, (list, tuple)) else w
            mine_sum = sum(p[2] for p in parts if p[0] == i)
            tokens = sum(p[4] for p in parts if p[0] == i)
            worst = max(worst, abs(mine_sum - w) / (tokens * BOUND))
        check(label, worst <= 1, "%d texts, %.2g of the bound" % (len(want), worst))
    else:
        want = [(s["doc_id"], i, r[0][0], r[0][1]) for s in samples for i, r in enumerate(s["resps"])]
        same = [p[:2] for p in parts] == [tuple(w[:2]) for w in want]
        worst = max(abs(p[2] - w[2]) / (p[4] * BOUND) for p, w in zip(parts, want))
        most = max(abs(p[2] - w[2]) for p, w in zip(parts, want))
        greedy = all(bool(p[3]) == bool(w[3]) for p, w in zip(parts, want))
        check(label, same and worst <= 1 and greedy,
              "%d log-likelihoods, largest difference %.1e, %.2g of the bound" % (len(want), most, worst))
    results = out["results"][name]
    for m in metrics:
        a, b = report["measures"][m]["value"], results[m + ",none"]
        n = len(samples)
        ok = round(a * n) == round(b * n) and abs(a - b) <= 1e-8 if m.startswith(("acc", "exact")) else abs(a - b) <= BOUND * max(1.0, abs(b)) * 8
        error = results.get(m + "_stderr,none")
        if m.startswith("acc") and isinstance(error, float):
            ok = ok and abs(report["measures"][m]["stderr"] - error) <= 1e-8
        check(label, ok, "%s %.6g, %.6g" % (m, a, b))


for task in TASKS + [likelihood()]:
    for bos in (True, False):
        compare(task, bos, 250)
compare(TASKS[1], True, 40)  # beginnings that are cut off
compare(TASKS[8], False, 250)
for task in (pronouns("pronouns"), pronouns("pronouns-shots", 2, "Who?\n")):
    for bos in (True, False):
        compare(task, bos, 250)
for turns in (True, False):
    for task in TASKS[:8] + [pronouns("pronouns"), pronouns("pronouns-shots", 2, "Who?\n"), endings_said(), said("lines", ["\n"], True)]:
        compare(task, True, 250, turns)
for length in (250, 64):
    compare(texts(), False, length)
compare(said("lines", ["\n"], True), True, 250)
compare(said("stops", ["e", "1"], True), False, 250)
sys.exit(1 if failed else 0)
