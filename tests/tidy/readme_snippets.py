#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README's code blocks are the regions marked `readme: NAME` .. `end` of the examples, which are compiled and run
by tests/tools. A block names its origin in the line above it: <!-- examples/c/01_stream.c#stream -->. Every block in
c, cpp or python has one; shell blocks may only use verbs that ./dev and merritt have.

usage: readme_snippets.py [--update]    exit code 1 when README.md and the examples differ"""
from __future__ import annotations

import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"(?:<!-- (?P<file>\S+)#(?P<name>\S+) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL)


def region(path: pathlib.Path, name: str) -> str:
    """The lines between `readme: NAME` and `end`, without their common indentation."""
    lines: list[str] = []
    inside = False
    for line in path.read_text(encoding="utf-8").splitlines():
        word = line.strip().strip("/#* ").strip()
        if word == f"readme: {name}":
            inside = True
        elif inside and word == "end":
            return textwrap.dedent("\n".join(lines)) + "\n"
        elif inside:
            lines.append(line)
    raise SystemExit(f"{path}: no region `readme: {name}` .. `end`")


def dev_verbs() -> set[str]:
    return set(re.findall(r"^  ([a-z-]+) ", (ROOT / "dev").read_text(encoding="utf-8"), re.MULTILINE))


def merritt_verbs() -> set[str]:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "sdk" / "tools").glob("*.cpp"))
    return set(re.findall(r'app\.add_subcommand\("([a-z]+)"', source))


def shell_problems(code: str) -> list[str]:
    problems = []
    for program, known in (("./dev", dev_verbs()), ("build/bin/merritt", merritt_verbs())):
        for verb in re.findall(rf"(?:^|\s){re.escape(program)} ([a-z-]+)", code):
            if verb not in known:
                problems.append(f"README.md: `{program} {verb}`: no such verb")
    return problems


def main(update: bool) -> int:
    text = README.read_text(encoding="utf-8")
    problems: list[str] = []

    def check(match: re.Match[str]) -> str:
        if match["language"] in ("sh", "console", "text"):
            problems.extend(shell_problems(match["code"]))
            return match[0]
        if match["file"] is None:
            problems.append(f"README.md: a block in {match['language']} without <!-- FILE#NAME --> above it")
            return match[0]
        wanted = region(ROOT / match["file"], match["name"])
        if wanted == match["code"]:
            return match[0]
        if not update:
            problems.append(f"README.md: the block of {match['file']}#{match['name']} differs; run {__file__} --update")
        start, end = (place - match.start() for place in match.span("code"))
        return match[0][:start] + wanted + match[0][end:]

    new = BLOCK.sub(check, text)
    if update and new != text:
        README.write_text(new, encoding="utf-8")
    languages = {match["language"] for match in BLOCK.finditer(new)}
    problems.extend(f"README.md: no block in {language}" for language in ("c", "cpp", "python") if language not in languages)
    print("\n".join(problems) if problems else "README.md: every block is an example's")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main("--update" in sys.argv[1:]))
