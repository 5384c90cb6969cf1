#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the headers in abi/ may be made of, so that every compiler and every language binds them the same way: fixed-width
integers, size_t, float, double, char, void, and pointers. No bool, enum, long, int or bit-field anywhere, no struct by
value and no `...` in a signature. Unnamed enums are fine: they are constants."""
from __future__ import annotations

import re

import tree


def code_of(text: str) -> str:
    """The text without comments, strings and preprocessor lines, the line breaks kept."""
    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, tree.without_comments_and_strings(text), flags=re.M)


def by_value(code: str) -> list[tuple[int, str]]:
    """(position, name) of the structs that a signature passes or returns whole. These headers hold declarations only, so
    whatever stands in parentheses is a list of parameters, and a type before `name(` or `(*name)(` is returned."""
    names = set(re.findall(r"\b(?:struct|union)\s+(\w+)\s*\{", code))
    names |= set(re.findall(r"\}\s*(\w+)\s*;", code))
    found, depth = [], 0
    for match in re.finditer(r"[()]|\b[A-Za-z_]\w*\b", code):
        word = match.group(0)
        depth += {"(": 1, ")": -1}.get(word, 0)
        if word not in names:
            continue
        after = code[match.end():]
        if depth > 0 and not re.match(r"\s*(?:const\s*)?\*", after):
            found.append((match.start(), word))
        elif depth == 0 and re.match(r"\s+(?:\w+\s*|\(\s*\*\s*\w+\s*\)\s*)\(", after):
            found.append((match.start(), word))
    return found


def problems_of(name: str, text: str) -> list[str]:
    code = code_of(text)
    found: list[str] = []

    def report(position: int, what: str) -> None:
        found.append(f"{name}:{tree.line_of(code, position)}: {what}")
    for match in re.finditer(r"\b(?:bool|_Bool|long|int|short|unsigned|signed|wchar_t)\b", code):
        report(match.start(), f"{match.group(0)} has no fixed width; use one of <stdint.h>")
    for match in re.finditer(r"\benum\b(?!\s*\{)", code):
        report(match.start(), "an enum has no fixed width; use an integer and constants")
    for match in re.finditer(r"\w\s*:\s*\w+\s*[,;]", code):
        report(match.start(), "a bit-field is laid out as the compiler likes; use an integer and masks")
    for position, struct in by_value(code):
        report(position, f"{struct} is passed by value; pass a pointer")
    for match in re.finditer(r"\.\.\.", code):
        report(match.start(), "a variable argument list cannot be bound from other languages")
    return found


def main() -> None:
    headers = sorted((tree.ROOT / "abi/include/merritt").glob("*.h"))
    problems = [line for header in headers for line in problems_of(tree.name(header), header.read_text())]
    tree.finish("signatures", problems, f"{len(headers)} headers")


if __name__ == "__main__":
    main()
