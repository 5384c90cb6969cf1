#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/reference/limits.md gives the values of sdk/src/base/limits.hpp, and docs link to files that exist."""
from __future__ import annotations

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def constants() -> dict[str, int]:
    text = (ROOT / "sdk" / "src" / "base" / "limits.hpp").read_text(encoding="utf-8")
    found = {}
    for name, value in re.findall(r"constexpr \w+ (k\w+) = ([^;]+);", text):
        value = re.sub(r"\w+\{(\d+)\}", r"\1", value).replace("u", "")
        match = re.fullmatch(r"(\d+)(?: << (\d+))?", value.strip())
        if match:
            found[name] = int(match[1]) << int(match[2] or 0)
    return found


def limit_problems() -> list[str]:
    page = (ROOT / "docs" / "reference" / "limits.md").read_text(encoding="utf-8")
    known = constants()
    problems = []
    for name, value in re.findall(r"\| `(k\w+)` \| (\d+) \|", page):
        if known.get(name) != int(value):
            problems.append(f"docs/reference/limits.md: {name} is {value}, limits.hpp says {known.get(name)}")
    return problems


def link_problems() -> list[str]:
    problems = []
    for page in [ROOT / "README.md", ROOT / "examples" / "plugin" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http:", "https:")) and not (page.parent / target).exists():
                problems.append(f"{page.relative_to(ROOT)}: no such file: {target}")
    return problems


if __name__ == "__main__":
    failures = limit_problems() + link_problems()
    print("\n".join(failures) if failures else "docs: limits and links hold")
    sys.exit(1 if failures else 0)
