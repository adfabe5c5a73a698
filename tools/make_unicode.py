#!/usr/bin/env python3
"""Writes the tables of Unicode 16.0 that vocabularies go by.

    python3 make_unicode.py > src/text/unicode_table.c             the general category of every code point
    python3 make_unicode.py nfkc > src/text/nfkc_table.c           what NFKC and NFKD make of single code points

Needs a Python whose unicodedata is of that version (3.14), or the package unicodedata2 16.0.0. Other versions are refused:
vocabularies are cut by the classes of the Unicode that their makers' regular expressions know, and a newer letter is no letter
to them. SPDX-License-Identifier: Apache-2.0
"""
import sys

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

VERSION, SHIFT = "16.0.0", 7
# The order of gal_category in unicode.h.
NAMES = "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co".split()


def rows(values, each):
    for i in range(0, len(values), each):
        yield "    " + " ".join(f"{v}," for v in values[i:i + each])


def categories():
    number = {name: i for i, name in enumerate(NAMES)}
    category = [number[unicodedata.category(chr(c))] for c in range(0x110000)]
    blocks, index = {}, []
    for first in range(0, len(category), 1 << SHIFT):
        block = tuple(category[first:first + (1 << SHIFT)])
        index.append(blocks.setdefault(block, len(blocks)))
    out = ["/* unicode_table.c - general categories of Unicode " + VERSION + ". Made by tools/make_unicode.py; do not edit.",
           " * SPDX-License-Identifier: Apache-2.0 */", '#include "text/unicode.h"', "", "/* clang-format off */",
           f"const uint16_t gal__category_block[{len(index)}] = {{", *rows(index, 40), "};", "",
           f"const uint8_t gal__category_table[][{1 << SHIFT}] = {{"]
    for block in blocks:
        out += ["  {"] + list(rows(block, 64)) + ["  },"]
    return out + ["};", "/* clang-format on */"]


def nfkc():
    """A record is its code point with the lengths of both forms in the upper bits, then the forms; see nfkc.h."""
    words = []
    for cp in range(1, 0x110000):
        if 0xac00 <= cp < 0xd7a4 or 0xd800 <= cp < 0xe000:
            continue  # syllables of Hangul follow a rule, surrogates are none
        c, d = ([ord(x) for x in unicodedata.normalize(form, chr(cp))] for form in ("NFKC", "NFKD"))
        if d == [cp]:
            continue
        c, d = [] if c == [cp] else c, [] if d == c else d
        assert len(c) < 32 and len(d) < 32
        words += [cp | len(c) << 21 | len(d) << 26, *c, *d]
    out = ["/* nfkc_table.c - NFKC and NFKD of single code points by Unicode " + VERSION +
           ". Made by tools/make_unicode.py; do not", " * edit. SPDX-License-Identifier: Apache-2.0 */",
           '#include "text/nfkc.h"', "", "/* clang-format off */", "const uint32_t gal__nfkc_table[] = {"]
    return out + list(rows([hex(w) for w in words + [0]], 24)) + ["};", "/* clang-format on */"]


def main():
    if unicodedata.unidata_version != VERSION:
        sys.exit(f"expected Unicode {VERSION}, this Python has {unicodedata.unidata_version}")
    print("\n".join(nfkc() if sys.argv[1:] == ["nfkc"] else categories()))


if __name__ == "__main__":
    main()
