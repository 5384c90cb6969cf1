# SPDX-License-Identifier: Apache-2.0
"""What every check in this folder needs: the tracked files, text without comments, and one way to report."""
from __future__ import annotations

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
C_SUFFIXES = (".h", ".c")
CXX_SUFFIXES = (".hpp", ".cpp")


def files(*suffixes: str, under: str = "") -> list[pathlib.Path]:
    """Files of the tree that git does not ignore (tracked, or new), optionally below a folder."""
    words = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard", "-z"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{ROOT} is not a git checkout, and only git knows which files are the project's: {done.stderr.strip()}")
    listing = done.stdout
    paths = [ROOT / name for name in listing.split("\0") if name.startswith(under) and name]
    return sorted(p for p in set(paths) if p.is_file() and (not suffixes or p.suffix in suffixes))


def source_files() -> list[pathlib.Path]:
    """C and C++ files of ours; the kept headers of old releases are history, not source."""
    return [p for p in files(*C_SUFFIXES, *CXX_SUFFIXES) if "baseline" not in p.relative_to(ROOT).parts]


def name(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)


def without_comments_and_strings(text: str) -> str:
    """Same length and lines; comments and literals become blanks, digit separators survive."""
    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group(0))
    return TOKEN.sub(blank, re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "_", text))


def line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def finish(check: str, problems: list[str], note: str = "") -> None:
    for problem in problems:
        print(problem)
    print(f"{check}: {len(problems)} problem{'' if len(problems) == 1 else 's'}{', ' + note if note else ''}")
    sys.exit(1 if problems else 0)
