#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Words that must not be in the tree: unfinished business anywhere, and in the library calls that print, end the
process, throw, or read the environment. A line that must is marked `lint: allow <word>` in a comment with its reason."""
from __future__ import annotations

import re

import tree

# Written apart so that this file does not find itself.
ANYWHERE = {
    "unfinished work": r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|\bfor " r"now\b|\bplace" r"holder\b|\bnot yet " r"implemented\b",
    "a path or host of one machine": r"(?<![\w./-])/wo" r"rk/|/tm" r"p/w/|deb\.deb" r"ian\.org|files\.python" r"hosted|py" r"pi\.org",
}
TEXT_SUFFIXES = {".abi", ".h", ".c", ".hpp", ".cpp", ".py", ".txt", ".md", ".cmake", ".json", ".toml", ".capnp", ".pyi", ".sh", ""}
# Only in what ships inside the host's process.
SHIPPED = {
    "throw": r"\bthrow\b(?!\s*[;(])",
    "abort": r"(?:\bstd::|(?<![\w.>:]))(?:(?:abort|terminate)\s*\(\s*\)|(?:_?exit|quick_exit|_Exit)\s*\(\s*[\w-])",
    "print": r"\bstd::c(?:out|err|log)\b|(?<![\w.>:])f?printf\s*\(|(?<![\w.>:])f?puts\s*\(|(?<![\w.>:])putchar\s*\(",
    "environment": r"(?<![\w.>])(?:std::|secure_)?getenv\s*\(|\bsetlocale\s*\(|\bsetenv\s*\(",
    "handler": r"(?<![\w.>])(?:std::)?(?:atexit|at_quick_exit|signal|sigaction|pthread_atfork)\s*\(",
    "shell": r"(?<![\w.>])(?:std::)?(?:system|popen)\s*\(",
    "socket": r"(?<![\w.>:])(?:socket|connect|getaddrinfo)\s*\(",
}
SHIPPED_FOLDERS = ("sdk/src/", "plugins/")


def main() -> None:
    problems = []
    for path in tree.files():
        name = tree.name(path)
        if path.suffix not in TEXT_SUFFIXES or name in ("LICENSE", "tests/tidy/check_words.py"):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        lines = text.splitlines()
        for what, pattern in ANYWHERE.items():
            for match in re.finditer(pattern, text):
                number = tree.line_of(text, match.start())
                if "lint: allow" not in lines[number - 1]:
                    problems.append(f"{name}:{number}: {what}: {match.group(0)!r}")
        if not name.startswith(SHIPPED_FOLDERS) or path.suffix not in (".c", ".h", ".cpp", ".hpp"):
            continue
        code = tree.without_comments_and_strings(text)
        for what, pattern in SHIPPED.items():
            for match in re.finditer(pattern, code):
                number = tree.line_of(text, match.start())
                near = lines[max(0, number - 2):number]
                if not any(f"lint: allow {what}" in line for line in near):
                    problems.append(f"{name}:{number}: {what}: {lines[number - 1].strip()[:100]}")
    tree.finish("words", problems)


if __name__ == "__main__":
    main()
