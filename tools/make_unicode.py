#!/usr/bin/env python3
"""Writes src/text/unicode_table.c: the general category of every code point, as Unicode 16.0 has it.

    python3 make_unicode.py > src/text/unicode_table.c

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


def main():
    if unicodedata.unidata_version != VERSION:
        sys.exit(f"expected Unicode {VERSION}, this Python has {unicodedata.unidata_version}")
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
    out += ["};", "/* clang-format on */"]
    print("\n".join(out))


if __name__ == "__main__":
    main()
