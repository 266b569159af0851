#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes include/fathom/score/unicode_tables.hpp, the facts about characters that sacreBLEU's scores depend on.

    python3 tests/reference/unicode_tables.py            write the header
    python3 tests/reference/unicode_tables.py --check    compare with the header

Needs the package regex, from which sacreBLEU's tokenizer intl has the categories; case and spaces are Python's own.
"""

import pathlib
import sys
import unicodedata
from importlib.metadata import version

import regex

HEADER = pathlib.Path(__file__).resolve().parents[2] / "include/fathom/score/unicode_tables.hpp"
POINTS = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
PATTERNS = {kind: regex.compile(rf"\p{{{kind[0].upper()}}}") for kind in ("number", "punctuation", "symbol")}


def category(point):
    for kind, pattern in PATTERNS.items():
        if pattern.match(chr(point)):
            return kind
    return None


def sigma(point):
    """How str.lower() takes the character beside a capital sigma: as a letter with case, as none, or not at all."""
    if ("A\u03a3" + chr(point)).lower()[1] == "\u03c3":
        return "cased"
    if ("A\u03a3" + chr(point) + "A").lower()[1] == "\u03c3":
        return "ignored"
    return None


def ranges(kind):
    """[first, last, kind] of the characters that have one."""
    found = []
    for point in POINTS:
        value = kind(point)
        if value is None:
            continue
        if found and found[-1][1] == point - 1 and found[-1][2] == value:
            found[-1][1] = point
        else:
            found.append([point, point, value])
    return found


def lower_ranges():
    """(first, last, step, difference) of the characters whose lower case is one other character."""
    pairs = [(point, ord(chr(point).lower()) - point) for point in POINTS
             if len(chr(point).lower()) == 1 and chr(point).lower() != chr(point)]
    found = []
    while pairs:
        def run(step):
            length = 1
            while length < len(pairs) and pairs[length] == (pairs[0][0] + length * step, pairs[0][1]):
                length += 1
            return length
        step = 2 if run(2) > run(1) else 1
        length = run(step)
        found.append((pairs[0][0], pairs[length - 1][0], step, pairs[0][1]))
        del pairs[:length]
    return found


def table(declaration, rows):
    lines, line = [], "   "
    for row in rows:
        text = " {" + ", ".join(row) + "},"
        if len(line) + len(text) > 120:
            lines.append(line)
            line = "   "
        line += text
    return "\n".join([declaration + " = {"] + lines + [line.rstrip(","), "};"]) + "\n"


def header():
    kinds = {"number": "1", "punctuation": "2", "symbol": "3", "cased": "1", "ignored": "2"}
    longer = [point for point in POINTS if len(chr(point).lower()) > 1]
    assert longer == [0x130], longer  # the one that score/unicode.hpp knows

    def rows(found):
        return [(f"{first:#x}", f"{last:#x}", kinds[kind]) for first, last, kind in found]

    return "\n".join([
        "// SPDX-License-Identifier: Apache-2.0",
        "// Written by tests/reference/unicode_tables.py: categories as the Python package regex",
        f"// {version('regex')} has them, case as in Unicode {unicodedata.unidata_version}.",
        "#pragma once",
        "",
        "#include <cstdint>",
        "#include <fathom/core/config.hpp>",
        "",
        "namespace fathom::inline FATHOM_ABI::score::unicode::tables {",
        "",
        "/// Characters from `first` to `last`.",
        "struct Range {",
        "  char32_t first, last;",
        "  std::uint8_t kind;",
        "};",
        "",
        "/// Every `step`-th of these characters is in lower case what is `difference` behind it.",
        "struct LowerRange {",
        "  char32_t first, last;",
        "  std::uint8_t step;",
        "  std::int32_t difference;",
        "};",
        "",
        "// clang-format off",
        "/// Numbers (1), punctuation (2) and symbols (3).",
        table("inline constexpr Range categories[]", rows(ranges(category))),
        "/// What a capital sigma sees: letters with case (1), and what it looks beyond (2).",
        table("inline constexpr Range beside_sigma[]", rows(ranges(sigma))),
        table("inline constexpr LowerRange lower[]",
              [(f"{first:#x}", f"{last:#x}", str(step), str(difference))
               for first, last, step, difference in lower_ranges()]) + "// clang-format on",
        "",
        "}  // namespace fathom::inline FATHOM_ABI::score::unicode::tables",
        ""])


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if HEADER.read_text() == header() else f"{HEADER}: differs")
    HEADER.write_text(header())
