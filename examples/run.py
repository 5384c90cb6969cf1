#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the examples against an installed package and runs every one of them.

usage: run.py --build BUILD_FOLDER --model MODEL.gguf [--python PYTHON] [--keep FOLDER]

BUILD_FOLDER is a configured and built CMake folder of this repository; it is installed to a temporary prefix, so that
what is tested is what a user gets. Standard library only. Exit code 1 when anything fails."""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
WARNINGS = "-Wall -Wextra -Wpedantic -Werror"


def run(*words: str | pathlib.Path, quiet: bool = False, cwd: pathlib.Path | None = None) -> str:
    done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(w) for w in words)}\nfailed with exit code {done.returncode}:\n{done.stdout[-4000:]}")
    if not quiet:
        print(done.stdout, end="" if done.stdout.endswith("\n") else "\n", flush=True)
    return done.stdout


def first_publisher(plugins: pathlib.Path) -> tuple[str, str]:
    publishers = json.loads((plugins / "trust.json").read_text(encoding="utf-8"))["publishers"]
    if not publishers:
        sys.exit(f"{plugins / 'trust.json'} names no publisher")
    return publishers[0]["name"], publishers[0]["key"]


def build_without_cmake(folder: pathlib.Path, prefix: pathlib.Path) -> None:
    """What the page says to someone who uses pkg-config."""
    page = (HERE.parent / "docs" / "howto" / "embed_in_c.md").read_text(encoding="utf-8")
    lines = re.search(r"```sh\n(.*?pkg-config.*?)```", page, re.DOTALL)
    if lines is None:
        sys.exit("docs/howto/embed_in_c.md has no shell block with pkg-config")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(HERE / "c" / "01_stream.c", folder / "my_program.c")
    os.environ.pop("LD_LIBRARY_PATH", None)  # the run path must do
    run("sh", "-ec", lines[1].replace("PREFIX", str(prefix)), quiet=True, cwd=folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--python", default="")
    parser.add_argument("--keep", type=pathlib.Path)
    flags = parser.parse_args()
    work = flags.keep or pathlib.Path(tempfile.mkdtemp(prefix="merritt-examples-"))
    try:
        prefix = work / "prefix"
        run("cmake", "--install", flags.build.resolve(), "--prefix", prefix, quiet=True)
        run("cmake", "-S", HERE, "-B", work / "build", "-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_PREFIX_PATH={prefix}",
            f"-DCMAKE_C_FLAGS={WARNINGS}", f"-DCMAKE_CXX_FLAGS={WARNINGS}", quiet=True)
        run("cmake", "--build", work / "build", quiet=True)
        plugins = prefix / "lib" / "merritt" / "plugins"
        name, key = first_publisher(plugins)
        model = flags.model.resolve()
        for program in ("c_01_stream", "cpp_01_stream", "cpp_02_two_tenants", "cpp_03_queue", "cpp_04_prefixes"):
            print(f"== {program}", flush=True)
            run(work / "build" / program, model, plugins, name, key)
        print("== my_program, with the shell lines of docs/howto/embed_in_c.md", flush=True)
        build_without_cmake(work / "plain", prefix)
        run(work / "plain" / "my_program", model, plugins, name, key)
        print("== merritt run (installed)", flush=True)
        run(prefix / "bin" / "merritt", "run", "-m", model, "--raw", "-p", "Once upon a time", "-n", "16")
        if flags.python:
            print("== python/01_stream.py", flush=True)
            run(flags.python, HERE / "python" / "01_stream.py", model)
    finally:
        if not flags.keep:
            shutil.rmtree(work, ignore_errors=True)
    print("all examples ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
