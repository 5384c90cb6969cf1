#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The documentation keeps to what is there: the limits page and limits.hpp agree in both directions, links and pages that
sources cite exist, the tests that the dependencies page names exist, and code blocks parse (C compiles)."""
from __future__ import annotations

import ast
import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = {"build", "dist", "models", ".venv", ".git", ".cache"}
SOURCES = {".c", ".h", ".cpp", ".hpp", ".py", ".cmake", ".capnp", ".txt"}
LIMITS = "docs/reference/limits.md"
DEPENDENCIES = "docs/reference/dependencies.md"
# Where each default of the limits page is in the sources: (file, pattern with the value as its group).
DEFAULTS = {
    "context_max": ("sdk/src/engine/load_model.cpp", r"kContextDefault = ([^;]+);"),
    "sequences_max": ("sdk/src/engine/compiled_model.hpp", r"uint32_t sequences_max = (\d+);"),
    "step_tokens_max": ("sdk/src/engine/compiled_model.hpp", r"uint32_t step_tokens_max = (\d+);"),
    "page_tokens": ("sdk/src/engine/compiled_model.hpp", r"uint32_t page_tokens = (\d+);"),
    "kv_bytes": ("sdk/src/engine/compiled_model.cpp", r"kDefaultSequences = (\d+);"),
    "queue_max": ("sdk/src/tenant/limits.cpp", r"kQueueDefault = ([^;]+);"),
    "prompt_bytes_max": ("sdk/src/tenant/limits.cpp", r"kPromptBytesDefault = ([^;]+);"),
    "max_tokens": ("sdk/src/base/limits.hpp", r"kMaxTokensDefault = ([^;]+);"),
}


def read(name: str | pathlib.Path) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def files(*suffixes: str) -> list[pathlib.Path]:
    """The tree's files with one of these suffixes, relative to its root."""
    found = []
    for top in sorted(ROOT.iterdir()):
        paths = [top] if top.is_file() else [] if top.name in SKIPPED else sorted(top.rglob("*"))
        found += [path.relative_to(ROOT) for path in paths if path.suffix in suffixes and path.is_file()]
    return [path for path in found if "__pycache__" not in path.parts and "corpus" not in path.parts]


def number(text: str) -> int | None:
    """The value of `4096`, `1u << 18` or `size_t{64} << 20`; None for what is no plain number."""
    text = re.sub(r"\w+\{(\d+)\}", r"\1", text).replace("u", "").replace("'", "").strip()
    match = re.fullmatch(r"(\d+)(?: << (\d+))?", text)
    return int(match[1]) << int(match[2] or 0) if match else None


def limit_problems() -> list[str]:
    page, source = read(LIMITS), read("sdk/src/base/limits.hpp")
    known = {name: number(value) for name, value in re.findall(r"constexpr \w+ (k\w+) = ([^;]+);", source)}
    told = {name: int(value) for name, value in re.findall(r"\| `(k\w+)` \| (\d+) \|", page)}
    problems = [f"{LIMITS}: {name} is {value}, limits.hpp says {known.get(name)}"
                for name, value in told.items() if known.get(name) != value]
    return problems + [f"{LIMITS}: says nothing of {name} = {value}"
                       for name, value in known.items() if name.endswith("Max") and name not in told]


def default_problems() -> list[str]:
    rows = {option.split(".")[-1]: value for value, option in
            re.findall(r"^\| [^|]+ \| ([^|]+) \| `([\w.]+)` \|$", read(LIMITS), re.MULTILINE)}
    problems = []
    for option, (name, pattern) in DEFAULTS.items():
        match = re.search(pattern, read(name))
        value = number(match[1]) if match else None
        told = [int(digits) << (20 if unit else 0) for digits, unit in re.findall(r"(\d+)( MiB)?", rows.get(option, ""))]
        if value is None or value not in told:
            problems.append(f"{LIMITS}: the default of {option} is {rows.get(option)!r}, {name} says {value}")
    return problems


def link_problems() -> list[str]:
    problems = []
    for page in files(".md"):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", read(page)):
            if not target.startswith(("http:", "https:")) and not (ROOT / page.parent / target).exists():
                problems.append(f"{page}: no such file: {target}")
    for source in files(*SOURCES):
        if source.parts[:2] == ("tests", "tidy"):
            continue  # the checks speak of pages that are not there
        for target in re.findall(r"\bdocs/[\w/]+\.md\b", read(source)):
            if not (ROOT / target).is_file():
                problems.append(f"{source}: cites {target}, which is not there")
    return problems


def test_exists(name: str) -> bool:
    """`tests/x/test_y.py::test_z`, `Suite.Case` of a GoogleTest program, or `check:NAME` of ./dev lint."""
    if name.startswith("check:"):
        return f'"{name}"' in read("sdk/cmake/dev/lint.py")
    if "::" in name:
        path, case = name.split("::")
        return (ROOT / path).is_file() and re.search(rf"^def {case}\(", read(path), re.MULTILINE) is not None
    suite, _, case = name.partition(".")
    pattern = re.compile(rf"^TEST(?:_[FP])?\({suite},\s*{case}\)", re.MULTILINE)
    return any(pattern.search(read(path)) for path in files(".cpp") if path.parts[0] == "tests")


def dependency_problems() -> list[str]:
    if not (ROOT / DEPENDENCIES).is_file():
        return [f"{DEPENDENCIES} is not there"]
    problems, rows = [], 0
    for line in read(DEPENDENCIES).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) != 3 or cells[0] == "Dependency" or set(cells[0]) == {"-"}:
            continue
        rows += 1
        names = re.findall(r"`([^`]+)`", cells[2])
        problems += [f"{DEPENDENCIES}: {cells[0]}: no such test: {name}" for name in names if not test_exists(name)]
        if not names:
            problems.append(f"{DEPENDENCIES}: {cells[0]}: names no test")
    return problems if rows else [f"{DEPENDENCIES}: no table"]


def c_problem(code: str) -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return "no C compiler to check it with"
    done = subprocess.run([compiler, "-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-x", "c", "-I",
                           ROOT / "abi" / "include", "-"], input=code, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip()


def block_problems() -> list[str]:
    """README.md's blocks in C, C++ and Python are compared with the examples by readme_snippets.py."""
    problems = []
    for page in files(".md"):
        for language, code in re.findall(r"^ *```(\w+)\n(.*?)^ *```", read(page), re.DOTALL | re.MULTILINE):
            problem = ""
            try:
                if language == "python":
                    ast.parse(code)
                elif language == "json":
                    json.loads(code)
                elif language == "c" and page.name != "README.md":
                    problem = c_problem(code)
            except (SyntaxError, ValueError) as error:
                problem = str(error)
            if problem:
                problems.append(f"{page}: a block in {language}: {problem}")
    return problems


if __name__ == "__main__":
    failures = limit_problems() + default_problems() + link_problems() + dependency_problems() + block_problems()
    print("\n".join(failures) if failures else "docs: limits, links, tests named and code blocks hold")
    sys.exit(1 if failures else 0)
