# SPDX-License-Identifier: Apache-2.0
"""./dev bench [NAME] [ARGS...]: runs tests/bench/NAME.py on the release build; it prints JSON."""
from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

from . import build, util
from .util import DevError


def scripts() -> dict[str, pathlib.Path]:
    return {path.stem: path for path in sorted((util.ROOT / "tests" / "bench").glob("*.py")) if path.stem[0] != "_"}


def bench(words: list[str]) -> int:
    found = scripts()
    if not words:
        for name, path in found.items():
            first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
            util.say(f"  {name:<16} {first}")
        for program in sorted((util.BUILD / "bin").glob("bench_*")):
            util.say(f"  {program.name:<16} Google Benchmark program")
        return 0
    name, rest = words[0], words[1:]
    program = util.BUILD / "bin" / (name if name.startswith("bench_") else f"bench_{name}")
    if name not in found and not program.name.removeprefix("bench_").isidentifier():
        raise DevError(f"no benchmark {name!r}; ./dev bench lists them")
    build.build_preset("release", quiet=True)
    if name in found:
        python = util.VENV / "bin" / "python"
        return subprocess.run([python if python.exists() else sys.executable, found[name], *rest], cwd=util.ROOT).returncode
    if not program.is_file():
        raise DevError(f"no benchmark {name!r}; ./dev bench lists them")
    return subprocess.run([program, "--benchmark_format=json", *rest], cwd=util.ROOT).returncode
