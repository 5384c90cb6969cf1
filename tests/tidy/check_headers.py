#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every header compiles alone: the ABI headers as C11 and C++17 with GCC and Clang and for Windows, the public C++ layer
as C++20, and (with --all) the internal headers too. The C example must compile for Windows as well.
With --cache=FOLDER what compiled before, with the same compiler from the same headers, is not compiled again."""
from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import tree

BUILD = tree.ROOT / "build"
FOLDERS = [tree.ROOT / name for name in ("abi/include", "sdk/include", "sdk/src", "plugins")]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def compile_one(words: list[str], source: str, label: str) -> str | None:
    if shutil.which(words[0]) is None:
        return f"{label}: {words[0]} is not installed; run ./dev setup"
    done = subprocess.run([*words, "-"], input=source, cwd=tree.ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:300])
    return f"{label}: {first}"


@functools.cache
def headers_of(path: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """The project's headers that a file includes itself."""
    return included(path.read_text(errors="replace"), path.parent)


def included(text: str, beside: pathlib.Path) -> tuple[pathlib.Path, ...]:
    names = re.findall(r'^\s*#\s*include\s*["<]([^">]+)[">]', text, re.M)
    found = (next((folder / name for folder in (beside, *FOLDERS) if (folder / name).is_file()), None) for name in names)
    return tuple(path.resolve() for path in found if path is not None)


@functools.cache
def version_of(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True)
    return done.stdout.split("\n", 1)[0]


def digest_of(words: list[str], source: str) -> str:
    """Of all that a compile depends on; the system's headers go by the compiler's version, generated ones by schema."""
    reached: set[pathlib.Path] = set()
    pending = list(included(source, tree.ROOT))
    while pending:
        path = pending.pop()
        if path not in reached:
            reached.add(path)
            pending += headers_of(path)
    digest = hashlib.sha256()
    for text in (version_of(words[0]), *words, source):
        digest.update(text.replace(str(tree.ROOT), "").encode() + b"\0")
    for path in sorted(reached) + tree.files(".capnp", under="abi/schema/"):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def compile_or_recall(words: list[str], source: str, label: str, cache: pathlib.Path | None) -> str | None:
    if cache is None or shutil.which(words[0]) is None:
        return compile_one(words, source, label)
    seen = cache / digest_of(words, source)
    if seen.exists():
        return None
    problem = compile_one(words, source, label)
    if problem is None:
        seen.touch()
    return problem


def include_flags() -> list[str]:
    """-isystem and -D of the release build, so that internal headers find their libraries."""
    database = BUILD / "release" / "compile_commands.json"
    flags: list[str] = []
    if database.is_file():
        for entry in json.loads(database.read_text()):
            flags += re.findall(r"(-isystem \S+|-D\S+=1)(?=\s)", entry["command"])
    return [word for flag in dict.fromkeys(flags) for word in flag.split(" ")]


def jobs(everything: bool) -> list[tuple[list[str], str, str]]:
    abi = ["-I", "abi/include", "-fsyntax-only", *STRICT]
    found = []
    for header in sorted((tree.ROOT / "abi/include/merritt").glob("*.h")):
        source = f"#include <merritt/{header.name}>\n"
        for compiler in ("gcc", "clang-16", "x86_64-w64-mingw32-gcc"):
            found.append(([compiler, "-std=c11", *abi, "-x", "c"], source + "typedef int one;\n",
                          f"{tree.name(header)} as C11 ({compiler})"))
        for compiler in ("g++", "clang++-16"):
            found.append(([compiler, "-std=c++17", *abi, "-x", "c++"], source, f"{tree.name(header)} as C++17 ({compiler})"))
    for example in tree.files(".c", under="examples/"):
        found.append((["x86_64-w64-mingw32-gcc", "-std=c11", *abi, "-x", "c"], example.read_text(),
                      f"{tree.name(example)} for Windows"))
    cxx = ["-I", "abi/include", "-I", "sdk/include", "-std=c++20", "-fsyntax-only", *STRICT, "-x", "c++"]
    for header in tree.files(".hpp", under="sdk/include/"):
        source = f"#include <{header.relative_to(tree.ROOT / 'sdk/include').as_posix()}>\n"
        for compiler in ("g++", "clang++-16"):
            found.append(([compiler, *cxx], source, f"{tree.name(header)} ({compiler})"))
    if everything:
        flags = include_flags()
        for header in tree.files(".hpp", under="sdk/src/") + tree.files(".hpp", under="plugins/"):
            # Kernels written once over a vector type: an ISA file names the type and includes them, which compiles them.
            if header.name.endswith("_impl.hpp"):
                continue
            source = f'#include "{header}"\n'
            words = ["g++", "-I", "sdk/src", "-I", "plugins", "-I", "abi/include", *flags, "-std=c++20", "-fsyntax-only",
                     "-w", "-x", "c++"]
            if tree.name(header).startswith("plugins/"):
                words[1:1] = ["-mavx2", "-mfma", "-mf16c"] if re.search(r"avx|vnni|bf16|amx", header.name) else []
            found.append((words, source, f"{tree.name(header)} alone"))
    return found


def main() -> None:
    work = jobs("--all" in sys.argv)
    cache = next((pathlib.Path(word.removeprefix("--cache=")) for word in sys.argv if word.startswith("--cache=")), None)
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(lambda job: compile_or_recall(*job, cache), work))
    tree.finish("headers", [result for result in results if result], f"{len(work)} compiled")


if __name__ == "__main__":
    main()
