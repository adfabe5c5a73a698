#!/usr/bin/env python3
"""Templates of our own with what the jinja2 package makes of them, set up as transformers sets it up.

    make_jinja.py OUTDIR

Needs jinja2 and transformers. Writes jinja.jsonl: {"template", "context": JSON text, "out"} or "error": true where jinja2 raises an exception.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

CONTEXT = {
    "a": 1, "b": 2.5, "c": "text", "d": [1, 2, 3], "e": {"k": "v", "n": None, "l": [1, {"x": "y"}]}, "t": True, "f": False, "z": None,
    "big": 123456789012345678901234567890, "neg": -7, "tiny": 1e-7, "huge": 1e22, "third": 0.1, "whole": 3.0,
    "s": "  padded \n", "u": "Ünïcödé ß ﬁ ΑΣ ΣΑΣ日本 \u00a0x", "q": "it's \"q\" \\ \t\x01\x7f\u200b\U0001f600", "empty": "", "nl": "one\ntwo\r\nthree",
    "m": [{"role": "system", "content": "S"}, {"role": "user", "content": "hi </s>"}, {"role": "assistant", "content": "yo", "n": 1},
          {"role": "user", "content": "B", "n": 3}, {"role": "tool", "content": "r", "n": 2}],
    "names": ["b", "A", "c", "B", "a"], "nested": {"x": {"y": [10, 20, {"z": "deep"}]}}, "items": {"items": 1, "get": 2},
    "many": {"k%d" % i: i for i in range(40)}, "mixed": [1, "1", 1.0, True, None, [1], {"a": 1}],
    "bos_token": "<s>", "eos_token": "</s>",
}

CASES = r"""
{{ a }} {{ b }} {{ c }} {{ d }} {{ e }} {{ t }} {{ f }} {{ z }} {{ big }} {{ neg }} {{ tiny }} {{ huge }} {{ third }} {{ whole }}
{{ q }} {{ [q] }} {{ [u] }} {{ {"a": (1,), "b": (1, 2), "c": ()} }} {{ [[], {}, none, true, 1.5, "x"] }}
{{ q | tojson }} {{ u | tojson }} {{ u | tojson(ensure_ascii=True) }} {{ [huge, tiny, third, whole, big, none, true] | tojson }}
{{ e | tojson(indent=2) }} {{ [] | tojson(indent=4) }} {{ {} | tojson(indent=1) }} {{ e | tojson(separators=(",", ":")) }} {{ {"b": 1, "a": {"d": 1, "c": 2}} | tojson(sort_keys=true) }}
{{ e | tojson(indent=0) }} {{ {1: 2, true: 3, none: 4, 1.5: 5} | tojson }}
{{ missing }}|{{ missing is defined }}|{{ missing is undefined }}|{{ e.missing }}|{{ e["missing"] }}|{{ d[10] }}|{{ missing == missing2 }}|{{ missing == none }}|{{ not missing }}
{{ missing.x }}
{{ missing[0] }}
{{ missing + 1 }}
{{ missing() }}
{{ missing | tojson }}
{{ missing ~ "x" }}{{ missing | length }}{{ missing | list }}{{ missing | default("d") }}{{ empty | default("d") }}{{ empty | default("d", true) }}{{ z | default("d") }}{{ z | default("d", boolean=true) }}
{% for x in missing %}x{% else %}none{% endfor %}{{ 1 in missing }}
{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1 + true }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ 1 // 0.0 }}
{{ "a" + 1 }}
{{ "a" * 3 }} {{ 3 * "ab" }} {{ [1, 2] * 2 }} {{ "a" * 0 }} {{ "a" * -1 }} {{ (1,) + (2,) }} {{ [1] + [2] }} {{ "x" "y" 'z' }}
{{ [1] + (2,) }}
{{ 1 ~ "a" ~ none ~ true ~ 1.0 ~ [1] }} {{ 3 * 2 ~ "x" }}
{{ 1 + 2 ~ 3 * 2 ~ "x" }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ "a" < "b" }} {{ [1, 2] < [1, 3] }} {{ 1 != "1" }} {{ none == false }} {{ [1, 2] == [1, 2] }} {{ {"a": 1} == {"a": 1.0} }} {{ (1,) == [1] }}
{{ 1 < "a" }}
{{ none < 1 }}
{{ "a" in "cat" }} {{ "x" not in "cat" }} {{ 1 in d }} {{ "k" in e }} {{ "v" in e }} {{ "" in "" }} {{ not 1 in d }} {{ true in [1] }} {{ 1.0 in d }}
{{ 1 in "1" }}
{{ 1 in 5 }}
{{ a and b }} {{ z or c }} {{ z and c }} {{ empty or f or 0 or [] }} {{ not a }} {{ not not a }} {{ a or missing.x }} {{ 1 and 2 or 3 }} {{ not a == 2 }}
{{ "y" if a else "n" }}{{ "y" if f }}{{ "y" if f else "n" if z else "m" }}{{ ("y" if f) is defined }}{{ 1 if a else 2 if b else 3 }}{{ (1 if t else 2) + 1 }}{{ "y" if a and not f else "n" }}
{{ d[0] }}{{ d[-1] }}{{ d[1:] }}{{ d[:-1] }}{{ d[::-1] }}{{ d[::2] }}{{ d[5:] }}{{ d[-10:2] }}{{ d[2:0:-1] }}{{ d[:] }}{{ c[0] }}{{ c[-1] }}{{ c[1:3] }}{{ c[::-1] }}{{ c[::2] }}{{ u[0] }}{{ u[3:8] }}{{ u[-2:] }}{{ c[10:] }}{{ (1,2,3)[1:] }}
{{ d["x"] }}|{{ c["x"] }}|{{ d.x }}|{{ a.x }}|{{ z.x }}|{{ d[1.5] }}|{{ e[0] }}|{{ e[[1]] }}|{{ d[true] }}|{{ range(5)[2] }}|{{ range(5)[1:3] | list }}|{{ nested.x.y[2].z }}|{{ nested["x"]["y"].1 }}|{{ nested.x.y.0 }}
{{ d["a":] }}
{{ e[1:] }}
{{ e.items() | list }} {{ e.keys() | list }} {{ e.values() | list }} {{ e.get("k") }} {{ e.get("no") }} {{ e.get("no", 5) }} {{ items["items"] }} {{ items.get("get") }} {{ e.copy() }} {{ "items" in items }}
{% for k, v in e.items() %}{{ k }}={{ v }};{% endfor %}{% for k in e %}{{ k }}{% endfor %}{% for k, v in many | dictsort %}{{ k }}{{ v }}{% endfor %}{% for k, v in many | items %}{{ v }}{% endfor %}
{{ {"B": 1, "a": 2, "C": 0} | dictsort }} {{ {"B": 1, "a": 2, "C": 0} | dictsort(true) }} {{ {"B": 1, "a": 2, "C": 0} | dictsort(by="value") }} {{ {"B": 1, "a": 2} | dictsort(reverse=true) }}
{{ d.append(4) }}
{{ e.update({"a": 1}) }}
{{ e.pop("k") }}
{{ s.strip() }}|{{ s | trim }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ "xxaxx".strip("x") }}|{{ "xyaxy" | trim("yx") }}|{{ u.strip() }}|{{ "abc".strip("") }}
{{ "a b  c ".split() }}{{ "a,b,,c".split(",") }}{{ "a,b,c".split(",", 1) }}{{ " a b c ".split(none, 1) }}{{ "a,b,c".rsplit(",", 1) }}{{ " a b c ".rsplit(none, 1) }}{{ "".split() }}{{ "".split(",") }}{{ "</think>x</think>y".split("</think>")[-1] }}{{ "abc".split("abc") }}{{ " x ".split(" ") }}
{{ "abc".split("") }}
{{ "abc".startswith("a") }}{{ "abc".startswith(("x", "ab")) }}{{ "abc".endswith("bc") }}{{ "abc".startswith("b", 1) }}{{ "abc".endswith("b", 0, 2) }}{{ "abc".find("c") }}{{ "abc".find("x") }}{{ "äbc".find("c") }}{{ "abcabc".rfind("b") }}{{ "aXbXc".count("X") }}{{ "aaa".count("aa") }}{{ "abc".count("") }}{{ "abc".index("b") }}{{ "abc".startswith("") }}
{{ "abc".index("x") }}
{{ "aXbXc".replace("X", "--") }}{{ "aXbXc".replace("X", "--", 1) }}{{ "abc" | replace("b", 1) }}{{ "abc".replace("", "-") }}{{ "abc" | replace("c", "") }}{{ "aaa" | replace("a", "b", 2) }}{{ 123 | replace(2, 5) }}{{ "äö".replace("", ".") }}
{{ u.upper() }}|{{ u.lower() }}|{{ u.title() }}|{{ u.capitalize() }}|{{ u | upper }}|{{ u | lower }}|{{ u | title }}|{{ u | capitalize }}|{{ "hello-world it's (ok)" | title }}|{{ "hello-world it's (ok)".title() }}|{{ "ǆ ŉ" | upper }}{{ "ǆa".title() }}|{{ "ÀÉ".lower() }}{{ "яж".upper() }}
{{ "a-b-c".partition("-") }}{{ "a-b-c".rpartition("-") }}{{ "abc".partition("-") }}{{ "abc".rpartition("-") }}{{ "abc".removeprefix("a") }}{{ "abc".removesuffix("c") }}{{ "abc".removeprefix("x") }}{{ nl.splitlines() }}{{ nl.splitlines(true) }}{{ "a\n\nb\n".splitlines() }}
{{ ", ".join(["a", "b"]) }}{{ ["a", 1, none] | join("-") }}{{ m | join(",", attribute="role") }}{{ "abc" | join(".") }}{{ [] | join(",") }}{{ d | join }}{{ "x".join("abc") }}
{{ ",".join([1]) }}
{{ "12".isdigit() }}{{ "".isdigit() }}{{ "1a".isdigit() }}{{ " \n".isspace() }}{{ "".isspace() }}
{{ d | length }}{{ e | length }}{{ c | length }}{{ u | length }}{{ range(3) | length }}{{ d | count }}{{ e.keys() | length }}
{{ 5 | length }}
{{ (m | selectattr("role", "equalto", "user")) | length }}
{{ d | first }}{{ d | last }}{{ [] | first }}{{ [] | last }}{{ c | first }}{{ c | last }}{{ e | first }}{{ m | map(attribute="role") | first }}{{ d | reverse | list }}{{ c | reverse }}{{ d | reverse | first }}
{{ m | selectattr("role", "equalto", "user") | map(attribute="content") | list }}{{ m | rejectattr("role", "==", "user") | list | length }}{{ m | selectattr("n") | map(attribute="n") | list }}{{ m | selectattr("n", "defined") | list | length }}{{ m | map(attribute="n", default=0) | list }}{{ m | selectattr("n", "gt", 1) | list | length if false else "x" }}{{ d | select("odd") | list }}{{ d | reject("odd") | list }}{{ mixed | select | list }}{{ mixed | select("string") | list }}{{ m | selectattr("role", "in", ["user", "tool"]) | map(attribute="role") | join(",") }}{{ ["a", "b"] | map("upper") | list }}{{ [" a "] | map("trim") | first }}{{ [1, 2] | map("string") | join }}{{ [{"a": {"b": 1}}] | map(attribute="a.b") | list }}{{ [[1, 2]] | map(attribute=0) | list }}{{ [[1, 2]] | map("first") | list }}{{ ["ab"] | map("replace", "a", "c") | list }}
{% if m | selectattr("role", "equalto", "nobody") %}always{% endif %}{% set g = m | map(attribute="role") %}{% for r in g %}{{ r }}{% endfor %}{% for r in g %}{{ r }}{% else %}empty{% endfor %}
{{ names | sort }}{{ names | sort(reverse=true) }}{{ names | sort(case_sensitive=true) }}{{ m[2:] | sort(attribute="n") | map(attribute="role") | list }}{{ [3, 1, 2] | sort }}{{ names | unique | list }}{{ names | min }}{{ names | max }}{{ d | sum }}{{ d | max }}{{ [] | max }}{{ m[2:] | sum(attribute="n") }}{{ [1, 2] | sum(start=10) }}{{ [1.5, 2] | sum }}
{{ [1, "a"] | sort }}
{{ "3" | int }}{{ "x" | int }}{{ "3.7" | int }}{{ 3.9 | int }}{{ "x" | int(5) }}{{ -3.9 | int }}{{ " 12 " | int }}{{ true | int }}{{ none | int }}{{ "1_0" | int }}{{ "3.5" | float }}{{ "x" | float }}{{ 3 | float }}{{ -3 | abs }}{{ 2.5 | round }}{{ 3.14159 | round(2) }}{{ 2.5 | round(0, "ceil") }}{{ 2.567 | round(1, "floor") }}{{ 3 | round }}{{ 0.5 | round }}{{ 1.5 | round | int }}
{{ "a\nb\n\nc" | indent }}|{{ "a\nb" | indent(2, true) }}|{{ "a\n\nb" | indent(2, false, true) }}|{{ "a\nb" | indent("> ") }}|{{ "" | indent(2, first=true) }}|{{ "a\n" | indent }}|{{ "one two, three" | wordcount }}
{{ a is defined }}{{ z is none }}{{ a is number }}{{ b is float }}{{ a is integer }}{{ t is integer }}{{ t is number }}{{ t is boolean }}{{ t is true }}{{ f is false }}{{ 1 is true }}{{ c is string }}{{ e is mapping }}{{ d is iterable }}{{ c is iterable }}{{ 1 is iterable }}{{ d is sequence }}{{ e is sequence }}{{ a is sequence }}{{ missing is iterable }}{{ missing is sequence }}{{ missing is string }}{{ range is callable }}{{ 3 is odd }}{{ 4 is even }}{{ 9 is divisibleby 3 }}{{ 9 is divisibleby(2) }}{{ a is sameas 1 }}{{ none is sameas none }}{{ 1 is eq 1 }}{{ 1 is ne(2) }}{{ 1 is lt 2 }}{{ 2 is ge(2) }}{{ 1 is in [1, 2] }}{{ "ab" is lower }}{{ "AB" is upper }}{{ "Ab" is lower }}{{ "12" is lower }}{{ a is not defined }}{{ missing is not defined }}{{ not a is defined }}{{ z is not none and c is string }}{{ m | map(attribute="n") is iterable }}{{ big is integer }}
{{ 1 is foo }}
{{ 1 | foo }}
{{ a is defined is defined }}
{{ "a" is in "abc" }}{{ c is string and d is not string }}{{ (c is string) | string }}{{ d is iterable and d is not string and d is not mapping }}
{% for x in d %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle("a", "b") }}{{ loop["index"] }}{{ loop.depth }};{% endfor %}
{% for x in d if x != 2 %}{{ x }}{{ loop.index }}{{ loop.last }}{% endfor %}{% for x in d if x > 5 %}{{ x }}{% else %}E{% endfor %}{% for x in d %}{% for y in d %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}{% for x in d %}{% set outer = loop %}{% for y in "ab" %}{{ outer.index }}{{ y }}{% endfor %}{% endfor %}
{% for x in d %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}{% for x in d %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}{% for x in [] %}{% break %}{% else %}E{% endfor %}{% for x in d %}{% break %}{% else %}E{% endfor %}
{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}{{ a }}{% for (x, y) in [[1, 2]] %}{{ x }}{{ y }}{% endfor %}{% for x in 1, 2, 3 %}{{ x }}{% endfor %}{% for c in "äb" %}[{{ c }}]{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% for x in 5 %}{{ x }}{% endfor %}
{% set x = 1 %}{% for i in d %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}{% set x, y = 3, 4 %}{{ x }}{{ y }}
{% set ns = namespace(n=0, l=[]) %}{% for i in d %}{% set ns.n = ns.n + i %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.n }}{{ ns.l }}{{ ns.missing }}{% set ns.new = "x" %}{{ ns.new }}{{ ns["n"] }}{% set ns = namespace({"a": 1}, b=2) %}{{ ns.a }}{{ ns.b }}
{% set e.k = 1 %}
{% set nope.k = 1 %}
{% set x %}block {{ a }}{% endset %}[{{ x }}]{% set x | upper | trim %} block {{ c }} {% endset %}[{{ x }}]{% set y %}{% set inner = 5 %}{% endset %}[{{ inner }}]
{% macro f(x, y=2, z=y) %}{{ x }}-{{ y }}-{{ z }}{% endmacro %}{{ f(1) }} {{ f(1, 3) }} {{ f(x=4, z=5) }} {{ f() }} {{ f(1, y="q") | upper }} {{ f(1) ~ "!" }} {{ f(1) | length }}
{% macro f(x) %}{{ x }}{% endmacro %}{{ f(1, 2) }}
{% macro f(x) %}{{ x }}{% endmacro %}{{ f(y=2) }}
{% macro r(n) %}{{ n }}{% if n > 0 %}{{ r(n - 1) }}{% endif %}{% endmacro %}{{ r(5) }}{% macro g() %}{{ later }}{% endmacro %}{% set later = 7 %}{{ g() }}{% for i in d %}{% macro h() %}{{ i }}{% endmacro %}{{ h() }}{% endfor %}
{% macro outer() %}{% set v = 5 %}{{ v }}{% endmacro %}{{ outer() }}{{ v }}{% macro usesctx() %}{{ c }}{{ m | length }}{% endmacro %}{{ usesctx() }}
{% with x = 1, y = 2 %}{{ x }}{{ y }}{% endwith %}{{ x }}{% with %}{% set q = 1 %}{{ q }}{% endwith %}{% filter upper %}abc{{ c }}{% endfilter %}{% filter replace("a", "b") | upper %}abc{% endfilter %}{% generation %}G{% set w = 1 %}{{ w }}{% endgeneration %}{{ w }}
{% raw %}{{ not }} {% run %} {# kept #}{% endraw %}|{%- raw -%}  x {{ y }} {%- endraw -%}  |{# gone #}|{#- gone -#} |
{% if a == 2 %}x{% elif a == 1 %}y{% else %}z{% endif %}{% if f %}x{% elif z %}y{% else %}z{% endif %}{% if f %}{% if t %}1{% else %}2{% endif %}{% elif t %}3{% endif %}
{{ dict(a=1, b=2) }}{{ dict({"x": 1}, y=2) }}{{ dict([("p", 1)]) }}{{ range(3) | list }}{{ range(1, 7, 2) | list }}{{ range(3, 0, -1) | list }}{{ range(0) | list }}
{{ range(1000000) | list }}
{{ raise_exception("no: " ~ a) }}
{{ f(1) if false else missing }}{{ "\n\t\x41\u00e9\U0001f600\101\\\'\"\q" }}{{ 'single "in" it' }}{{ "a\
b" }}{{ "multi
line" }}
{{ 1_000 }} {{ 1.5e3 }} {{ 1e-3 }} {{ 0 }} {{ 00 }} {{ 1.0 }} {{ 100000000000000000.0 }} {{ 1e16 }} {{ 123456789.125 }} {{ -0.0 }} {{ - 5 }} {{ +5 }} {{ -a }} {{ --a }} {{ -3 | abs }} {{ -"3" | int if false else 1 }}
{{ a.__class__ }}
{{ c["__class__"] }}
{{ "".__class__.__mro__ }}
{{ namespace(__x=1) }}
{{ c.format }}
{% include "x" %}
{% import "x" as y %}
{% extends "x" %}
{% block x %}{% endblock %}
{{ a
{% if a %}
{% endif %}
{{ a b }}
{{ }}
{% for x in d %}{% endif %}
{# open
{% raw %} open
{{ "open }}
{{ ] }}
{{ (1, 2 }}
{{ a.1.b }}
{{ $ }}
{{ {"a": 1}["a"] }}{{ {"a": {"b": [1, 2]}}.a.b[1] }}{{ [1, 2, 3][1] }}{{ "abc"[1] }}{{ (1, 2)[0] }}{{ {} }}{{ {"a": 1,} }}{{ [1,] }}{{ (1) }}{{ (1,) }}{{ 1, 2 }}
{{ a }}}}{{ "}}" }}{{ {"x": {"y": 1}} }}{{ "{% if %}" }} { { } } {% set x = "%}" %}{{ x }}
{{ m[-1].content }}{{ m[0]["role"] }}{{ (m | last).role }}{{ m | length > 2 }}{{ m[1:] | length }}{{ m[:-1][0].role }}{{ m[0].get("role", "x") }}{{ m[0].content.strip().upper()[0:1] | lower }}
{{ strftime_now }}
{{ c | safe }}{{ c | string | safe }}{{ 1 | string + "x" }}{{ "a" ~ 1 | string }}{{ ("<" ~ c ~ ">") | tojson }}
{{ "%s" is string }}{{ [1, 2, 3] | list | tojson }}{{ (1, 2) | tojson }}{{ m | map(attribute="role") | list | tojson }}{{ "a/b<c>&'" | tojson }}
{{ (m | map(attribute="role")) | tojson }}
{{ e.keys() | tojson }}
{{ f() }}
{{ a() }}
{{ range }}
{{ not }}
{{ a if }}
{{ loop }}
{% break %}
{% set true = 1 %}
{% for x in d recursive %}{{ x }}{% endfor %}
{{ lipsum() }}
{{ a | default }}|{{ missing | d }}
{{ missing | default(value="x") }}
{{ missing | default(default_value="x") }}{{ "" | default("y", boolean=True) }}
{{ c.nope() }}
{{ e.k.upper() }}{{ e.l[1].x }}{{ e.n is none }}{{ e["l"][0] }}{{ e.l | last }}
{{ [1, 2, 3] | join(", ") | upper ~ "!" }}{{ "a,b" | replace(",", "\n") }}{{ 'a' 'b' ~ 'c' }}
{{ (a, b) == (1, 2.5) }}{{ a == 1 and b == 2.5 }}{{ [a, b] | sum }}{{ 10 > a >= 1 != 5 }}{{ 1 == 1 == 1 }}{{ "a" == "a" in ["a"] }}
{{ many.k39 }}{{ many["k0"] }}{{ "k20" in many }}{{ "k40" in many }}{{ many | length }}{{ many.get("k7") }}
{{ nested | string }}{{ e | string | length }}{{ none | string }}{{ true | lower }}{{ 1.0 | string }}{{ [1] | string }}
{%- set x = 5 -%}   [{{- x -}}]   {%+ if true +%}
 y {% endif %}
"""

BLOCKS = [
    "line\n  {% if true %}\n  in\n  {% endif %}\nend\n",
    "line\n  {%- if true -%}\n  in\n  {%- endif -%}\nend\n\n",
    "  {% for x in d %}\n    {{ x }}\n  {% endfor %}\n  tail",
    "\n\n  {# comment #}\n  {#- comment -#}\n x {# c #} y\n",
    "a\r\nb\rc\n{{ 'x' }}\r\n",
    "  {%+ if true %}  keep{% endif %}\n",
    "a {% if true +%}\nb{% endif +%}\n\nc",
    "\t{% set x = 1 %}\n\t{{ x }}\n\t{% set y = 2 %} \n z\n",
    "{{ 'x' }}\n{{ 'y' }}\n",
    "{{- ' x ' -}}\n  {{- 'y' }}  \n\n",
    "\n", "", "\n\n", "x\n\n", "  ", "{% if true %}\n\n{% endif %}\n", "\u00a0{%- if true %}x{% endif -%}\u00a0\u2003y",
    " \u00a0 {% if true %}x{% endif %}", "{% raw %}\n {{ x }}\n{% endraw %}\n y", "  {% raw %} x\n  {% endraw %}\n y", "{%raw%}a{%endraw%}",
    "{%if true%}a{%endif%}{{1}}{{-1}}{{+1}}", "{% if true %}a\n  {%- endif %}\n  {%- if true %}\nb\n{% endif %}",
    "{% for m in m %}\n{{ m.role }}\n{% endfor %}\n{{ m | length }}",
    "{%- for message in m %}\n    {%- if message.role == 'user' %}\n        {{- '[INST] ' + message.content + '[/INST]' }}\n    {%- elif message.role == 'assistant' %}\n"
    "        {{- ' ' + message.content + eos_token}}\n    {%- else %}\n        {{- message | tojson }}\n    {%- endif %}\n{%- endfor %}\n",
    "x {#- a -#} y {#+ b +#}\n z", "{{ 'a' }}{# #}\n{{ 'b' }}{#\n#}\n c", "{% set x %}\n  a\n{% endset %}\n[{{ x }}]",
    "{% macro f(a) %}\n  {{ a }}\n{% endmacro %}\n[{{ f(1) }}]",
    "{%- macro f(a) -%}\n  {{ a }}\n{%- endmacro -%}\n[{{ f(1) }}]",
]

# What jinja2 takes and we refuse, by its first words.
REFUSED = ["{{ a.__class__", '{{ c["__class__', "{% block", "{{ range }}", "{{ c.format }}", "{% for x in d recursive", "{{ lipsum", "{{ strftime_now }}"]

out = sys.argv[1]
context = json.dumps(CONTEXT, ensure_ascii=False)
templates, lines = [], CASES.strip("\n").split("\n")
i = 0
while i < len(lines):
    t = lines[i]
    while t.count("{{") != t.count("}}") and t.endswith(("\\", "multi")) and i + 1 < len(lines) or t.endswith("{%+ if true +%}"):
        i += 1
        t += "\n" + lines[i]
    templates.append(t)
    i += 1
with open(os.path.join(out, "jinja.jsonl"), "w") as f:
    f.write(json.dumps({"context": context}, ensure_ascii=False) + "\n")
    for t in templates + BLOCKS:
        try:
            line = {"template": t, "out": _compile_jinja_template(t).render(**json.loads(context))}
            if t.startswith(tuple(REFUSED)):
                line = {"template": t, "error": "refused by us alone"}
        except Exception as e:
            line = {"template": t, "error": type(e).__name__ + ": " + str(e)[:200]}
        f.write(json.dumps(line, ensure_ascii=False) + "\n")
