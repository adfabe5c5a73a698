#!/usr/bin/env python3
"""Case of characters as Python's str has it, for templates: src/text/case_table.c.

    make_case.py > src/text/case_table.c

The tables are those of the Python that runs this (str.upper(), str.lower() and str.title() of each character above ASCII).
SPDX-License-Identifier: Apache-2.0
"""
import unicodedata

NAMES = (("upper", str.upper), ("lower", str.lower), ("title", str.title))


def changes(f):
    runs, longer = [], []
    for cp in range(0x80, 0x110000):
        if 0xd800 <= cp < 0xe000 or f(chr(cp)) == chr(cp):
            continue
        r = f(chr(cp))
        if len(r) > 1:
            longer.append((cp, r))
            continue
        d = ord(r) - cp
        last = runs[-1] if runs else None
        if last and last[3] == d and cp - last[1] <= 2 and last[2] in (0, cp - last[1]):
            last[1:3] = [cp, cp - last[1]]
        else:
            runs.append([cp, cp, 0, d])
    return runs, longer


def rows(items):
    line = "   "
    for item in items:
        if len(line) + len(item) > 115:
            print(line)
            line = "   "
        line += " " + item + ","
    print(line)


print("/* case_table.c - made by tools/make_case.py, Unicode %s. SPDX-License-Identifier: Apache-2.0 */" % unicodedata.unidata_version)
print('#include "text/case.h"\n\n/* clang-format off */')
for name, f in NAMES:
    runs, longer = changes(f)
    print("\nconst gal__case_run gal__case_%s[] = {" % name)
    rows(["{ 0x%x, 0x%x, %d, %d }" % (a, b, max(step, 1), d) for a, b, step, d in runs])
    print("};\nconst size_t gal__case_%s_runs = sizeof gal__case_%s / sizeof gal__case_%s[0];" % (name, name, name))
    print("\nconst gal__case_long gal__case_%s_long[] = {" % name)
    rows(["{ 0x%x, \"%s\" }" % (cp, "".join("\\x%02x" % b for b in r.encode())) for cp, r in longer])
    print("};\nconst size_t gal__case_%s_longs = sizeof gal__case_%s_long / sizeof gal__case_%s_long[0];" % (name, name, name))
